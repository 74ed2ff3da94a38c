"""The endpoints of a service, for one connection: the one that it goes to, and the next if that one does not take it.

    dial refused, unreachable, no answer ─┐
    REFUSE: the workload is not there     ├─▶ the next one, as long as no byte has reached an application
    anything else                         ──▶ the end: a name that does not fit, a policy that says no

From the time on that the client's bytes may be on their way, all endpoints must prove the same name: they were sent,
and the connection was shown, as to that one.
"""

from __future__ import annotations

from meshtx.directory.target import Choice, Meshed, Target
from meshtx.net.dial import DialFailed, DialFailure
from meshtx.net.failures import without_frames
from meshtx.net.leg_pool import Peer
from meshtx.net.legs import LegRefused
from meshtx.observe.flow import Refusal
from meshtx.observe.flows import FlowHandle
from meshtx.pki.name import Name
from meshtx.proxy.source import Source
from meshtx.wire.leg_frames import Open

_NOT_THERE = {DialFailure.REFUSED, DialFailure.TIMED_OUT, DialFailure.UNREACHABLE}
_NOT_TAKEN = {Refusal.CONNECT_FAILED.value, Refusal.STOPPING.value}


class Places:
    """See above. Also what a leg asks for another peer (`meshtx.net.leg_pool.OtherPeers`).

    :param choice: that of the target, which is the first one.
    :param flow: is told where the connection goes.
    """

    def __init__(self, target: Target, choice: Choice, source: Source, flow: FlowHandle) -> None:
        self.target = target
        self._choice = choice
        self._source = source
        self._flow = flow
        choice.begun()
        flow.addressed(dst=target.address)

    def moves(self, error: BaseException) -> bool:
        """Turn to the next endpoint after this failure; say whether there is one, and it may be tried."""
        return self._move(error, self._meshed.name)

    def moves_anywhere(self, error: BaseException) -> bool:
        """Do so while nothing of the client's has been read: to whomever."""
        return self._move(error, None)

    def _move(self, error: BaseException, only: Name | None) -> bool:
        other = self._choice.again(only) if _is_elsewhere_better(error) else None
        if other is None:
            return False
        without_frames(error)  # it ends here
        self.target = other
        self._flow.addressed(dst=other.address)
        return True

    # For the legs.

    @property
    def peer(self) -> Peer:
        """The present endpoint's proxy."""
        return Peer(self._meshed.via, self._meshed.name)

    @property
    def request(self) -> Open:
        """What it is asked for."""
        return asks(self.target, self._source)

    @property
    def _meshed(self) -> Meshed:
        security = self.target.security
        assert isinstance(security, Meshed)  # legs lead to such only, and then `moves` chooses no others
        return security


def asks(target: Target, source: Source) -> Open:
    """Return what a target's proxy is asked for."""
    return Open(target.address.port, target.authority, source.client, source.known.value)


def _is_elsewhere_better(error: BaseException) -> bool:
    match error:
        case DialFailed(reason=reason):
            return reason in _NOT_THERE
        case LegRefused(reason=word):
            return word in _NOT_TAKEN
        case _:
            return False
