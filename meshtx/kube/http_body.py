"""The body of an HTTP answer: bounded, watched for silence, and cut into lines where it is a stream of them."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from meshtx.errors import MeshtxError, PeerError


class BodyError(PeerError):
    """The answer is too long, or has stopped coming."""


class TooLong(BodyError):
    """The answer, or one line of it, is too long."""


class Body(Protocol):
    """Hands an answer's bytes on as they come.

    :param receive: called with bytes; what it raises ends the answer and is the failure of `done`.
    :param abort: ends the connection at once.
    :param silence: seconds without a byte that end it, ``None`` waits for ever.
    """

    log = Logger()

    def __init__(
        self,
        receive: Callable[[bytes], None],
        clock: IReactorTime,
        abort: Callable[[], None],
        *,
        silence: float | None = None,
    ) -> None:
        self.done: Deferred[None] = Deferred(lambda _: self._cut())
        """Fires when the answer is whole. Cancelling it ends the connection."""
        self._receive = receive
        self._silence = silence
        self._abort = abort
        self._over = False
        self._timer: IDelayedCall | None = None
        if silence is not None:
            self._timer = clock.callLater(silence, self._silent)

    def dataReceived(self, data: bytes) -> None:
        """Hand on, and wait anew."""
        if self._over:
            return
        if self._timer and self._silence is not None:
            self._timer.reset(self._silence)
        try:
            self._receive(data)
        except MeshtxError:
            self._fail(Failure())
        except Exception:  # noqa: BLE001  whoever waits for `done` gets it, and takes it for the server's
            self.log.failure("what an answer brought was not taken")
            self._fail(Failure())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Say how it ended."""
        if self._over:
            return
        self._stop()
        if reason.check(ResponseDone):
            self.done.callback(None)
        else:
            self.done.errback(reason)

    def _silent(self) -> None:
        self._timer = None
        self._fail(Failure(BodyError(f"no byte for {self._silence:.0f} s")))

    def _fail(self, failure: Failure) -> None:
        self._cut()
        self.done.errback(failure)

    def _cut(self) -> None:
        """End the connection; nothing that comes after it is told."""
        self._stop()
        self._abort()

    def _stop(self) -> None:
        self._over = True
        if self._timer:
            self._timer.cancel()
            self._timer = None


class Whole:
    """Keeps a body up to a bound.

    :param limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._length = 0

    def receive(self, data: bytes) -> None:
        """Keep more of it.

        :raises TooLong: it is longer than the bound.
        """
        self._length += len(data)
        if self._length > self._limit:
            raise TooLong(f"the answer is longer than {self._limit} bytes")
        self._parts.append(data)

    def take(self) -> bytes:
        """Return all that came."""
        return b"".join(self._parts)


class Lines:
    """Cuts bytes into lines, however they are split.

    :param handle: called with each line, without its end, in order; not with empty ones.
    :param limit: bytes of one line.
    """

    def __init__(self, handle: Callable[[bytes], None], limit: int) -> None:
        self._handle = handle
        self._limit = limit
        self._parts: list[bytes] = []
        self._length = 0

    def receive(self, data: bytes) -> None:
        """Hand on the lines that these bytes complete.

        :raises TooLong: a line is longer than the bound.
        """
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._keep(end)
            line = b"".join(self._parts)
            self._parts, self._length = [], 0
            if line:
                self._handle(line)
        self._keep(rest)

    def finish(self) -> None:
        """Judge the end.

        :raises BodyError: it came within a line.
        """
        if self._length:
            raise BodyError("the answer ended within a line")

    def _keep(self, part: bytes) -> None:
        self._length += len(part)
        if self._length > self._limit:
            raise TooLong(f"a line is longer than {self._limit} bytes")
        if part:
            self._parts.append(part)
