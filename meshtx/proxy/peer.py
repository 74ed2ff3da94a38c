"""Reaching a meshed workload: by a leg that is there already, or dial its proxy and prove each other.

What the peer's proxy speaks decides the form: a leg (`meshtx/1`), which is kept for the next connection, or
Linkerd's transport header, for one. Whatever fails on the way is a refusal with its reason; there is no other way to
the workload.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IProtocol, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from meshtx.directory.target import Meshed
from meshtx.net.dial import Dialler
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.leg_client import LegClient
from meshtx.net.leg_pool import LegPool, OtherPeers, Peer
from meshtx.net.tls import Session
from meshtx.observe.flow import Direction, Mtls, Refusal
from meshtx.observe.metrics import Metrics
from meshtx.pki.name import Name
from meshtx.proxy import mesh_tls
from meshtx.proxy.ends import End, Live
from meshtx.proxy.mesh_tls import Carrier, MeshTls
from meshtx.proxy.work import Refused
from meshtx.wire.leg_frames import Open
from meshtx.wire.transport_header import TransportHeader, encode_header


class Peers:
    """The other proxies, and the legs to them.

    :param handshake: seconds for one.
    :param settle: seconds that no leg to a peer has been idle before another one is opened.
    """

    def __init__(
        self,
        clock: IReactorTime,
        dialler: Dialler,
        tls: MeshTls,
        metrics: Metrics,
        *,
        handshake: float,
        settle: float,
    ) -> None:
        self._clock = clock
        self._dialler = dialler
        self._tls = tls
        self._metrics = metrics
        self._handshake = handshake
        self._pool = LegPool(clock, lambda peer: ensureDeferred(self._leg(peer)), metrics.legs(Direction.OUT), settle)
        tls.renewed.append(self._pool.renew)

    async def reach(self, meshed: Meshed, request: Open, far: End, others: OtherPeers | None = None) -> Mtls:
        """Connect an end to a workload through its proxy, and return who that has proved to be.

        :param request: what is asked of the proxy.
        :param others: who serve the same, and are tried if the workload proves not to be there.
        :raises Refused: there are no credentials to show, or the peer speaks nothing that we do.
        :raises DialFailed: its proxy does not answer.
        :raises TlsError: the handshake failed: wrong name, wrong issuer, and so on.
        """
        mtls = self.ride(meshed, request, far, others)
        if mtls is not None:
            return mtls
        peer = Peer(meshed.via, meshed.name)
        epoch = self._pool.epoch

        def above(session: Session) -> IProtocol | None:
            match session.alpn:
                case mesh_tls.MESHTX:
                    replay = None if others is None else self._pool.movable(request, others)
                    return self._pool.leg(peer, session.peer_expires, epoch, lambda leg: leg.open(request, far, replay))
                case mesh_tls.LINKERD:
                    far.greeting = encode_header(TransportHeader(request.port))
                    return far
                case _:
                    return None

        return Mtls(meshed.name, await self._connect(peer, above, far.made))

    def ride(self, meshed: Meshed, request: Open, far: End, others: OtherPeers | None = None) -> Mtls | None:
        """Connect an end at once, by an idle leg; return who the peer has proved to be, nothing if there is none."""
        if self._pool.carry(Peer(meshed.via, meshed.name), request, far, others):
            return _proved(meshed.name)
        return None

    async def _leg(self, peer: Peer) -> LegClient:
        """Return a new leg that carries nothing yet."""
        epoch, made = self._pool.epoch, Deferred[LegClient]()

        def above(session: Session) -> IProtocol | None:
            if session.alpn != mesh_tls.MESHTX:
                return None
            return self._pool.leg(peer, session.peer_expires, epoch, made.callback)

        legs: list[LegClient] = []
        made.addCallback(legs.append)
        await self._connect(peer, above, made)
        return legs[0]

    async def _connect(
        self,
        peer: Peer,
        above: Callable[[Session], IProtocol | None],
        made: Deferred[Any],  # of anything
    ) -> str:
        """Dial, shake hands, and return the application protocol that was agreed on.

        :param above: returns what speaks it, or nothing.
        :param made: fires once that is connected; gets the failure if it never will be.
        """
        contexts = self._tls.contexts
        if contexts is None:
            raise Refused(Refusal.NO_CREDENTIALS, self._tls.missing)
        attempt = _Attempt(self._clock, self._metrics, peer, above, made)
        tls = Carrier(
            contexts.client(peer.name, mesh_tls.PROTOCOLS),
            attempt.established,
            attempt.failed,
            self._clock,
            self._handshake,
            lost=attempt.lost,
        )
        await self._dialler.dial(peer.via, tls)
        attempt.begun = self._clock.seconds()
        try:
            await made
        except CancelledError:  # who wanted it has gone
            cast("ITCPTransport", tls.transport).abortConnection()
            raise
        tls.settled()
        return attempt.spoken

    def stop(self, live: Live) -> None:
        """Keep no legs from now on; the proxy's end waits for those that there are."""
        self._pool.stop(live)


@lru_cache(1024)
def _proved(name: Name) -> Mtls:
    """Return what is known of a peer at the other end of a leg: one value for all connections to it."""
    return Mtls(name, mesh_tls.MESHTX)


class _Attempt:
    """What TLS tells, put into a Deferred."""

    def __init__(
        self,
        clock: IReactorTime,
        metrics: Metrics,
        peer: Peer,
        above: Callable[[Session], IProtocol | None],
        made: Deferred[Any],
    ) -> None:
        self.begun = 0.0
        self.spoken = ""
        self._clock = clock
        self._metrics = metrics
        self._peer = peer
        self._above: Callable[[Session], IProtocol | None] | None = above
        self._made = made

    def established(self, session: Session) -> IProtocol:
        """Return what speaks with the peer's proxy."""
        self._metrics.handshake(Direction.OUT, self._clock.seconds() - self.begun)
        self.spoken = session.alpn
        above, self._above = self._above, None  # a leg outlives the connection that this leads to
        assert above is not None
        protocol = above(session)
        if protocol is None:
            detail = f"{self._peer.via} takes neither of {', '.join(mesh_tls.PROTOCOLS)}"
            self._made.errback(Refused(TlsFailure.NO_ALPN, detail))
            return Hangup()
        return protocol

    def failed(self, error: TlsError) -> None:
        """Take why there is no TLS."""
        self._made.errback(error)

    def lost(self, reason: Failure) -> None:
        """Take the loss of TCP: it is why there is nothing, if nothing said so before."""
        if not self._made.called:
            self._made.errback(reason)


class Hangup(Protocol):
    """What an established connection gets that is of no use: a reset."""

    transport: ITCPTransport

    def connectionMade(self) -> None:
        """Reset it."""
        self.transport.abortConnection()
