"""Tap as a gRPC service: a proxy shows what it sees to whom it was told to.

The listener has mutual TLS; here the caller's name is looked up in the list that the proxy was given,
and an empty list lets nobody in. Without a name: UNAUTHENTICATED, as with Linkerd; with one that is
not listed: PERMISSION_DENIED, so that its owner learns that it is not TLS that fails.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from twisted.logger import Logger

from meshtx.observe.sparing import Sparing
from meshtx.observe.tap import Lost, Subscription, TapClosed, TapEvent, TapFull, TapHub
from meshtx.observe.tap_match import BadMatch
from meshtx.observe.tap_messages import Encoder, match_of
from meshtx.pki.name import Name
from meshtx.rpc.call import Call, Handler
from meshtx.rpc.messages import tap_pb2
from meshtx.rpc.method import AnyMethod
from meshtx.rpc.methods import TAP_OBSERVE
from meshtx.rpc.status import RpcError, Status


class TapService:
    """Answers ``Observe``.

    :param allowed: who may tap; empty, and nobody may.
    """

    log = Logger()

    def __init__(self, hub: TapHub, allowed: Collection[Name]) -> None:
        self._hub = hub
        self._allowed = frozenset(allowed)
        self._sparing = Sparing()

    def handlers(self) -> dict[AnyMethod, Handler]:
        """Return what a `meshtx.rpc.server.RpcServer` is to serve."""
        return {TAP_OBSERVE: self.observe}

    async def observe(self, request: tap_pb2.ObserveRequest, call: Call) -> None:
        """Send events until the caller goes or the hub is closed."""
        try:
            peer = self._permitted(call.peer)
            subscription = self._subscribe(request)
        except RpcError as error:
            self._hub.metrics.tap_refused(error.status)
            if self._sparing.left_out(error.status, self._hub.clock.seconds()) is not None:
                self.log.info("tap by {peer} refused: {reason}", peer=str(call.peer), reason=str(error))
            raise
        self.log.info("tap opened by {peer}", peer=str(peer))
        try:
            call.send(tap_pb2.TapEvent())
            await self._send(subscription, call)
        finally:
            subscription.close()
            self.log.info("tap by {peer} closed", peer=str(peer))

    def _permitted(self, peer: Name | None) -> Name:
        if peer is None:
            raise RpcError(Status.UNAUTHENTICATED, "tap takes mutual TLS only")
        if peer not in self._allowed:
            raise RpcError(Status.PERMISSION_DENIED, f"{peer} may not tap; name it in this proxy's tap_identity")
        return peer

    def _subscribe(self, request: tap_pb2.ObserveRequest) -> Subscription:
        try:
            return self._hub.subscribe(match_of(request.match), headers=request.headers)
        except BadMatch as error:
            raise RpcError(Status.INVALID_ARGUMENT, str(error)) from error
        except TapFull as error:
            raise RpcError(Status.RESOURCE_EXHAUSTED, str(error)) from error

    async def _send(self, subscription: Subscription, call: Call) -> None:
        encoder, headers = Encoder(), subscription.headers
        while True:
            try:
                first = await subscription.next()
            except TapClosed as error:
                raise RpcError(Status.UNAVAILABLE, "the proxy stops") from error
            await call.ready()
            call.send_encoded(self._encoded(encoder, (first, *subscription.rest()), headers=headers))

    def _encoded(self, encoder: Encoder, events: Iterable[TapEvent | Lost], *, headers: bool) -> list[bytes]:
        """Return their messages, without those of what no message can hold."""
        encoded = []
        for event in events:
            try:
                encoded.append(encoder.encode(event, headers=headers))
            except Exception:  # noqa: BLE001  what a plugin's observer reported does not fit, e.g. a negative length
                if self._sparing.left_out(Encoder, self._hub.clock.seconds()) is not None:
                    self.log.failure("an event cannot be sent to a tap: {kind}", kind=type(event).__name__)
        return encoded
