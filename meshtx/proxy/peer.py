"""Reaching a meshed workload: dial its proxy, prove each other, and say which port is meant.

What the peer's proxy speaks decides the form: a leg (`meshtx/1`), or Linkerd's transport header. Whatever
fails on the way is a refusal with its reason; there is no other way to the workload.
"""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IProtocol, ITCPTransport
from twisted.internet.protocol import Protocol

from meshtx.directory.target import Meshed
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.legs import LegClient
from meshtx.net.tls import Session, TlsProtocol
from meshtx.observe.flow import Mtls, Refusal
from meshtx.proxy import mesh_tls
from meshtx.proxy.ends import End
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
    spoken = ""

    def established(session: Session) -> IProtocol:
        nonlocal spoken
        spoken = session.alpn
        match spoken:
            case mesh_tls.MESHTX:
                return LegClient(request, far, clock=parts.clock)
            case mesh_tls.LINKERD:
                far.greeting = encode_header(TransportHeader(request.port))
                return far
            case _:
                far.made.errback(Refused(TlsFailure.NO_ALPN, f"{meshed.via} takes neither of {mesh_tls.PROTOCOLS}"))
                return Hangup()

    def failed(error: TlsError) -> None:
        far.made.errback(error)

    tls = TlsProtocol(
        contexts.client(meshed.name, mesh_tls.PROTOCOLS), established, failed, parts.clock, parts.patience.handshake
    )
    await parts.dialler.dial(meshed.via, tls)
    try:
        await far.made
    except CancelledError:  # the client has gone
        cast("ITCPTransport", tls.transport).abortConnection()
        raise
    return Mtls(meshed.name, spoken)


class Hangup(Protocol):
    """What an established connection gets that is of no use: a reset."""

    transport: ITCPTransport

    def connectionMade(self) -> None:
        """Reset it."""
        self.transport.abortConnection()
