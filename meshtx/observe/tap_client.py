"""The other end of a tap: one connection to one proxy, over mutual TLS."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from meshtx.net.contexts import Contexts
from meshtx.net.dial import Dialler
from meshtx.pki.name import Name
from meshtx.rpc.connect import reach
from meshtx.rpc.messages.tap_pb2 import ObserveRequest, TapEvent
from meshtx.rpc.methods import TAP_OBSERVE
from meshtx.rpc.tls_listener import ALPN
from meshtx.wire.address import Address


class TapClient:
    """Opens taps.

    :param contexts: of credentials that the proxies let tap.
    """

    def __init__(self, clock: IReactorTime, dialler: Dialler, contexts: Contexts) -> None:
        self._clock = clock
        self._dialler = dialler
        self._contexts = contexts

    async def observe(
        self,
        address: Address,
        name: Name,
        request: ObserveRequest,
        on_event: Callable[[TapEvent], Deferred[None] | None],
    ) -> None:
        """Watch one proxy until it ends the tap; cancel to end it from here.

        :param name: whom the proxy must prove to be.
        :param on_event: called with each event; what it raises ends the tap and is raised here. The first event
            is empty: the tap is open. Nothing more is read while a Deferred that it returned has not fired: the
            proxy counts what it loses.
        :raises meshtx.net.dial.DialFailed: nobody answers there.
        :raises meshtx.net.failures.TlsError: it is not who it should be.
        :raises meshtx.rpc.status.RpcError: it refuses, or the connection was lost.
        """
        connection = await reach(address, name, self._contexts, self._dialler, self._clock, alpn=ALPN)
        try:
            await connection.client.stream(TAP_OBSERVE, request, on_event)
        finally:
            connection.client.close()
