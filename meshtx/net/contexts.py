"""OpenSSL contexts of one set of credentials: the one place that decides what TLS we speak.

TLS 1.3 only (RFC 8446), both sides verified, AES-128-GCM first, key exchange as OpenSSL prefers
it (X25519MLKEM768 hybrid where it has it). Nothing is resumed: each connection proves the peer's
name anew, and one with other anchors or another name cannot ride on an old one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from socket import socket
from typing import Any

from OpenSSL import SSL, crypto

from meshtx.errors import CredentialsError
from meshtx.net import openssl
from meshtx.net.tls_peer import PeerCheck
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.chain import stand_in
from meshtx.pki.credentials import Credentials
from meshtx.pki.name import Name

CIPHERS = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""In order of preference, ours as a server too: the first is the fastest here, and all three are good."""

KEY_SHARES = b"?*X25519MLKEM768 / ?X25519:?secp256r1 / ?X448:?secp384r1:?secp521r1 / ?ffdhe2048:?ffdhe3072"
"""The groups of a client, which are OpenSSL's own, in its order. But of X25519 it makes no key before a server asks for
one (RFC 8446, section 4.1.4), at the cost of a round trip: peers that speak as we do never do, and each such key costs
CPU time and memory."""

_MODE_NO_AUTO_CHAIN = 8
"""SSL_MODE_NO_AUTO_CHAIN, which pyOpenSSL does not name: else OpenSSL sends the root, ~400 bytes a handshake."""

_MODE = SSL.MODE_RELEASE_BUFFERS | _MODE_NO_AUTO_CHAIN
"""Without released buffers an idle connection costs 50 KB instead of 24."""

_OPTIONS = SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE
"""OP_NO_TICKET prevents resumption only together with SESS_CACHE_OFF: either alone still resumes."""


class NoProtocol(SSL.Error):
    """The client offers application protocols, and none of ours: alert no_application_protocol (RFC 7301)."""

    def __init__(self) -> None:
        super().__init__([("meshtx", "", "no application protocol")])


class Connection(SSL.Connection):
    """A connection of `Contexts`: made when somebody uses it, on memory BIOs, or before that by `on_socket`.

    OpenSSL cannot change one from memory BIOs to a socket behind pyOpenSSL's back, and making two of them for each that
    is used costs as much as a tenth of a handshake.

    :param sni: what a client says; ``None`` for a server.
    """

    def __init__(self, context: SSL.Context, check: PeerCheck, sni: bytes | None) -> None:
        self._plan: tuple[SSL.Context, PeerCheck, bytes | None] | None = (context, check, sni)

    @property
    def made(self) -> bool:
        """Somebody has used it."""
        return self._plan is None

    def make(self, sock: socket | None = None) -> None:
        """Be a connection, on a socket or on memory BIOs. To be called once."""
        assert self._plan is not None
        (context, check, sni), self._plan = self._plan, None
        super().__init__(context, sock)
        self.set_app_data(check)
        if sni is None:
            self.set_accept_state()
        else:
            self.set_connect_state()
            self.set_tlsext_host_name(sni)

    def __getattr__(self, name: str) -> Any:  # of pyOpenSSL's own, which has none of its attributes yet
        if self.made:
            return super().__getattr__(name)
        self.make()
        return getattr(self, name)


