"""Which frame may come when on a leg: the table is the specification (docs/legs.md).

One application connection after another::

                 OPEN              ACCEPT            FIN one way         FIN the other way
    IDLE ───────▶ OPENING ─────────▶ OPEN ──────────▶ WE_FINISHED ──────────▶ IDLE
                                                      PEER_FINISHED
    OPENING ──REFUSE──▶ REFUSED       RESET, from anywhere: ends the leg
                                      END: the sender closes its direction of TLS (close_notify)

RETIRE, from the server at any time, asks for no further OPEN; the states named LAST_* are those of the
connection that goes on after it. It may cross an OPEN on its way, which the server then still takes:
RETIRING is the server's idleness while that can be. The client, once it knows, is RETIRED and ends the leg.

What the table does not hold is refused: the leg is DEAD, and the connection is cut. Frames that were
already on their way when their receiver sent a RESET, a REFUSE or its END are in the table; they have no effect.
"""

from __future__ import annotations

from enum import Enum, auto


class Role(Enum):
    """Which end of the leg: the one that dialled is the client."""

    __hash__ = object.__hash__  # that of Enum is Python code, and the table is looked into for every frame

    CLIENT = auto()
    SERVER = auto()


class State(Enum):
    """Where a leg is, as seen from one end."""

    __hash__ = object.__hash__  # as above

    IDLE = auto()
    OPENING = auto()
    """OPEN went over, no answer yet."""
    OPENING_FINISHED = auto()
    """As OPENING, and the client has sent FIN."""
    OPEN = auto()
    WE_FINISHED = auto()
    """This end has sent FIN."""
    PEER_FINISHED = auto()
    """The other end has sent FIN."""
    LAST_OPENING = auto()
    LAST_OPENING_FINISHED = auto()
    LAST_OPEN = auto()
    LAST_WE_FINISHED = auto()
    LAST_PEER_FINISHED = auto()
    RETIRING_WE_FINISHED = auto()
    """Server: RETIRE went after our FIN, so the client may have begun anew before it knew."""
    RETIRING = auto()
    """Server: idle, and one OPEN may be on its way still."""
    RETIRED = auto()
    """Idle, and no OPEN comes any more."""
    REFUSED = auto()
    """REFUSE ended the leg."""
    WE_RESET = auto()
    """Our RESET ended the leg."""
    PEER_RESET = auto()
    """The peer's RESET ended the leg."""
    CLOSING = auto()
    """Client: it has closed the idle leg. The server never does: an OPEN may be on its way."""
    CLOSED = auto()
    """The other end has closed, in order."""
    DEAD = auto()
    """Somebody did what is not in the table."""


class Input(Enum):
    """What happens to a leg: a frame sent or received, or a direction's end (close_notify)."""

    __hash__ = object.__hash__  # as above

    SEND_OPEN = auto()
    SEND_ACCEPT = auto()
    SEND_REFUSE = auto()
    SEND_DATA = auto()
    SEND_FIN = auto()
    SEND_RESET = auto()
    SEND_RETIRE = auto()
    SEND_END = auto()
    RECV_OPEN = auto()
    RECV_ACCEPT = auto()
    RECV_REFUSE = auto()
    RECV_DATA = auto()
    RECV_FIN = auto()
    RECV_RESET = auto()
    RECV_RETIRE = auto()
    RECV_END = auto()


_Rows = dict[tuple[State, Input], State]


class Table(dict[tuple[State, Input], State]):
    """The state after an input; a pair that is not in it kills the leg."""

    def __missing__(self, pair: tuple[State, Input]) -> State:
        return State.DEAD


_S = State
_I = Input

_EXCHANGE: _Rows = {
    (_S.OPEN, _I.SEND_DATA): _S.OPEN,
    (_S.OPEN, _I.RECV_DATA): _S.OPEN,
    (_S.OPEN, _I.SEND_FIN): _S.WE_FINISHED,
    (_S.OPEN, _I.RECV_FIN): _S.PEER_FINISHED,
    (_S.WE_FINISHED, _I.RECV_DATA): _S.WE_FINISHED,
    (_S.WE_FINISHED, _I.RECV_FIN): _S.IDLE,
    (_S.PEER_FINISHED, _I.SEND_DATA): _S.PEER_FINISHED,
    (_S.PEER_FINISHED, _I.SEND_FIN): _S.IDLE,
    (_S.LAST_OPEN, _I.SEND_DATA): _S.LAST_OPEN,
    (_S.LAST_OPEN, _I.RECV_DATA): _S.LAST_OPEN,
    (_S.LAST_OPEN, _I.SEND_FIN): _S.LAST_WE_FINISHED,
    (_S.LAST_OPEN, _I.RECV_FIN): _S.LAST_PEER_FINISHED,
    (_S.LAST_WE_FINISHED, _I.RECV_DATA): _S.LAST_WE_FINISHED,
    (_S.LAST_WE_FINISHED, _I.RECV_FIN): _S.RETIRED,
    (_S.LAST_PEER_FINISHED, _I.SEND_DATA): _S.LAST_PEER_FINISHED,
    (_S.LAST_PEER_FINISHED, _I.SEND_FIN): _S.RETIRED,
}
"""Both roles: an accepted connection."""

