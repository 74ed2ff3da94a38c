"""The floor: a pair that does nothing but encrypt and carry, yet has to carry whatever comes."""

import contextlib
import select
import socket
from collections.abc import Callable
from threading import Condition, Thread

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.bars import BARS, Most, Ratio
from benchmarks.peers.bare import ACCEPT, DATA, FIN, HEAD, OPEN, SIZE, App, Half, Leg, Sealed
from benchmarks.peers.roster import FLOOR
from meshtx.net.contexts import Contexts
from meshtx.net.records import RECORD
from meshtx.pki.name import Name
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf

HERE = ("127.0.0.1", 0)
LONG = 10.0
"""Seconds after which a test has failed."""
CA = make_ca()
CLIENT, SERVER = (Contexts(make_leaf(CA, name), CA.trust) for name in (WEB, VOTING))


def frame(kind: int, payload: bytes = b"") -> bytes:
    return HEAD.pack(kind | len(payload)) + payload


class Running(Half):
    """A half in a thread of its own, which tells of each of its turns."""

    def __init__(
        self, turned: Condition, kind: type[App | Leg], to: tuple[str, int], contexts: Contexts, peer: Name
    ) -> None:
        super().__init__(kind, HERE, to, contexts, peer)
        self.turned, self.stopped = turned, False
        self.thread = Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while not self.stopped:
            self.turn()
            with self.turned:
                self.turned.notify_all()

    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            socket.create_connection(self.listener.getsockname(), LONG).close()
            self.thread.join(LONG)
            self.listener.close()


class Case(SynchronousTestCase):
    """Has a server, and a pair in front of it."""

    def setUp(self) -> None:
        self.server = socket.create_server(HERE)
        self.server.settimeout(LONG)
        self.addCleanup(self.server.close)
        self.turned = Condition()
        self.inbound = self.half(Leg, self.server, SERVER, WEB)
        self.outbound = self.half(App, self.inbound.listener, CLIENT, VOTING)
        self.halves = [self.inbound, self.outbound]

    def half(self, kind: type[App | Leg], to: socket.socket, contexts: Contexts, peer: Name) -> Running:
        made = Running(self.turned, kind, to.getsockname(), contexts, peer)
        self.addCleanup(self.end, made)
        return made

    def end(self, half: Running) -> None:
        half.stop()
        half.poll.close()
        for each in half.ends.values():
            each.socket.close()

    def connect(self, to: Half) -> socket.socket:
        made = socket.create_connection(to.listener.getsockname(), LONG)
        self.addCleanup(made.close)
        return made

    def accept(self) -> socket.socket:
        made, _ = self.server.accept()
        made.settimeout(LONG)
        self.addCleanup(made.close)
        return made

    def until(self, fact: Callable[[], bool]) -> None:
        """Wait for a turn of either half after which it is so."""
        with self.turned:
            self.assertTrue(self.turned.wait_for(fact, LONG), "it does not come about")


class TestPair(Case):
    def idle(self) -> bool:
        """Tell whether nothing is left but legs, and these carry nothing."""
        return all(len(half.ends) == len(half.idle) for half in self.halves) and bool(self.inbound.idle)

    def test_connections_follow_one_another_on_a_leg(self) -> None:
        for number in (b"1", b"2", b"3"):
            client = self.connect(self.outbound)
            client.sendall(b"ask " + number)
            served = self.accept()
            self.assertEqual(served.recv(99), b"ask " + number)
            served.sendall(b"answer " + number)
            self.assertEqual(client.recv(99), b"answer " + number)
            client.close()
            self.assertEqual(served.recv(99), b"")
            served.close()
            self.until(self.idle)
        self.assertEqual(len(self.outbound.idle), 1)

    def test_as_many_legs_as_there_are_connections_at_once(self) -> None:
        clients = [self.connect(self.outbound) for _ in range(3)]
        for client in clients:
            client.sendall(b"x")
        for served in [self.accept() for _ in clients]:
            self.assertEqual(served.recv(99), b"x")
            served.close()
        for client in clients:
            self.assertEqual(client.recv(99), b"")
            client.close()
        self.until(lambda: self.idle() and len(self.inbound.idle) == 3)

    def test_one_direction_can_end_before_the_other(self) -> None:
        client = self.connect(self.outbound)
        client.sendall(b"all of it")
        client.shutdown(socket.SHUT_WR)
        served = self.accept()
        self.assertEqual([served.recv(99), served.recv(99)], [b"all of it", b""])
        served.sendall(b"answer")
        served.close()
        self.assertEqual([client.recv(99), client.recv(99)], [b"answer", b""])
        self.until(self.idle)

    def test_more_than_a_record_and_more_than_is_taken_at_once(self) -> None:
        much = bytes(range(256)) * 2**14
        client = self.connect(self.outbound)
        sender = Thread(target=client.sendall, args=(much,), daemon=True)
        sender.start()
        served = self.accept()
        with served.makefile("rb") as came:
            self.assertTrue(came.read(len(much)) == much)
        sender.join(LONG)

    def test_who_says_nothing_needs_no_leg(self) -> None:
        self.connect(self.outbound).close()
        other = self.connect(self.outbound)
        other.sendall(b"x")
        self.assertEqual(self.accept().recv(99), b"x")
        self.until(lambda: len(self.outbound.ends) == 2)

    def test_a_reset_frees_the_leg(self) -> None:
        client = self.connect(self.outbound)
        client.sendall(b"x")
        served = self.accept()
        self.assertEqual(served.recv(99), b"x")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        self.assertEqual(served.recv(99), b"")
        served.sendall(b"too late")
        served.close()
        self.until(self.idle)

    def test_whom_nobody_takes_is_closed(self) -> None:
        self.server.close()
        client = self.connect(self.outbound)
        client.sendall(b"x")
        self.assertEqual(client.recv(99), b"")
        self.until(lambda: not (self.outbound.ends or self.inbound.ends))

    def test_without_the_other_half_clients_are_closed_and_it_goes_on(self) -> None:
        self.inbound.stop()
        for _ in range(2):
            client = self.connect(self.outbound)
            client.sendall(b"x")
            self.assertEqual(client.recv(99), b"")


