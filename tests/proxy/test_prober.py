"""The probes that a proxy makes in the kubelet's place, asked for as the kubelet asks: pages of a real admin site."""

from __future__ import annotations

from collections.abc import Callable

from OpenSSL import crypto
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue, gatherResults
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.web.client import Agent, readBody
from twisted.web.http import Request

from meshtx.net.dial import Dialler
from meshtx.net.poller import Transports
from meshtx.net.sockets import SocketOptions
from meshtx.observe.admin import AdminSite, Answer, Page, Readers
from meshtx.observe.metrics import Metrics
from meshtx.proxy.prober import MAX_ANSWER, Prober
from meshtx.proxy.probes import GrpcProbe, HttpProbe, Probe, TcpProbe
from meshtx.rpc.health import Health
from meshtx.rpc.messages.health_pb2 import HealthCheckRequest, HealthCheckResponse
from meshtx.rpc.methods import HEALTH_CHECK
from tests.net.certificates import make_ca, make_leaf
from tests.net.transport_case import registered
from tests.ports import reserve_port
from tests.proxy.talkers import Talker
from tests.rpc.support import Listening

PASSED = (200, "passed\n")
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Answering(Talker):
    """Says something once it got a request, and keeps the connection unless it is told otherwise."""

    def __init__(self, answer: bytes, *, ends: bool) -> None:
        super().__init__()
        self._answer = answer
        self._ends = ends

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if self.got.endswith(b"\r\n\r\n"):
            self.transport.write(self._answer)
            if self._ends:
                self.transport.loseConnection()


class Case(Listening):
    timeout = 20
    transports = Transports.QUICK

    def setUp(self) -> None:
        self.io = registered(self.transports)
        self.clock = Clock()
        self.connections: list[Talker] = []
        self.asked: DeferredQueue[None] = DeferredQueue()

    def listen(self, make: Callable[[], Protocol], host: str = "127.0.0.1") -> int:
        """Serve with protocols that this makes, and return the port."""
        factory = Factory.forProtocol(make)
        factory.noisy = False
        return self.listen_with(factory, host)

    def listen_with(self, factory: Factory, host: str = "127.0.0.1") -> int:
        port: IListeningPort = reactor.listenTCP(0, factory, interface=host)
        self.addCleanup(port.stopListening)
        return port.getHost().port

    def answering(self, answer: bytes, *, ends: bool = False, host: str = "127.0.0.1") -> int:
        """Serve one answer, and return the port."""

        def made() -> Talker:
            self.connections.append(Answering(answer, ends=ends))
            return self.connections[-1]

        return self.listen(made, host)

    def site(self, probe: Probe, host: str = "127.0.0.1") -> str:
        """Serve the page of a probe, and return its address."""
        dialler = Dialler(self.io, SocketOptions(), 5.0, hedges=())
        prober = Prober((("/probe/web/liveness", probe),), dialler, self.clock)
        pages = {path: self.counted(page) for path, page in prober.pages().items()}
        site = AdminSite(Metrics(), lambda: None, reactor=reactor, readers=Readers.NAMES, pages=pages)
        return f"http://{host}:{self.listen_with(site, host)}/probe/web/liveness"

    def counted(self, page: Page) -> Page:
        """Return the page, which says when it has been asked for."""

        def asked(request: Request) -> Answer | Deferred[Answer]:
            answer = page(request)
            self.asked.put(None)
            return answer

        return asked

    async def get(self, url: str) -> tuple[int, str]:
        response = await Agent(reactor).request(b"GET", url.encode())
        return response.code, (await readBody(response)).decode()

    async def result(self, probe: Probe) -> tuple[int, str]:
        """Return what the kubelet is told."""
        return await self.get(self.site(probe))

    async def assertFails(self, reason: str, probe: Probe) -> None:
        self.assertEqual(await self.result(probe), (503, f"{reason}\n"))