_RESETS: _Rows = {
    (state, what): to
    for state in (
        _S.OPEN,
        _S.WE_FINISHED,
        _S.PEER_FINISHED,
        _S.LAST_OPEN,
        _S.LAST_WE_FINISHED,
        _S.LAST_PEER_FINISHED,
    )
    for what, to in ((_I.SEND_RESET, _S.WE_RESET), (_I.RECV_RESET, _S.PEER_RESET))
} | {
    # The peer had not seen our FIN yet.
    (_S.IDLE, _I.RECV_RESET): _S.PEER_RESET,
    (_S.RETIRED, _I.RECV_RESET): _S.PEER_RESET,
    # Both at once.
    (_S.WE_RESET, _I.RECV_RESET): _S.PEER_RESET,
    # On their way when we sent RESET.
    (_S.WE_RESET, _I.RECV_DATA): _S.WE_RESET,
    (_S.WE_RESET, _I.RECV_FIN): _S.WE_RESET,
}
"""Both roles: RESET."""

_ENDS: _Rows = {
    (_S.REFUSED, _I.SEND_END): _S.REFUSED,
    (_S.WE_RESET, _I.SEND_END): _S.WE_RESET,
    (_S.PEER_RESET, _I.SEND_END): _S.PEER_RESET,
    (_S.CLOSED, _I.SEND_END): _S.CLOSED,
    (_S.REFUSED, _I.RECV_END): _S.CLOSED,
    (_S.WE_RESET, _I.RECV_END): _S.CLOSED,
    (_S.PEER_RESET, _I.RECV_END): _S.CLOSED,
}
"""Both roles: the end of a direction after the leg's."""

_CLIENT: _Rows = {
    (_S.IDLE, _I.SEND_OPEN): _S.OPENING,
    (_S.IDLE, _I.RECV_RETIRE): _S.RETIRED,
    (_S.IDLE, _I.SEND_END): _S.CLOSING,
    (_S.RETIRED, _I.SEND_END): _S.CLOSING,
    (_S.CLOSING, _I.RECV_END): _S.CLOSED,
    (_S.OPENING, _I.SEND_DATA): _S.OPENING,
    (_S.OPENING, _I.SEND_FIN): _S.OPENING_FINISHED,
    (_S.OPENING, _I.SEND_RESET): _S.WE_RESET,
    (_S.OPENING, _I.RECV_ACCEPT): _S.OPEN,
    (_S.OPENING, _I.RECV_REFUSE): _S.REFUSED,
    (_S.OPENING, _I.RECV_RETIRE): _S.LAST_OPENING,
    (_S.OPENING_FINISHED, _I.SEND_RESET): _S.WE_RESET,
    (_S.OPENING_FINISHED, _I.RECV_ACCEPT): _S.WE_FINISHED,
    (_S.OPENING_FINISHED, _I.RECV_REFUSE): _S.REFUSED,
    (_S.OPENING_FINISHED, _I.RECV_RETIRE): _S.LAST_OPENING_FINISHED,
    (_S.LAST_OPENING, _I.SEND_DATA): _S.LAST_OPENING,
    (_S.LAST_OPENING, _I.SEND_FIN): _S.LAST_OPENING_FINISHED,
    (_S.LAST_OPENING, _I.SEND_RESET): _S.WE_RESET,
    (_S.LAST_OPENING, _I.RECV_ACCEPT): _S.LAST_OPEN,
    (_S.LAST_OPENING, _I.RECV_REFUSE): _S.REFUSED,
    (_S.LAST_OPENING_FINISHED, _I.SEND_RESET): _S.WE_RESET,
    (_S.LAST_OPENING_FINISHED, _I.RECV_ACCEPT): _S.LAST_WE_FINISHED,
    (_S.LAST_OPENING_FINISHED, _I.RECV_REFUSE): _S.REFUSED,
    (_S.OPEN, _I.RECV_RETIRE): _S.LAST_OPEN,
    (_S.WE_FINISHED, _I.RECV_RETIRE): _S.LAST_WE_FINISHED,
    (_S.PEER_FINISHED, _I.RECV_RETIRE): _S.LAST_PEER_FINISHED,
    # The server's RESET was meant for the connection before this one.
    (_S.OPENING, _I.RECV_RESET): _S.PEER_RESET,
    (_S.OPENING_FINISHED, _I.RECV_RESET): _S.PEER_RESET,
    (_S.LAST_OPENING, _I.RECV_RESET): _S.PEER_RESET,
    (_S.LAST_OPENING_FINISHED, _I.RECV_RESET): _S.PEER_RESET,
    # On their way when we sent RESET, or closed.
    (_S.WE_RESET, _I.RECV_ACCEPT): _S.WE_RESET,
    (_S.WE_RESET, _I.RECV_REFUSE): _S.WE_RESET,
    (_S.WE_RESET, _I.RECV_RETIRE): _S.WE_RESET,
    (_S.CLOSING, _I.RECV_RETIRE): _S.CLOSING,
    (_S.CLOSING, _I.RECV_RESET): _S.CLOSING,
}