class TestLegs(Case):
    def leg(self, contexts: Contexts = CLIENT) -> Sealed:
        """Return one of our own to the inbound half."""
        connection = self.connect(self.inbound)
        connection.settimeout(None)
        return Sealed(connection, contexts.client(VOTING))

    def test_a_leg_that_is_gone_takes_its_connection_along(self) -> None:
        leg = self.leg()
        leg.sendall(memoryview(frame(OPEN, b"x")))
        served = self.accept()
        self.assertEqual(served.recv(99), b"x")
        leg.close()
        self.assertEqual(served.recv(99), b"")
        self.until(lambda: not self.inbound.ends)

    def test_frames_in_one_record(self) -> None:
        self.leg().sendall(memoryview(frame(OPEN, b"one ") + frame(DATA, b"two") + frame(FIN)))
        with self.accept().makefile("rb") as came:
            self.assertEqual(came.read(), b"one two")

    def test_its_answers(self) -> None:
        leg, buffer, answers = self.leg(), memoryview(bytearray(99)), b""
        leg.sendall(memoryview(frame(OPEN) + frame(FIN)))
        served = self.accept()
        served.sendall(b"here")
        served.close()
        expected = frame(ACCEPT) + frame(DATA, b"here") + frame(FIN)
        while len(answers) < len(expected):
            select.select([leg], [], [], LONG)
            with contextlib.suppress(BlockingIOError):
                answers += buffer[: leg.recv_into(buffer, 0, 0)]
        self.assertEqual(answers, expected)

    def test_who_proves_nothing_gets_nowhere(self) -> None:
        stranger = Contexts(make_leaf(make_ca(), WEB), CA.trust)
        leg = self.leg(stranger)  # its own handshake is over before its certificate is judged
        plain = self.connect(self.inbound)
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        for each in (leg, plain):
            select.select([each], [], [], LONG)
        self.assertEqual(leg.recv_into(memoryview(bytearray(9)), 0, 0), 0)
        self.assertEqual(self.inbound.ends, {})
        self.connect(self.outbound).sendall(b"x")
        self.assertEqual(self.accept().recv(99), b"x")  # it goes on

    def test_a_server_that_is_somebody_else_gets_nothing(self) -> None:
        self.outbound.peer = WEB
        client = self.connect(self.outbound)
        client.sendall(b"x")
        self.assertEqual(client.recv(99), b"")
        self.assertEqual(len(self.inbound.ends), 0)


class TestSealed(SynchronousTestCase):
    def test_whole_records_are_received_at_once(self) -> None:
        ends = socket.socketpair()
        made: list[Sealed] = []
        server = Thread(target=lambda: made.append(Sealed(ends[1], SERVER.server())), daemon=True)
        server.start()
        client = Sealed(ends[0], CLIENT.client(VOTING))
        server.join(LONG)
        client.sendall(memoryview(bytes(3 * RECORD + 1)))
        self.assertEqual(made[0].recv_into(memoryview(bytearray(SIZE)), 0, 0), 3 * RECORD + 1)
        for each in ends:
            each.close()


class TestFloor(SynchronousTestCase):
    def test_no_bar_is_set_by_it_or_for_it(self) -> None:
        judged = [bar for bar in BARS if isinstance(bar, Most | Ratio) and bar.most is not None]
        self.assertEqual([bar for bar in judged if FLOOR.name in (bar.pair, *getattr(bar, "than", ()))], [])