class TcpTests(Case):
    async def test_a_port_that_takes_connections_passes_and_the_connection_is_closed(self) -> None:
        application = Talker()
        self.assertEqual(await self.result(TcpProbe(self.listen(lambda: application))), PASSED)
        self.assertEqual(await application.lost, "closed")

    async def test_one_that_does_not_fails(self) -> None:
        listener = reserve_port()
        self.addCleanup(listener.close)
        port = listener.getsockname()[1]
        await self.assertFails(f"connecting to 127.0.0.1:{port}: Connection refused", TcpProbe(port))

    async def test_what_is_probed_is_the_address_by_which_the_kubelet_came(self) -> None:
        port = self.answering(WHOLE, host="127.0.0.3")
        self.assertEqual(await self.get(self.site(TcpProbe(port), "127.0.0.3")), PASSED)
        status, _ = await self.result(TcpProbe(port))
        self.assertEqual(status, 503)


class TwistedTcpTests(TcpTests):
    transports = Transports.TWISTED


class HttpTests(Case):
    async def test_the_status_decides(self) -> None:
        for status, passes in ((200, True), (204, True), (302, True), (399, True), (400, False), (500, False)):
            port = self.answering(b"HTTP/1.1 %d Because\r\nContent-Length: 0\r\n\r\n" % status)
            expected = PASSED if passes else (503, f"status {status}\n")
            self.assertEqual(await self.result(HttpProbe(port)), expected)

    async def test_the_application_is_asked_as_the_probe_says(self) -> None:
        probe = HttpProbe(self.answering(WHOLE), "/healthy", (("X-Probe", "yes"),))
        self.assertEqual(await self.result(probe), PASSED)
        self.assertEqual(bytes(self.connections[0].got), probe.request("127.0.0.1"))

    async def test_an_answer_ends_where_it_says_or_with_its_connection(self) -> None:
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        for answer, ends in ((WHOLE, False), (chunked, False), (b"HTTP/1.0 200 OK\r\n\r\nok", True)):
            self.assertEqual(await self.result(HttpProbe(self.answering(answer, ends=ends))), PASSED)
            self.assertEqual(await self.connections[-1].lost, "closed")

    async def test_what_comes_before_the_answer_is_none(self) -> None:
        self.assertEqual(await self.result(HttpProbe(self.answering(b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE))), PASSED)
        early = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
        await self.assertFails("status 500", HttpProbe(self.answering(early)))

    async def test_the_end_of_a_long_answer_is_not_awaited(self) -> None:
        endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * MAX_ANSWER
        self.assertEqual(await self.result(HttpProbe(self.answering(endless))), PASSED)

    async def test_what_is_no_answer_fails(self) -> None:
        long = b"HTTP/1.1 200 OK\r\nA: " + b"x" * MAX_ANSWER
        await self.assertFails("10240 bytes and more, and no status", HttpProbe(self.answering(long)))
        for answer in (b"220 mail.example ESMTP\r\n", b"HTTP/1.1 101 Up\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n"):
            await self.assertFails("the answer is no HTTP", HttpProbe(self.answering(answer)))
        for answer in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"):
            await self.assertFails(
                "the connection ended before an answer", HttpProbe(self.answering(answer, ends=True))
            )

    async def test_a_header_that_cannot_be_sent_fails_before_a_connection(self) -> None:
        status, reason = await self.result(HttpProbe(self.answering(WHOLE), headers=(("A", "b\r\nC: d"),)))
        self.assertEqual((status, self.connections), (503, []))
        self.assertIn("control character", reason)

    async def test_who_says_nothing_in_time_fails_and_is_hung_up_on(self) -> None:
        application = Talker()
        asked = self.get(self.site(HttpProbe(self.listen(lambda: application), timeout=2)))
        answer = Deferred.fromCoroutine(asked)
        await application.has(1)
        self.clock.advance(1.9)
        self.assertNoResult(answer)
        self.clock.advance(0.1)
        self.assertEqual(await answer, (503, "no answer within 2 s\n"))
        self.assertEqual(await application.lost, "reset")

    async def test_all_that_ask_meanwhile_get_the_result_of_one_probe(self) -> None:
        application = Talker()
        made = [application]
        url = self.site(HttpProbe(self.listen(made.pop)))
        asked = [Deferred.fromCoroutine(self.get(url)) for _ in range(3)]
        await application.has(1)
        for _ in asked:
            await self.asked.get()
        application.transport.write(WHOLE)
        self.assertEqual(await gatherResults(asked), [PASSED] * 3)
        self.assertEqual(made, [])

    async def test_the_next_to_ask_gets_a_probe_of_his_own(self) -> None:
        url = self.site(HttpProbe(self.answering(WHOLE)))
        self.assertEqual([await self.get(url), await self.get(url)], [PASSED] * 2)
        self.assertEqual(len(self.connections), 2)