_SERVER: _Rows = {
    (_S.IDLE, _I.RECV_OPEN): _S.OPENING,
    (_S.IDLE, _I.SEND_RETIRE): _S.RETIRING,
    (_S.IDLE, _I.RECV_END): _S.CLOSED,
    (_S.RETIRED, _I.RECV_END): _S.CLOSED,
    (_S.RETIRING, _I.RECV_OPEN): _S.LAST_OPENING,
    (_S.RETIRING, _I.RECV_RESET): _S.PEER_RESET,
    (_S.RETIRING, _I.RECV_END): _S.CLOSED,
    (_S.OPENING, _I.RECV_DATA): _S.OPENING,
    (_S.OPENING, _I.RECV_FIN): _S.OPENING_FINISHED,
    (_S.OPENING, _I.RECV_RESET): _S.PEER_RESET,
    (_S.OPENING, _I.SEND_ACCEPT): _S.OPEN,
    (_S.OPENING, _I.SEND_REFUSE): _S.REFUSED,
    (_S.OPENING, _I.SEND_RETIRE): _S.LAST_OPENING,
    (_S.OPENING_FINISHED, _I.RECV_RESET): _S.PEER_RESET,
    (_S.OPENING_FINISHED, _I.SEND_ACCEPT): _S.PEER_FINISHED,
    (_S.OPENING_FINISHED, _I.SEND_REFUSE): _S.REFUSED,
    (_S.OPENING_FINISHED, _I.SEND_RETIRE): _S.LAST_OPENING_FINISHED,
    (_S.LAST_OPENING, _I.RECV_DATA): _S.LAST_OPENING,
    (_S.LAST_OPENING, _I.RECV_FIN): _S.LAST_OPENING_FINISHED,
    (_S.LAST_OPENING, _I.RECV_RESET): _S.PEER_RESET,
    (_S.LAST_OPENING, _I.SEND_ACCEPT): _S.LAST_OPEN,
    (_S.LAST_OPENING, _I.SEND_REFUSE): _S.REFUSED,
    (_S.LAST_OPENING_FINISHED, _I.RECV_RESET): _S.PEER_RESET,
    (_S.LAST_OPENING_FINISHED, _I.SEND_ACCEPT): _S.LAST_PEER_FINISHED,
    (_S.LAST_OPENING_FINISHED, _I.SEND_REFUSE): _S.REFUSED,
    (_S.OPEN, _I.SEND_RETIRE): _S.LAST_OPEN,
    (_S.PEER_FINISHED, _I.SEND_RETIRE): _S.LAST_PEER_FINISHED,
    (_S.WE_FINISHED, _I.SEND_RETIRE): _S.RETIRING_WE_FINISHED,
    (_S.RETIRING_WE_FINISHED, _I.RECV_DATA): _S.RETIRING_WE_FINISHED,
    (_S.RETIRING_WE_FINISHED, _I.RECV_FIN): _S.RETIRING,
    (_S.RETIRING_WE_FINISHED, _I.RECV_RESET): _S.PEER_RESET,
    (_S.RETIRING_WE_FINISHED, _I.SEND_RESET): _S.WE_RESET,
    # On their way when we refused, or sent RESET.
    (_S.REFUSED, _I.RECV_DATA): _S.REFUSED,
    (_S.REFUSED, _I.RECV_FIN): _S.REFUSED,
    (_S.REFUSED, _I.RECV_RESET): _S.PEER_RESET,
    (_S.WE_RESET, _I.RECV_OPEN): _S.WE_RESET,
}

TABLE: dict[Role, Table] = {
    Role.CLIENT: Table(_EXCHANGE | _RESETS | _ENDS | _CLIENT),
    Role.SERVER: Table(_EXCHANGE | _RESETS | _ENDS | _SERVER),
}
"""All that is allowed, for each role."""
