"""Tests of the plugin itself; run them with ``python -m twisted.trial test_meshtx_redis``."""

from meshtx_redis.detector import MAX_WAITING, RedisDetector, RedisObserver
from meshtx_redis.resp import MAX_LINE, Malformed, RespReader, Value
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from meshtx.interfaces import Detection, IDetector, IObserver
from meshtx.observe.detectors import load_detectors
from meshtx.observe.flow import Direction, Flow, Request, Response, ResponseEnd
from meshtx.wire.address import Address

GET = b"*2\r\n$3\r\nget\r\n$6\r\nmy:key\r\n"
FLOW = Flow(0, Direction.OUT, Address.parse("10.1.0.4:40000"), Address.parse("10.1.0.2:6379"), 0.0)


class RespTests(SynchronousTestCase):
    VALUES = [
        (GET, Value("*", "get", len(GET))),
        (b"+OK\r\n", Value("+", "", 5)),
        (b"-ERR no\r\n", Value("-", "", 9)),
        (b"$-1\r\n", Value("$", "", 5)),
        (b"$2\r\n\r\n\r\n", Value("$", "\r\n", 8)),
        (b"*2\r\n*1\r\n:1\r\n%1\r\n+a\r\n_\r\n", Value("*", "", 23)),
        (b"*0\r\n", Value("*", "", 4)),
        (b"$40\r\n" + b"w" * 40 + b"\r\n", Value("$", "w" * 32, 47)),
    ]

    def test_every_cut_gives_the_same_values(self) -> None:
        data = b"".join(raw for raw, _ in self.VALUES)
        for cut in range(len(data)):
            reader = RespReader()
            self.assertEqual(
                reader.receive_data(data[:cut]) + reader.receive_data(data[cut:]), [value for _, value in self.VALUES]
            )

    def test_what_is_malformed_ends_it(self) -> None:
        for raw in (b"hello\r\n", b"+a\n", b"*x\r\n", b"$-2\r\n", b"+" + b"a" * MAX_LINE):
            reader = RespReader()
            self.assertEqual(reader.receive_data(b"+OK\r\n" + raw), [Value("+", "", 5), Malformed()], raw[:20])
            self.assertEqual(reader.receive_data(GET), [])


class RedisTests(SynchronousTestCase):
    def test_it_fits_the_interfaces(self) -> None:
        verifyObject(IDetector, RedisDetector())
        verifyObject(IObserver, RedisDetector().observer(FLOW))

    def test_it_is_found_by_its_name(self) -> None:
        (detector,) = load_detectors(["redis"])
        self.assertIsInstance(detector, RedisDetector)

    def test_a_command_is_recognised_as_soon_as_it_is_certain(self) -> None:
        answers = [RedisDetector().detect(GET[:size]) for size in range(1, 8)]
        self.assertEqual(answers, [Detection.MORE] * 5 + [Detection.YES] * 2)
        for other in (b"GET / HTTP/1.1", b"*0", b"*1\r\n:", b"PING\r\n"):
            self.assertIs(RedisDetector().detect(other), Detection.NO)

    def test_commands_and_answers_are_matched_in_order(self) -> None:
        observer = RedisObserver()
        self.assertEqual(
            observer.client_data(GET + b"*1\r\n$4\r\nPING\r\n"),
            [Request(0, "redis", "GET", "", ""), Request(1, "redis", "PING", "", "")],
        )
        self.assertEqual(
            observer.server_data(b"-ERR\r\n>1\r\n+x\r\n+PONG\r\n"),
            [Response(0, 1), ResponseEnd(0, 6), Response(1, 0), ResponseEnd(1, 7)],
        )

    def test_a_password_is_not_reported(self) -> None:
        seen = RedisObserver().client_data(b"*2\r\n$4\r\nAUTH\r\n$6\r\ns3cret\r\n")
        self.assertEqual(seen, [Request(0, "redis", "AUTH", "", "")])

    def test_an_unanswered_command_is_cut_by_the_end(self) -> None:
        observer = RedisObserver()
        observer.client_data(GET)
        self.assertEqual(observer.ended(orderly=True), [ResponseEnd(0, 0, reset=-1)])

    def test_it_lets_go_of_what_it_does_not_follow(self) -> None:
        for client, server in (
            (b"*1\r\n$9\r\nsubscribe\r\n", b""),
            (b"+OK\r\n", b""),
            (b"PING\r\n", b""),
            (b"", b"+OK\r\n"),
            (GET, b"?\r\n"),
            (GET * (MAX_WAITING + 1), b""),
        ):
            observer = RedisObserver()
            observer.client_data(client)
            observer.server_data(server)
            self.assertTrue(observer.detached, (client[:30], server))
