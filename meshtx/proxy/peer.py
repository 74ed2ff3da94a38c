"""Reaching a meshed workload: dial its proxy, prove each other, and say which port is meant.

What the peer's proxy speaks decides the form: a leg (`meshtx/1`), or Linkerd's transport header. Whatever
fails on the way is a refusal with its reason; there is no other way to the workload.
"""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IProtocol, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from meshtx.directory.target import Meshed
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.legs import LegClient
from meshtx.net.tls import Session
from meshtx.observe.flow import Direction, Mtls, Refusal
from meshtx.proxy import mesh_tls
from meshtx.proxy.ends import End
from meshtx.proxy.mesh_tls import Carrier
from meshtx.proxy.parts import Parts
from meshtx.proxy.work import Refused
from meshtx.wire.leg_frames import Open
from meshtx.wire.transport_header import TransportHeader, encode_header


async def reach(parts: Parts, meshed: Meshed, request: Open, far: End) -> Mtls:
    """Connect an end to a workload through its proxy, and return who that has proved to be.

    :param request: what is asked of the proxy.
    :raises Refused: there are no credentials to show, or the peer speaks nothing that we do.
    :raises DialFailed: its proxy does not answer.
    :raises TlsError: the handshake failed: wrong name, wrong issuer, and so on.
    """
    contexts = parts.tls.contexts
    if contexts is None:
        raise Refused(Refusal.NO_CREDENTIALS, parts.tls.missing)
    attempt = _Attempt(parts, meshed, request, far)
    connection = contexts.client(meshed.name, mesh_tls.PROTOCOLS)
    tls = Carrier(
        connection,
        attempt.established,
        attempt.failed,
        parts.clock,
        parts.patience.handshake,
        lost=attempt.lost,
    )
    await parts.dialler.dial(meshed.via, tls)
    attempt.begun = parts.clock.seconds()
    try:
        await far.made
    except CancelledError:  # the client has gone
        cast("ITCPTransport", tls.transport).abortConnection()
        raise
    return Mtls(meshed.name, attempt.spoken)


class _Attempt:
    """What TLS tells, put into the far end's Deferred."""

    def __init__(self, parts: Parts, meshed: Meshed, request: Open, far: End) -> None:
        self.begun = 0.0
        self.spoken = ""
        self._parts = parts
        self._meshed = meshed
        self._request = request
        self._far = far

    def established(self, session: Session) -> IProtocol:
        """Return what speaks with the peer's proxy."""
        self._parts.flows.metrics.handshake(Direction.OUT, self._parts.clock.seconds() - self.begun)
        self.spoken = session.alpn
        match session.alpn:
            case mesh_tls.MESHTX:
                return LegClient(self._request, self._far, clock=self._parts.clock)
            case mesh_tls.LINKERD:
                self._far.greeting = encode_header(TransportHeader(self._request.port))
                return self._far
            case _:
                detail = f"{self._meshed.via} takes neither of {', '.join(mesh_tls.PROTOCOLS)}"
                self._far.made.errback(Refused(TlsFailure.NO_ALPN, detail))
                return Hangup()

    def failed(self, error: TlsError) -> None:
        """Take why there is no TLS."""
        self._far.made.errback(error)

    def lost(self, reason: Failure) -> None:
        """Take the loss of TCP: it is why there is no far end, if nothing said so before."""
        if not self._far.made.called:
            self._far.made.errback(reason)


class Hangup(Protocol):
    """What an established connection gets that is of no use: a reset."""

    transport: ITCPTransport

    def connectionMade(self) -> None:
        """Reset it."""
        self.transport.abortConnection()
