"""Peers that are no proxy of ours: TLS by hand, as strangers and Linkerd's proxies speak it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory

from meshtx.net.contexts import Contexts, peer_check
from meshtx.net.failures import TlsError
from meshtx.net.tls import Session, TlsProtocol
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.name import Name
from meshtx.wire.address import Address
from tests.net.certificates import VOTING
from tests.proxy.mesh import CA, MeshCase
from tests.proxy.talkers import Talker

LINKERD = ("transport.l5d.io/v1",)
BOTH = ("meshtx/1", *LINKERD)


class Peer:
    """A client of TLS with a `Talker` above; `outcome` is its session, or why there is none."""

    def __init__(self, connection: SSL.Connection, talker: Talker | None = None) -> None:
        self.talker = talker or Talker()
        self.outcome: Deferred[Session | TlsError] = Deferred()
        self.tls = TlsProtocol(connection, self._established, self.outcome.callback, reactor)  # type: ignore[arg-type]

    def _established(self, session: Session) -> IProtocol:
        self.outcome.callback(session)
        return self.talker


async def dial(
    case: MeshCase,
    address: Address,
    credentials: Credentials | None,
    *,
    name: Name = VOTING,
    alpn: Sequence[str] = BOTH,
    talker: Talker | None = None,
    trust: TrustBundle = CA.trust,
) -> Peer:
    """Connect with TLS 1.3 and a good idea of who the other side is."""
    peer = Peer(Contexts(credentials, trust).client(name, alpn), talker)
    await case.dial(address, peer.tls)
    return peer


def tls_1_2(credentials: Credentials, name: Name = VOTING) -> SSL.Connection:
    """Return a client that speaks nothing newer."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate(credentials.chain[0])
    context.use_privatekey(credentials.key)
    connection = SSL.Connection(context)
    connection.set_app_data(peer_check(Contexts(credentials, CA.trust).client(name)))
    connection.set_connect_state()
    connection.set_tlsext_host_name(str(name).encode())
    return connection


def serve(case: MeshCase, ip: Any, credentials: Credentials, alpn: Sequence[str], talkers: list[Talker]) -> Address:
    """Listen with TLS; each connection takes the next talker. The sessions' outcomes do not matter."""
    factory = Factory()
    factory.noisy = False
    contexts = Contexts(credentials, CA.trust)

    def build(_address: object) -> TlsProtocol:
        def established(_session: Session) -> IProtocol:
            return talkers.pop(0)

        return TlsProtocol(contexts.server(alpn), established, lambda _: None, reactor)  # type: ignore[arg-type]

    factory.buildProtocol = build  # type: ignore[method-assign,assignment]
    return case.listen(ip, factory)


@cache
def hello(name: str = str(VOTING)) -> bytes:
    """Return a ClientHello, always the same."""
    connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    connection.set_tlsext_host_name(name.encode())
    connection.set_connect_state()
    with suppress(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(2**14)
