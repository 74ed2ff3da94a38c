"""The answer to a request that is not gRPC: a status and a line of text, as any HTTP client understands it.

The stream stays open until the client has ended its request too, within a bound: what is wrong with the rest of it is
then answered as RFC 9113 has it, however soon the answer came.
"""

from __future__ import annotations

from collections.abc import Callable

from h2.errors import ErrorCodes
from twisted.internet.interfaces import IDelayedCall

from meshtx.net.deadline import call_off
from meshtx.rpc.call import Stream
from meshtx.rpc.headers import NotGrpc


class PlainAnswer:
    """One stream, from its first header to its end both ways. What else the client sends is dropped.

    :param drain: seconds for the client to take the answer and end its request; then the stream is reset.
    :param over: called once, when nothing is left to do for the stream.
    """

    def __init__(self, stream: Stream, stream_id: int, answer: NotGrpc, drain: float, over: Callable[[], None]) -> None:
        self._stream = stream
        self._id = stream_id
        self._answer = answer
        self._sent = False
        self._over: Callable[[], None] | None = over
        self._timer: IDelayedCall | None = stream.clock.callLater(drain, self._give_up)

    def start(self) -> None:
        """Send the answer, as far as flow control lets it go."""
        self._stream.send_headers(self._id, self._answer.headers, end=not self._answer.body)
        if self._answer.body:
            self._stream.send_data(self._id, self._answer.body)
            self._stream.send_end(self._id, None)
        else:
            self.sent()

    def receive_data(self, data: bytes) -> None:
        """Drop bytes of the request."""

    def request_ended(self) -> None:
        """The request ended: so does the stream, if the answer is sent."""
        self._end_if_over()

    def drained(self) -> None:
        """Some of the answer was sent: nothing waits for that."""

    def sent(self) -> None:
        """The answer is sent to its end."""
        self._sent = True
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self._stream.is_over(self._id):
            self.gone()

    def gone(self) -> None:
        """The stream or its connection is over."""
        timer, self._timer = self._timer, None  # one that has come leads back here
        call_off(timer)
        over, self._over = self._over, None
        if over is not None:
            over()

    def _give_up(self) -> None:
        # A client that has the answer is asked to send no more of its request (RFC 9113, section 8.1).
        self._stream.reset_stream(self._id, ErrorCodes.NO_ERROR if self._sent else ErrorCodes.CANCEL)
        self.gone()
