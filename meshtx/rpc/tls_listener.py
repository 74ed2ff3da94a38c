"""Accepts connections for an `RpcServer` that is reached over TLS."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory

from meshtx.net.contexts import Contexts
from meshtx.net.failures import TlsError
from meshtx.net.tls import Session, TlsProtocol
from meshtx.rpc.connections import Connections
from meshtx.rpc.server import RpcServer

ALPN = ("h2",)
"""What gRPC clients offer; those of a mesh offer nothing, which is taken too."""

MAX_HANDSHAKES = 256
"""Handshakes at once. One more, and the oldest is cut off: a client that is alive needs milliseconds."""


class TlsListener(Factory):
    """A factory for `meshtx.net.listen`.

    :param contexts: returns the present ones, ``None`` while there are no credentials.
    :param require_peer: whether a client must prove a name.
    :param failed: called with each failed handshake.
    """

    noisy = False

    def __init__(
        self,
        server: RpcServer,
        contexts: Callable[[], Contexts | None],
        clock: IReactorTime,
        *,
        require_peer: bool,
        failed: Callable[[TlsError], None],
        max_handshakes: int = MAX_HANDSHAKES,
    ) -> None:
        self._server = server
        self._contexts = contexts
        self._clock = clock
        self._require_peer = require_peer
        self._failed = failed
        self._handshakes = Connections(max_handshakes)

    def buildProtocol(self, _address: IAddress | None) -> TlsProtocol | None:
        """Return the TLS side of a connection; ``None`` closes it."""
        contexts = self._contexts()
        if contexts is None:
            return None

        def cut() -> None:
            cast("ITCPTransport", protocol.transport).abortConnection()

        def established(session: Session) -> IProtocol:
            seat.leave()
            return self._server.protocol(session)

        def failed(error: TlsError) -> None:
            seat.leave()
            self._failed(error)

        connection = contexts.server(ALPN, require_peer=self._require_peer)
        protocol = TlsProtocol(connection, established, failed, self._clock)
        seat = self._handshakes.enter(cut)
        return protocol
