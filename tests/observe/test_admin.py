from __future__ import annotations

import gc
from http import HTTPStatus
from weakref import ref

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.http import Request

from meshtx.net.contexts import Contexts
from meshtx.net.dial import Dialler
from meshtx.net.listen import listen
from meshtx.net.sockets import SocketOptions
from meshtx.net.tls import TlsProtocol
from meshtx.observe.admin import IDLE_TIMEOUT, MAX_BODY, MAX_CONNECTIONS, AdminSite, Answer, Readers
from meshtx.observe.flow import Direction, Refusal
from meshtx.observe.metrics import Metrics
from meshtx.rpc.status import Status
from meshtx.wire.address import Address
from tests.net.certificates import make_ca, make_leaf
from tests.observe.cases import EMOJI, WEB

REMOTE = IPv4Address("TCP", "10.1.0.4", 5000)


class AdminSiteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.reason: str | None = None
        self.shutdowns = 0

    def site(self, *, readers: Readers = Readers.NAMES, shutdown: bool = True) -> AdminSite:
        self.slow: list[Deferred[Answer]] = []

        def slow(_: Request) -> Deferred[Answer]:
            self.slow.append(Deferred())
            return self.slow[-1]

        return AdminSite(
            self.metrics,
            lambda: self.reason,
            reactor=self.clock,
            readers=readers,
            shutdown=self.shutdown if shutdown else None,
            pages={b"/slow": slow},
        )

    def shutdown(self) -> None:
        self.shutdowns += 1

    def connect(self, site: AdminSite | None = None, peer: IAddress = REMOTE) -> StringTransport:
        site = site or self.site()
        site.doStart()
        self.addCleanup(site.doStop)
        self.channel = site.buildProtocol(peer)
        transport = StringTransport(peerAddress=peer)
        transport.protocol = self.channel
        self.channel.makeConnection(transport)
        return transport

    def ask(
        self,
        line: str,
        *headers: str,
        body: bytes = b"",
        site: AdminSite | None = None,
        peer: IAddress = REMOTE,
    ) -> tuple[int, str]:
        """Status and body of one answer."""
        transport = self.connect(site, peer)
        head = "\r\n".join([f"{line} HTTP/1.1", "Host: a", "Connection: close", *headers, "", ""])
        self.channel.dataReceived(head.encode() + body)
        self.assertTrue(transport.disconnecting)
        self.head, _, text = transport.value().decode().partition("\r\n\r\n")
        return int(self.head.split()[1]), text

    def test_live(self) -> None:
        self.reason = "no certificate"
        self.assertEqual(self.ask("GET /live"), (200, "live\n"))

    def test_ready_says_why_not(self) -> None:
        self.assertEqual(self.ask("GET /ready"), (200, "ready\n"))
        self.reason = "no certificate"
        self.assertEqual(self.ask("GET /ready"), (503, "not ready: no certificate\n"))

    def test_a_probe_may_ask_for_the_head_alone(self) -> None:
        self.reason = "no certificate"
        self.assertEqual(self.ask("HEAD /ready"), (503, ""))

    def test_metrics_where_they_may_be_shown(self) -> None:
        self.metrics.refused(Direction.IN, Refusal.LIMIT)
        status, text = self.ask("GET /metrics", site=self.site(readers=Readers.EVERYBODY))
        self.assertEqual(status, 200)
        self.assertIn('tcp_refused_total{direction="inbound",reason="limit"} 1.0\n', text)
        self.assertIn("Content-Type: text/plain; version=0.0.4; charset=utf-8", self.head)

    def test_metrics_are_not_shown_in_clear(self) -> None:
        self.metrics.tap_refused(Status.PERMISSION_DENIED)
        self.assertEqual(
            self.ask("GET /metrics"), (403, "metrics are shown over mutual TLS, to the names in metrics_identity\n")
        )

    def test_a_process_of_this_host_may_read_metrics_and_nobody_else(self) -> None:
        site = self.site(readers=Readers.THIS_HOST)
        for peer in (IPv4Address("TCP", "127.0.0.1", 5), IPv6Address("TCP", "::1", 5)):
            self.assertEqual(self.ask("GET /metrics", site=site, peer=peer)[0], 200)
        for peer in (REMOTE, IPv6Address("TCP", "fd00::1", 5), UNIXAddress("/run/x")):
            status, text = self.ask("GET /metrics", "X-Forwarded-For: 127.0.0.1", site=site, peer=peer)
            self.assertEqual(status, 403)
            self.assertIn("kubectl port-forward; the setting admin_plaintext_metrics shows them to everybody", text)
        local = IPv4Address("TCP", "127.0.0.1", 5)
        self.assertEqual(self.ask("GET /metrics", "Origin: http://evil.example", site=site, peer=local)[0], 403)

    def test_nobody_may_read_them_in_clear_where_names_may(self) -> None:
        local = IPv4Address("TCP", "127.0.0.1", 5)
        self.assertEqual(self.ask("GET /metrics", site=self.site(readers=Readers.NAMES), peer=local)[0], 403)

    def test_a_page_that_fails_says_so_and_the_log_says_how(self) -> None:
        self.patch(self.metrics, "exposition", lambda: 1 / 0)
        status, text = self.ask("GET /metrics", site=self.site(readers=Readers.EVERYBODY))
        self.assertEqual((status, text), (500, "a defect; the log has it\n"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_head_says_how_long_the_page_is(self) -> None:
        self.assertEqual(self.ask("HEAD /live"), (200, ""))
        self.assertIn("Content-Length: 5", self.head)
        self.assertIn("\r\nDate: ", self.head)

    def test_there_is_nothing_else(self) -> None:
        for path in ("/", "/live/", "/live/x", "//live", "/favicon.ico", "/%6cive"):
            self.assertEqual(self.ask(f"GET {path}")[0], 404, path)
        self.assertEqual(self.ask("POST /shutdown", site=self.site(shutdown=False))[0], 404)

    def test_other_methods_are_refused(self) -> None:
        self.assertEqual(self.ask("POST /ready"), (405, "only GET, HEAD\n"))
        self.assertIn("Allow: GET, HEAD", self.head)
        self.assertEqual(self.ask("GET /shutdown", peer=IPv4Address("TCP", "127.0.0.1", 5)), (405, "only POST\n"))
        self.assertEqual(self.shutdowns, 0)

    def test_a_process_of_this_host_may_shut_down(self) -> None:
        for number, peer in enumerate(
            (
                IPv4Address("TCP", "127.0.0.1", 5),
                IPv6Address("TCP", "::1", 5),
                IPv6Address("TCP", "::ffff:127.0.0.1", 5),
            )
        ):
            self.assertEqual(self.ask("POST /shutdown", "Content-Length: 0", peer=peer), (200, "shutting down\n"))
            self.assertEqual(self.shutdowns, number + 1)

    def test_nobody_else_may_shut_down(self) -> None:
        for peer in (REMOTE, IPv6Address("TCP", "fd00::1", 5), UNIXAddress("/run/x")):
            self.assertEqual(self.ask("POST /shutdown", peer=peer)[0], 403)
        local = IPv4Address("TCP", "127.0.0.1", 5)
        self.assertEqual(self.ask("POST /shutdown", "X-Forwarded-For: 127.0.0.1")[0], 403)
        self.assertEqual(self.ask("POST /shutdown", "Origin: http://evil.example", peer=local)[0], 403)
        self.assertEqual(self.shutdowns, 0)

    def test_an_answer_does_not_name_the_software(self) -> None:
        for line in ("GET /live", "GET /nothing", "GET *", "OPTIONS *"):
            self.ask(line)
            self.assertNotIn("server:", self.head.lower())
            self.assertNotIn("twisted", self.head.lower())

    def test_a_small_body_is_thrown_away(self) -> None:
        self.assertEqual(self.ask("GET /live", f"Content-Length: {MAX_BODY}", body=b"a" * MAX_BODY)[0], 200)

    def test_a_large_body_is_refused_before_it_is_read(self) -> None:
        self.assertEqual(self.ask("GET /live", f"Content-Length: {MAX_BODY + 1}"), (413, ""))
        self.assertEqual(self.ask("GET /live", "Transfer-Encoding: chunked"), (413, ""))

    def test_a_length_of_thousands_of_digits_is_a_bad_request_and_no_trace_in_the_log(self) -> None:
        for field in ("Content-Length: " + "0" * 5000, "CONTENT-length:\r\n " + "9" * 5000):
            for headers in ((field,), (field, "A: b")):
                self.assertEqual(self.ask("GET /live", *headers), (400, ""))

    def test_what_follows_a_refused_body_is_not_answered(self) -> None:
        transport = self.connect()
        self.channel.dataReceived(b"GET /live HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        self.assertEqual(transport.value().count(b"HTTP/1.1"), 1)

    def test_one_connection_serves_many_requests(self) -> None:
        transport = self.connect()
        for _ in range(3):
            self.channel.dataReceived(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(transport.value().count(b"200 OK"), 3)
        self.assertFalse(transport.disconnecting)

    def test_of_many_that_come_together_one_is_answered(self) -> None:
        """Else thousands would be, in one turn of the reactor, and their answers be held."""
        for first in (b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /live HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"):
            transport = self.connect()
            self.channel.dataReceived(first + b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
            self.assertEqual(transport.value().count(b"200 OK"), 1)
            self.assertTrue(transport.disconnecting)
            self.channel.dataReceived(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertEqual(transport.value().count(b"200 OK"), 1)

    def test_an_idle_connection_is_closed_and_nothing_else_is_timed(self) -> None:
        transport = self.connect()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(IDLE_TIMEOUT)
        self.assertTrue(transport.disconnecting)

    def test_connections_are_bounded_and_the_one_silent_longest_makes_room(self) -> None:
        site = self.site()
        oldest, *others = [self.connect(site) for _ in range(MAX_CONNECTIONS)]
        oldest.protocol.dataReceived(b"GET")
        self.connect(site)
        self.assertEqual([each.disconnected for each in (oldest, *others[:2])], [False, True, False])

    def test_a_connection_that_ends_makes_room(self) -> None:
        site = self.site()
        first, *_ = [self.connect(site) for _ in range(MAX_CONNECTIONS)]
        self.channel.connectionLost(Failure(ConnectionDone()))
        self.connect(site)
        self.assertFalse(first.disconnected)

    def test_a_connection_that_ends_within_a_body_leaves_no_cycle(self) -> None:
        for head in (b"Content-Length: 9", b"Transfer-Encoding: chunked"):
            transport = self.connect()
            self.channel.dataReceived(b"POST /live HTTP/1.1\r\n" + head + b"\r\n\r\n1")
            gc.collect()
            gc.disable()
            self.addCleanup(gc.enable)
            self.channel.connectionLost(Failure(ConnectionDone()))
            there = ref(self.channel)
            del self.channel
            vars(transport).clear()  # TCP's lets go of both when it is lost
            self.assertIsNone(there())

    def test_a_page_may_take_its_time_and_what_comes_meanwhile_is_not_answered(self) -> None:
        transport = self.connect()
        self.channel.dataReceived(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        self.channel.dataReceived(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(transport.value(), b"")
        self.slow[0].callback(Answer(HTTPStatus.ACCEPTED, "at last\n"))
        self.assertEqual(transport.value().count(b"HTTP/1.1 "), 1)
        self.assertIn(b"HTTP/1.1 202 Accepted\r\n", transport.value())
        self.assertTrue(transport.value().endswith(b"\r\n\r\nat last\n"))

    def test_a_page_that_fails_later_says_so_too(self) -> None:
        transport = self.connect()
        self.channel.dataReceived(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        self.slow[0].errback(Failure(ZeroDivisionError()))
        self.assertTrue(transport.value().endswith(b"\r\n\r\na defect; the log has it\n"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_page_that_nobody_waits_for_any_more_is_not_sent(self) -> None:
        transport = self.connect()
        self.channel.dataReceived(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        self.channel.connectionLost(Failure(ConnectionDone()))
        self.slow[0].callback(Answer(HTTPStatus.OK, "too late\n"))
        self.assertIsNone(self.successResultOf(self.slow[0]))
        self.assertEqual(transport.value(), b"")

    def test_a_page_that_takes_its_time_keeps_no_place(self) -> None:
        site = self.site()
        first = self.connect(site)
        self.channel.dataReceived(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ in range(MAX_CONNECTIONS):
            self.connect(site)
        self.assertTrue(first.disconnected)

    def test_a_failing_reason_is_an_error_and_not_a_readiness(self) -> None:
        site = AdminSite(self.metrics, lambda: str(1 // 0), reactor=self.clock, readers=Readers.NAMES)
        self.assertEqual(self.ask("GET /ready", site=site)[0], 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class Reader(Protocol):
    """Asks for one page and keeps the answer."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.data = b""
        self.answer: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(f"GET {self.path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure) -> None:
        self.answer.callback(self.data)


class OverTlsTests(TestCase):
    timeout = 10

    @inlineCallbacks
    def test_it_serves_behind_mutual_tls(self):
        ca = make_ca()
        site = AdminSite(Metrics(), lambda: None, reactor=reactor, readers=Readers.EVERYBODY)
        server, client = (Contexts(make_leaf(ca, name), ca.trust) for name in (WEB, EMOJI))

        def accept(address: IAddress) -> TlsProtocol:
            return TlsProtocol(server.server(), lambda _: site.buildProtocol(address), self.fail, reactor)

        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = accept
        port = listen(reactor, Address.parse("127.0.0.1:0"), factory, SocketOptions())
        self.addCleanup(port.stopListening)
        reader = Reader("/metrics")
        tls = TlsProtocol(client.client(WEB), lambda _: reader, self.fail, reactor)
        yield Dialler(reactor, SocketOptions(), 2.0).dial(Address.of("127.0.0.1", port.getHost().port), tls)
        answer = yield reader.answer
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertIn(b"meshtx_build_info", answer)