class Contexts:
    """Makes connections that present these credentials and believe these anchors.

    A context cannot change once it is used: a renewal is a new `Contexts`, and connections that are
    established keep theirs.

    :param credentials: ``None`` presents nothing; then it can only be a client.
    :raises CredentialsError: OpenSSL does not take the certificate or the key.
    """

    def __init__(self, credentials: Credentials | None, trust: TrustBundle) -> None:
        self.credentials = credentials
        self.trust = trust
        self._clients: dict[tuple[str, ...], SSL.Context] = {}
        self._servers: dict[tuple[tuple[str, ...], bool], SSL.Context] = {}
        self._issuer = None if credentials is None else stand_in(credentials.chain, trust)
        self._clients[()] = self._client_context(())  # so that bad credentials show now, not in a handshake

    def client(self, peer: Name, alpn: Sequence[str] = (), sni: str | None = None) -> SSL.Connection:
        """Return a connection, about to send its ClientHello, that insists on this peer.

        :param alpn: application protocols offered, best first.
        :param sni: the server name sent, instead of the peer's.
        :raises ValueError: `sni` is no host name (OpenSSL would silently send none).
        """
        key = tuple(alpn)
        context = self._clients.get(key)
        if context is None:
            context = self._clients[key] = self._client_context(key)
        name = str(peer).encode("ascii") if sni is None else _server_name(sni)
        return Connection(context, PeerCheck(peer, required=True), name)

    def server(self, alpn: Sequence[str] = (), *, require_peer: bool = True) -> SSL.Connection:
        """Return a connection that waits for a ClientHello.

        :param alpn: application protocols taken, best first. A client that offers none at all is taken too.
        :param require_peer: ``False`` takes a client without a certificate; a bad one is refused all the same.
        :raises ValueError: there are no credentials to present.
        """
        if self.credentials is None:
            raise ValueError("a server needs credentials")
        key = tuple(alpn), require_peer
        context = self._servers.get(key)
        if context is None:
            context = self._servers[key] = self._server_context(*key)
        return Connection(context, PeerCheck(None, required=require_peer), None)

    def _client_context(self, alpn: tuple[str, ...]) -> SSL.Context:
        context = self._context(SSL.TLS_CLIENT_METHOD, SSL.VERIFY_PEER)
        openssl.set_groups(context, KEY_SHARES)
        if alpn:
            context.set_alpn_protos([protocol.encode("ascii") for protocol in alpn])
        return context

    def _server_context(self, alpn: tuple[str, ...], require_peer: bool) -> SSL.Context:
        verify = SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if require_peer else 0)
        context = self._context(SSL.TLS_SERVER_METHOD, verify)
        if alpn:
            ours = [protocol.encode("ascii") for protocol in alpn]
            context.set_alpn_select_callback(partial(_select, ours))
        return context

    def _context(self, method: int, verify: int) -> SSL.Context:
        context = SSL.Context(method)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_tls13_ciphersuites(CIPHERS)
        context.set_options(_OPTIONS)
        context.set_mode(_MODE)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_verify(verify, _verify)
        self._trust(context)
        if self.credentials is not None:
            _present(context, self.credentials)
        return context

    def _trust(self, context: SSL.Context) -> None:
        store = context.get_cert_store()
        if store is None:
            raise CredentialsError("OpenSSL has no place for the trust anchors")
        self.trust.put_into(store)
        if self._issuer is not None:  # each path of a peer of ours ends there: verified once, and not in each handshake
            store.add_cert(crypto.X509.from_cryptography(self._issuer))


def peer_check(connection: SSL.Connection) -> PeerCheck:
    """Return the judgement that a connection of `Contexts` carries.

    :raises TypeError: the connection was made otherwise: nobody would check its peer's name.
    """
    check = connection.get_app_data()
    if not isinstance(check, PeerCheck):
        raise TypeError("the connection was not made by Contexts")
    return check


def is_client(connection: SSL.Connection) -> bool:
    """Return whether a connection of `Contexts` is to begin the handshake."""
    return peer_check(connection).expected is not None


def on_socket(connection: SSL.Connection, sock: socket) -> SSL.Connection:
    """Return a connection like this one, on which nothing has happened, that reads and writes a socket itself."""
    if isinstance(connection, Connection) and not connection.made:
        connection.make(sock)
        return connection
    check = peer_check(connection)
    bound = SSL.Connection(connection.get_context(), sock)
    bound.set_app_data(check)
    if is_client(connection):
        bound.set_connect_state()
        bound.set_tlsext_host_name(connection.get_servername() or b"")
    else:
        bound.set_accept_state()
    return bound


def _verify(connection: SSL.Connection, certificate: crypto.X509, errno: int, depth: int, ok: int) -> bool:
    """Judge as the connection's own check does: one callback a context instead of one a connection.

    What OpenSSL finds good above the leaf is good: the check has nothing to say of that.
    """
    if ok and depth:
        return True
    check = connection.get_app_data()
    return isinstance(check, PeerCheck) and check.judge(certificate, errno, depth, ok)


def _select(ours: list[bytes], _connection: SSL.Connection, theirs: list[bytes]) -> bytes:
    for protocol in ours:
        if protocol in theirs:
            return protocol
    raise NoProtocol


def _present(context: SSL.Context, credentials: Credentials) -> None:
    """Set the certificate, then its key: the other way round a foreign certificate drops the key silently."""
    try:
        context.use_certificate(credentials.chain[0])
        context.use_privatekey(credentials.key)
        context.check_privatekey()
        for issuer in credentials.chain[1:]:
            context.add_extra_chain_cert(issuer)
    except SSL.Error as error:
        raise CredentialsError(f"OpenSSL does not take certificate and key of {credentials.name}: {error}") from error


def _server_name(sni: str) -> bytes:
    """Return the octets of a host name for SNI (RFC 6066, section 3): neither empty nor an IP address."""
    name = sni.encode("ascii", "replace")
    if not 0 < len(name) <= 253 or b"?" in name or b"\0" in name or _is_address(sni):
        raise ValueError(f"{sni!r} is no server name for SNI")
    return name


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
