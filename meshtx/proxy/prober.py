"""Makes the kubelet's probes of the workload in its place.

The kubelet is no peer: where policy lets only proven names in, its requests to the workload's ports are refused; and
each connection to the pod is taken by its proxy, whatever has become of the application. So the injector turns a pod's
HTTP, gRPC and TCP probes into requests for pages of the admin site, and tells the proxy what was meant:

    kubelet ── GET /probe/web/readiness ──▶ admin site ── the probe as its author wrote it ──▶ the workload's port
            ◀── 200, or 503 and why ───────            ◀── judged as the kubelet does ────────

Whoever may connect to the admin port may ask. They learn whether the workload passes and no more, and cost little: all
that ask while a probe is being made get its result.

It is judged as the kubelet does it (``pkg/probe`` of Kubernetes 1.36), but a redirect is not followed: it passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.http import Request
from zope.interface import implementer

from meshtx.net.dial import DialFailed, Dialler
from meshtx.observe.admin import Answer, Page
from meshtx.proxy.probes import GrpcProbe, HttpProbe, Probe, ProbeFailed, Probes, TcpProbe
from meshtx.rpc.client import RpcClient
from meshtx.rpc.messages.health_pb2 import HealthCheckRequest, HealthCheckResponse
from meshtx.rpc.methods import HEALTH_CHECK
from meshtx.rpc.status import RpcError
from meshtx.wire.address import Address

MAX_ANSWER = 10 * 1024
"""Bytes of an answer that are read, as the kubelet does it; what stands behind them is not waited for."""

_PASSED = Answer(HTTPStatus.OK, "passed\n")


class Prober:
    """Makes probes.

    :param dialler: connects to the workload.
    """

    def __init__(self, probes: Probes, dialler: Dialler, clock: IReactorTime) -> None:
        self._probes = probes
        self._dialler = dialler
        self._clock = clock
        self._waiting: dict[tuple[Probe, str], list[Deferred[Answer]]] = {}

    def pages(self) -> Mapping[bytes, Page]:
        """Return the page of each probe, for the admin site."""
        return {path.encode(): partial(self._page, probe) for path, probe in self._probes}

    def _page(self, probe: Probe, request: Request) -> Deferred[Answer]:
        """Probe the address that the page was asked for at: the pod's own, as the kubelet would."""
        host = str(request.getHost().host)
        answer: Deferred[Answer] = Deferred()
        waiting = self._waiting.setdefault((probe, host), [])
        waiting.append(answer)
        if len(waiting) == 1:
            ensureDeferred(self._answer(probe, host)).addBoth(self._tell, probe, host)
        return answer

    def _tell(self, result: Answer | Failure, probe: Probe, host: str) -> None:
        for each in self._waiting.pop((probe, host)):
            each.callback(result)

    async def _answer(self, probe: Probe, host: str) -> Answer:
        """Make one probe, and return what it found."""
        made = ensureDeferred(self._make(probe, Address.of(host, probe.port)))
        try:
            await made.addTimeout(probe.timeout, self._clock)
        except DeferredTimeout:
            problem = f"no answer within {probe.timeout:g} s"
        except RpcError as error:  # its text is the application's
            problem = f"the call failed: {error.status.name}"
        except (DialFailed, ProbeFailed) as error:
            problem = str(error)
        else:
            return _PASSED
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{problem}\n")

    async def _make(self, probe: Probe, address: Address) -> None:
        match probe:
            case TcpProbe():
                await self._connect(address)
            case HttpProbe():
                await self._get(probe, address)
            case GrpcProbe():
                await self._check(probe, address)

    async def _connect(self, address: Address) -> None:
        protocol = Protocol()
        await self._dialler.dial(address, protocol)
        cast("ITCPTransport", protocol.transport).loseConnection()

    async def _get(self, probe: HttpProbe, address: Address) -> None:
        asked = _Asked(probe.request(f"[{address.host}]" if ":" in address.host else address.host))
        lower: Protocol = _over_tls(asked) if probe.secure else asked
        await self._dialler.dial(address, lower)
        connection = cast("ITCPTransport", lower.transport)
        try:
            status = await asked.status
        except (CancelledError, ProbeFailed):
            connection.abortConnection()
            raise
        asked.transport.loseConnection()
        connection.loseConnection()  # TLS would wait for the server to close it too
        if not 200 <= status < 400:
            raise ProbeFailed(f"status {status}")

    async def _check(self, probe: GrpcProbe, address: Address) -> None:
        client = RpcClient(self._clock, authority=str(address), secure=False)
        await self._dialler.dial(address, client)
        try:
            answer = await client.call(HEALTH_CHECK, HealthCheckRequest(service=probe.service), probe.timeout)
        finally:
            client.close()
        if answer.status != HealthCheckResponse.SERVING:
            raise ProbeFailed("its health service does not say that it is serving")


class _Asked(Protocol):
    """Sends one request of HTTP/1.1 and reads the answer.

    :ivar status: fires once the answer has come whole, or as much of it as is read.
    """

    transport: ITCPTransport

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._parser = HttpResponseParser(self)
        self._read = 0
        self._status: int | None = None
        self.status: Deferred[int] = Deferred()

    def connectionMade(self) -> None:
        """Ask."""
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """Read the answer."""
        self._read += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._end("the answer is no HTTP")
        if self._read >= MAX_ANSWER:
            self._end(f"{MAX_ANSWER} bytes and more, and no status")

    def on_headers_complete(self) -> None:
        """Note the status; one below 200 comes before the answer."""
        status = self._parser.get_status_code()
        if status >= 200:
            self._status = status

    def on_message_complete(self) -> None:
        """End: nothing more is to come."""
        if self._status is not None:
            self._end()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        """End: an answer may last until the connection does."""
        self._end("the connection ended before an answer")

    def _end(self, problem: str = "") -> None:
        if self.status.called:
            return
        if self._status is None:
            self.status.errback(ProbeFailed(problem))
        else:
            self.status.callback(self._status)


def _over_tls(asked: _Asked) -> TLSMemoryBIOProtocol:
    factory = TLSMemoryBIOFactory(_AnyServer(), isClient=True, wrappedFactory=Factory.forProtocol(lambda: asked))
    return factory.buildProtocol(None)


@implementer(IOpenSSLClientConnectionCreator)
class _AnyServer:
    """Connections that believe any server: as the kubelet's, they ask whether it answers, and tell it no secret."""

    def clientConnectionForTLS(self, _protocol: Any) -> SSL.Connection:
        """Return a connection about to send its ClientHello; without SNI, as the server is an address."""
        connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        connection.set_connect_state()
        return connection
