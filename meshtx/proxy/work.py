"""One connection's way from accept to its end, and the one place where what goes wrong on it is judged.

start(steps) ─▶ find out, permit, connect ─▶ relay ─▶ ended
     └─ the client goes: cancelled   └─ anything raised: refused, by its reason
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshtx.net.dial import DialFailed
from meshtx.net.failures import TlsError, TlsFailure, without_frames
from meshtx.net.legs import LegMalformed, LegRefused
from meshtx.net.origdst import AlreadyGone, NoOriginalDestination
from meshtx.net.relay import RelayResult, join
from meshtx.observe.flow import Refusal
from meshtx.observe.flows import FlowHandle
from meshtx.observe.metrics import RESET
from meshtx.proxy.crowd import Crowd, Place, source_of
from meshtx.proxy.ends import End, Live


class Refused(Exception):
    """The proxy closes this connection on purpose.

    :param reason: a member of `Refusal` or `TlsFailure`.
    :param detail: for a person.
    """

    def __init__(self, reason: StrEnum, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


def refusal(error: BaseException) -> Refused | None:
    """Return what an error on a connection means as a refusal; ``None`` if it is none: the connection just broke."""
    match error:
        case Refused():
            return error
        case NoOriginalDestination():
            return Refused(Refusal.NO_ORIGINAL_DESTINATION, str(error))
        case DialFailed():
            return Refused(Refusal.CONNECT_FAILED, str(error))
        case TlsError():
            return Refused(error.reason, error.detail)
        case LegRefused(reason=reason):
            return Refused(Refusal.REFUSED_BY_PEER, reason)
        case LegMalformed(reason=reason):
            return Refused(Refusal.PROTOCOL_ERROR, reason)
        case _:
            return None


class Work:
    """Serves one connection.

    :param close: ends the client's side by a reset, or by the peer protocol's way to say no; it gets the reason.
    """

    log = Logger()

    __slots__ = ("_at_end", "_close", "_joined", "_live", "_over", "_steps", "_until_decided", "flow")

    def __init__(self, live: Live, flow: FlowHandle, close: Callable[[str], None]) -> None:
        self.flow = flow
        self._close = close
        self._steps: Deferred[None] | None = None
        self._joined = False
        self._over = False
        self._until_decided: tuple[Callable[[], None], ...] = ()
        self._at_end: Callable[[], None] = _nothing
        self._live = live
        live.hold(self)

    def undecided(self, crowd: Crowd) -> None:
        """Take a place among those that have not said what they want."""
        self.takes(crowd, "too many have not said what they want")

    def takes(self, crowd: Crowd, detail: str, weight: int = 1) -> Place:
        """Take a place of those that are bounded, until it is decided, or over.

        :param detail: why it has to go if others need the place more.
        """
        source = source_of(self.flow.src.ip)
        place = crowd.enter(source, lambda: self.refuse(Refusal.LIMIT, detail), weight)
        self.until_decided(place.leave)
        return place

    def until_decided(self, let_go: Callable[[], None]) -> None:
        """Have something let go of as soon as it is decided, or over."""
        if self._over:
            let_go()
        else:
            self._until_decided += (let_go,)

    def at_end(self, release: Callable[[], None]) -> None:
        """Have something let go of when it ends, however that is."""
        self._at_end = release

    def attempt(self, step: Callable[[], None]) -> None:
        """Do something that comes before the steps; what it raises is judged as theirs is."""
        try:
            step()
        except Exception:  # noqa: BLE001  the border to the reactor, which would leave the connection open
            self._failed(Failure())

    def start(self, steps: Coroutine[Any, Any, None]) -> None:
        """Run the steps, whose last one is `relay`."""
        self.follow(ensureDeferred(steps))

    def follow(self, steps: Deferred[Any]) -> None:
        """Have these steps run, which have begun, to their last one, which is `relay`."""
        self.decided()
        if steps.called and steps.result is None:
            return  # they are done, as those that wait for nothing are by now
        steps.addErrback(self._failed)
        if not self._joined and not self._over:
            self._steps = steps

    def decided(self) -> None:
        """Give up what it held for not being decided; what comes next may take something else."""
        held, self._until_decided = self._until_decided, ()
        for let_go in held:
            let_go()

    def client_gone(self) -> None:
        """The client has gone: if it was not joined with anything yet, stop the steps."""
        if self._over or self._joined:
            return
        self.flow.ended(0, 0)
        self._finish()
        self._stop()

    def abort(self) -> None:
        """End it now: the proxy stops."""
        if self._joined:
            self._close(Refusal.STOPPING.value)
        else:
            self.refuse(Refusal.STOPPING, "the proxy stops")
            self._stop()

    def drop(self) -> None:
        """Forget it without a word: its connections are served one by one."""
        self.flow.forget()
        self._finish()

    def closes_by(self, close: Callable[[str], None]) -> None:
        """End the client's side in another way from now on."""
        self._close = close

    def failed(self, error: BaseException) -> None:
        """End it for what went wrong before there were any steps."""
        self._failed(Failure(error))

    def silent(self) -> None:
        """End it as a probe, which has said nothing in time or is gone: that is counted, and nobody's news."""
        self.flow.ended(0, 0)
        self._close(Refusal.LIMIT.value)
        self._finish()

    def refuse(self, reason: StrEnum, detail: str) -> None:
        """End it on purpose."""
        self.flow.refuse(reason, detail)
        self._close(reason.value)
        self._finish()

    def relay(self, near: End, far: End, prefix: bytes = b"") -> None:
        """Join the two ends, observed.

        :param prefix: what was read from the near end already.
        """
        self._joined = True
        self._steps = None  # nothing of them is left but their last one
        near.gone = None
        self.flow.relayed(near, far)
        join(near, far, self._ended, prefix)

    def _ended(self, result: RelayResult) -> None:
        error = result.error
        refused = refusal(error) if error is not None else None
        if refused is None:
            self.flow.ended(result.sent, result.received, None if error is None else RESET, str(error or ""))
        elif refused.reason is TlsFailure.TRUNCATED:  # nobody's purpose: the peer died, or was cut off
            self.flow.ended(result.sent, result.received, refused.reason, refused.detail)
        else:
            self.flow.refuse(refused.reason, refused.detail)
        self._finish()

    def _failed(self, failure: Failure) -> None:
        error = cast("Exception", failure.value)
        refused = refusal(error)
        if refused is not None:
            self.refuse(refused.reason, refused.detail)
        elif isinstance(error, AlreadyGone):
            self.silent()
        elif not (self._over and isinstance(error, CancelledError)):
            self.log.failure("a connection could not be served; refused", failure)
            self.refuse(Refusal.INTERNAL, type(error).__name__)
        without_frames(error)

    def _stop(self) -> None:
        if self._steps is not None:
            self._steps.cancel()

    def _finish(self) -> None:
        """Let go of everything, so that no cycle keeps a finished connection in memory."""
        self._over = True
        self._close = _closed
        release, self._at_end = self._at_end, _nothing
        release()
        self.decided()
        self._live.release(self)


def _nothing() -> None:
    """Take the place of what is let go of at the end, once that has had its turn."""


def _closed(reason: str) -> None:
    """Take the place of what ends the client's side, once that has had its turn."""
