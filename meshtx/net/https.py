"""TLS to a server outside the mesh, for HTTP clients: chain, name and version are checked here and nowhere else.

Twisted's own `optionsForClientTLS` lets a server through whose alternative names it cannot read; here the
answer to whatever is not plainly right is no. A name is compared with DNS names (RFC 6125, wildcards as
there), an address with IP addresses; the common name proves nothing.

    endpoints = HttpsEndpoints(reactor, "10.0.0.1", 443, ServerTls("10.0.0.1", trust))
    borrowed = Borrowed(pool)
    Agent.usingEndpointFactory(reactor, endpoints, borrowed)  # for one request, which borrowed.abort() ends
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, cast
from weakref import WeakSet

from OpenSSL import SSL, crypto
from service_identity.cryptography import extract_patterns
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.tcp import Client
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.client import URI, HTTPConnectionPool
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from meshtx.net.failures import verification_problem
from meshtx.net.sockets import SocketOptions, arm, disarm
from meshtx.pki.bundle import TrustBundle


def _nothing(_: object) -> None:
    """Present no certificate, note no connection."""


@implementer(IOpenSSLClientConnectionCreator)
class ServerTls:
    """Connections that insist on one server.

    :param server: who it must be, whatever host is dialled: a DNS name, or an IP address.
    :param trust: the only anchors.
    :param present: puts a client's certificate and key into the context, if there is one.
    """

    def __init__(self, server: str, trust: TrustBundle, present: Callable[[SSL.Context], None] = _nothing) -> None:
        self.refused: str | None = None
        """Why the last server that was refused was refused, for the error's text; ``None`` after one that was not."""
        self._identity, self._sni = _expected(server)
        self._server = server
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self._context.set_min_proto_version(SSL.TLS1_2_VERSION)
        self._context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        self._context.set_verify(SSL.VERIFY_PEER, self._verify)
        store = self._context.get_cert_store()
        if store is None:
            raise RuntimeError("OpenSSL has no place for the trust anchors")
        trust.put_into(store)
        present(self._context)

    def clientConnectionForTLS(self, _protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return a connection about to send its ClientHello."""
        connection = SSL.Connection(self._context, None)
        connection.set_connect_state()
        if self._sni:
            connection.set_tlsext_host_name(self._sni)
        return connection

    def _verify(self, _: SSL.Connection, certificate: crypto.X509, errno: int, depth: int, ok: int) -> bool:
        """Judge one certificate of the chain, the leaf last; anything unforeseen is a refusal."""
        if not ok:
            self.refused = f"its certificate chain does not verify ({verification_problem(errno)})"
            return False
        if depth:
            return True
        try:
            patterns = extract_patterns(certificate.to_cryptography())
            verify_service_identity(patterns, [self._identity], [])
        except Exception as error:  # noqa: BLE001  the border to whatever a server sends: closed
            self.refused = f"its certificate is not one for {self._server} ({type(error).__name__})"
            return False
        self.refused = None
        return True


def _expected(server: str) -> tuple[DNS_ID | IPAddress_ID, bytes]:
    """Return what the certificate must name, and the name for SNI, which addresses have none of (RFC 6066)."""
    try:
        ip_address(server)
    except ValueError:
        return DNS_ID(server), server.encode("idna")
    return IPAddress_ID(server), b""


@implementer(IAgentEndpointFactory)
class HttpsEndpoints:
    """Where an HTTP client's connections come from: to one server, by https only, dead peers noticed within a minute.

    Whatever a URL says, nobody else is dialled, and so no credentials go elsewhere.

    :param reactor: dials and resolves names.
    :param host: a DNS name, or an IP address without brackets.
    """

    def __init__(
        self,
        reactor: object,
        host: str,
        port: int,
        tls: ServerTls,
    ) -> None:
        self._endpoint = HostnameEndpoint(reactor, host, port)
        self._tls = tls

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Return the server's endpoint.

        :raises SchemeNotSupported: it is not https.
        """
        if uri.scheme != b"https":
            raise SchemeNotSupported(f"{uri.scheme!r} is not https")
        return wrapClientTLS(self._tls, _Armed(self._endpoint))


@implementer(IStreamClientEndpoint)
class _Armed:
    """Sets the options of each socket that another endpoint opens."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect. If it is cancelled, that is how it ends: Twisted's endpoint may say that there is no such host."""
        cancelled = False

        def cancel(_connected: Deferred[IProtocol]) -> None:
            nonlocal cancelled
            cancelled = True
            connecting.cancel()

        def failed(failure: Failure) -> None:
            connected.errback(Failure(CancelledError()) if cancelled else failure)

        connected: Deferred[IProtocol] = Deferred(cancel)
        connecting = self._endpoint.connect(factory).addCallback(self._arm)
        connecting.addCallbacks(connected.callback, failed)
        return connected

    def _arm(self, protocol: IProtocol) -> IProtocol:
        transport = cast("Client", cast("TLSMemoryBIOProtocol", protocol).transport)
        sock = transport.getHandle()
        arm(sock, SocketOptions())
        disarm(sock)  # HTTP says itself where an answer ends
        return protocol


_aborted: WeakSet[Any] = WeakSet()
"""Connections that are lost soon."""


class Borrowed:
    """A pool as one request's Agent sees it: remembers the connection that it gets, so that it can be aborted.

    To close it in order would wait for the server's part, for ever if the server is stuck.
    """

    def __init__(self, pool: HTTPConnectionPool) -> None:
        pool.retryAutomatically = False  # a second connection would not be ours to abort
        self.persistent = pool.persistent
        self._pool = pool
        self._connection: Any = None  # Twisted's class for it is private

    def getConnection(self, key: object, endpoint: IStreamClientEndpoint) -> Deferred[Any]:
        """Return a connection of the pool, or a new one."""
        return self._pool.getConnection(key, endpoint).addCallback(self._note, key, endpoint)

    def _note(self, connection: Any, key: object, endpoint: IStreamClientEndpoint) -> Any:
        if connection in _aborted:  # its last answer was whole all the same, so it went back to the pool
            return self.getConnection(key, endpoint)
        self._connection = connection
        return connection

    def abort(self) -> None:
        """End the connection at once, if there is one."""
        if self._connection is not None and self._connection.state != "CONNECTION_LOST":
            _aborted.add(self._connection)
            self._connection.transport.abortConnection()
