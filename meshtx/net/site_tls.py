"""TLS for a web site of ours that others than the mesh connect to, such as an API server to a webhook.

TLS 1.3 alone. A client is asked for a certificate only where the site looks at it. What is presented may change at any
moment: new connections get the new certificate at once, and those that there are keep theirs. Before the first one,
connections are closed.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from OpenSSL import SSL
from twisted.internet.interfaces import IAddress, IOpenSSLServerConnectionCreator, IProtocolFactory
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementedBy, implementer
from zope.interface.declarations import Provides

from meshtx.errors import CredentialsError
from meshtx.net.records import RECORD
from meshtx.net.transports import Server

PIECE = 4 * 1024
"""Cipher bytes that OpenSSL is given at once: it goes through all key updates among them in one call."""

MUTE = RECORD + PIECE
"""Cipher bytes in succession that may give no plain one: more than all but the last byte of a record (RFC 8446, section
5.2). That many of key updates are some 750."""


class _Records(SSL.Connection):
    """Ends a connection whose peer sends key updates and nothing else."""

    _mute = 0

    def bio_write(self, buf: bytes | bytearray | memoryview[int]) -> int:
        """Count what comes."""
        self._mute += len(buf)
        return super().bio_write(buf)

    def do_handshake(self) -> None:
        """Count from here, once it is complete."""
        super().do_handshake()
        self._mute = 0

    def recv(self, bufsiz: int, flags: int | None = None) -> bytes:
        """Return plain bytes, and count anew.

        :raises SSL.Error: too much has come that gave none; in OpenSSL's three words, which Twisted takes apart.
        """
        try:
            data = super().recv(bufsiz, flags)
        except SSL.WantReadError:
            if self._mute > MUTE:
                raise SSL.Error([("site", "recv", "the peer sends key updates and nothing else")]) from None
            raise
        self._mute = 0
        return data


@implementer(IOpenSSLServerConnectionCreator)
class SiteTls:
    """Makes the connections of a site.

    :param ask_client: for its certificate. None is refused here, nor is there to be one: the site judges
        (`client_chain`), so that a client that it does not believe gets an answer.
    """

    def __init__(self, *, ask_client: bool = False) -> None:
        self._ask_client = ask_client
        self._context: SSL.Context | None = None

    @property
    def ready(self) -> bool:
        """Whether there is something to present."""
        return self._context is not None

    def present(self, leaf: x509.Certificate, key: EllipticCurvePrivateKey) -> None:
        """Present this to whoever connects from now on.

        :raises CredentialsError: they do not belong together; what was presented stays.
        """
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_options(SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # else a session would outlive its certificate
        if self._ask_client:
            context.set_verify(SSL.VERIFY_PEER, _let_the_site_judge)
        try:
            context.use_certificate(leaf)
            context.use_privatekey(key)
            context.check_privatekey()
        except SSL.Error as error:
            raise CredentialsError(f"OpenSSL does not take certificate and key of the site: {error}") from error
        self._context = context

    def serverConnectionForTLS(self, _protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return a connection that waits for a ClientHello.

        :raises RuntimeError: no certificate has been given yet.
        """
        if self._context is None:
            raise RuntimeError("nothing to present")
        connection = _Records(self._context, None)
        connection.set_accept_state()
        return connection


def _let_the_site_judge(*_: object) -> bool:
    return True


def client_chain(transport: object) -> tuple[x509.Certificate, ...]:
    """Return the certificates that a client of a site has shown, its own first; nobody has judged them.

    :param transport: of the site's protocol.
    """
    if not isinstance(transport, TLSMemoryBIOProtocol):
        return ()
    connection: SSL.Connection = transport.getHandle()
    try:
        leaf = connection.get_peer_certificate(as_cryptography=True)
        others = connection.get_peer_cert_chain(as_cryptography=True) or []  # a server's has no leaf
    except ValueError:  # what OpenSSL lets through and cryptography cannot read proves nothing
        return ()
    return (leaf, *others) if leaf else ()


class _SiteConnection(BufferingTLSTransport):
    def dataReceived(self, data: bytes) -> None:
        """Give OpenSSL little at once."""
        for start in range(0, len(data), PIECE):
            super().dataReceived(data[start : start + PIECE])


class SiteFactory(TLSMemoryBIOFactory):
    """A site behind TLS.

    The site itself ends connections that stay silent, in their handshake too: it is told of them when TCP is there.
    """

    noisy = False
    protocol = _SiteConnection

    def __init__(self, tls: SiteTls, site: IProtocolFactory) -> None:
        super().__init__(tls, isClient=False, wrappedFactory=site)
        self._tls = tls
        self._declared = [Provides(self.protocol, each) for each in implementedBy(Server)]
        """Declarations of each connection's interfaces; zope.interface makes those anew that have no reference."""

    def buildProtocol(self, addr: IAddress | None) -> TLSMemoryBIOProtocol | None:  # type: ignore[override]  # as in Factory
        """Return the TLS side of a connection; ``None`` closes it."""
        return super().buildProtocol(addr) if self._tls.ready else None
