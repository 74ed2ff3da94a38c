"""A server of HTTPS on a loopback address, with a certificate of its own authority."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from cryptography import x509
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Site
from zope.interface import implementer

from tests.net.certificates import Ca, make_ca, make_leaf

LOOPBACK = "127.0.0.1"


@implementer(IOpenSSLServerConnectionCreator)
class _Presents:
    def __init__(self, ca: Ca, names: Sequence[x509.GeneralName]) -> None:
        leaf = make_leaf(ca, sans=names)
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.use_certificate(leaf.chain[0])
        self._context.use_privatekey(leaf.key)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_accept_state()
        return connection


class _Site(Site):
    """Counts its connections; writes no log."""

    connections = 0

    def startFactory(self) -> None:
        """Not twisted.web's, which looks at the clock each second."""

    def stopFactory(self) -> None:
        """See startFactory."""

    def log(self, request: object) -> None:
        """Nothing."""

    def buildProtocol(self, addr: object) -> HTTPChannel:
        self.connections += 1
        channel: HTTPChannel = super().buildProtocol(addr)
        return channel


class HttpsServer:
    """Serves a resource until it is closed.

    :param names: of its certificate; without any, its address.
    """

    def __init__(self, resource: IResource, host: str = LOOPBACK, names: Sequence[x509.GeneralName] = ()) -> None:
        self.ca = make_ca()
        self._site = _Site(resource)
        presents = _Presents(self.ca, names or [x509.IPAddress(ip_address(host))])
        self._tls = TLSMemoryBIOFactory(presents, False, self._site)
        self._port = reactor.listenTCP(0, self._tls, interface=host)
        self.port: int = self._port.getHost().port
        self.url = f"https://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def connections(self) -> int:
        """How many there were so far."""
        return self._site.connections

    def abort(self) -> None:
        """Reset all connections."""
        for transport in list(self._tls.protocols):
            transport.abortConnection()

    async def close(self) -> None:
        """Serve no more."""
        self.abort()
        await maybeDeferred(self._port.stopListening)