class TwistedHttpTests(HttpTests):
    transports = Transports.TWISTED


class HttpsTests(Case):
    def over_tls(self, answer: bytes) -> int:
        """Serve one answer over TLS, with a certificate that nobody believes."""
        credentials = make_leaf(make_ca())
        key = crypto.PKey.from_cryptography_key(credentials.key)
        factory = Factory.forProtocol(lambda: Answering(answer, ends=False))
        factory.noisy = False
        options = CertificateOptions(privateKey=key, certificate=crypto.X509.from_cryptography(credentials.chain[0]))
        port = reactor.listenSSL(0, factory, options, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return port.getHost().port

    async def test_any_server_is_believed(self) -> None:
        self.assertEqual(await self.result(HttpProbe(self.over_tls(WHOLE), secure=True)), PASSED)

    async def test_the_status_decides(self) -> None:
        port = self.over_tls(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        await self.assertFails("status 500", HttpProbe(port, secure=True))

    async def test_a_server_without_tls_fails(self) -> None:
        port = self.listen(lambda: Talker(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        await self.assertFails("the connection ended before an answer", HttpProbe(port, secure=True))


class TwistedHttpsTests(HttpsTests):
    transports = Transports.TWISTED


class GrpcTests(Case):
    async def test_a_service_that_serves_passes_and_no_other(self) -> None:
        health = Health()
        health.set("a.B", serving=True)
        health.set("a.C", serving=False)
        self.serve(dict(health.handlers()))
        for service in ("", "a.B"):
            self.assertEqual(await self.result(GrpcProbe(self.port, service)), PASSED)
        await self.assertFails("its health service does not say that it is serving", GrpcProbe(self.port, "a.C"))
        await self.assertFails("the call failed: NOT_FOUND", GrpcProbe(self.port, "a.D"))

    async def test_a_server_of_grpcio(self) -> None:
        def check(request: HealthCheckRequest, _context: object) -> HealthCheckResponse:
            return HealthCheckResponse(status=99 if request.service else HealthCheckResponse.SERVING)

        self.grpcio_server({HEALTH_CHECK: check})
        self.assertEqual(await self.result(GrpcProbe(self.port)), PASSED)
        await self.assertFails("its health service does not say that it is serving", GrpcProbe(self.port, "odd"))

    async def test_what_is_no_grpc_fails(self) -> None:
        port = self.listen(lambda: Talker(b"HTTP/1.1 400 No\r\n\r\n"))
        await self.assertFails("the call failed: UNAVAILABLE", GrpcProbe(port))

    async def test_who_says_nothing_in_time_fails_and_is_hung_up_on(self) -> None:
        application = Talker()
        asked = self.get(self.site(GrpcProbe(self.listen(lambda: application), timeout=2)))
        answer = Deferred.fromCoroutine(asked)
        await application.has(1)
        self.clock.advance(2)
        self.assertEqual((await answer)[0], 503)
        await application.lost
