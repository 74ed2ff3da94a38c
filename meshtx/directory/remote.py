"""The directory that a service serves over mutual TLS (docs/directory.md); `twistd meshdirectory` is one.

    find ─┬─ known ───────────────▶ its answer, also while the service is away
          ├─ outside the mesh ────▶ not meshed
          ├─ unknown ─────────────▶ Find, one for all who wait for that address
          ├─ the service is away ─▶ NotReady
          └─ before the first table ─▶ waits, as long as the caller does

What was asked for is followed: its changes come by themselves, until nobody has wanted it for `UNUSED`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from random import Random
from typing import cast

from prometheus_client import CollectorRegistry
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshtx.directory import messages
from meshtx.directory.answers import MOST, Answers
from meshtx.directory.backends import Backends
from meshtx.directory.follower import Connect, Follower, Session
from meshtx.directory.messages import BadMessage, Facts, Found, Several
from meshtx.directory.ranges import Ranges
from meshtx.directory.target import NoEndpoints, NotReady, PortFacts, Target
from meshtx.errors import MeshtxError
from meshtx.interfaces import IDirectory
from meshtx.net.contexts import Contexts
from meshtx.observe.directory_series import DirectorySeries
from meshtx.observe.flow import NoTls, NoTlsReason
from meshtx.observe.sparing import Sparing
from meshtx.rpc.messages.directory_pb2 import Answer, FindRequest, ForgetRequest, Table
from meshtx.rpc.methods import DIRECTORY_FIND, DIRECTORY_FORGET
from meshtx.rpc.status import RpcError, Status
from meshtx.wire.address import Address

UNUSED = 600.0
"""Seconds without use after which an answer is forgotten."""

SWEEP = 60.0
"""Seconds between two looks for such answers."""

_UNKNOWN = Ranges()  # one for all: what is found out by these is kept with them

TIMEOUT = 10.0
"""Seconds for the answer to one question: longer than a connection waits, for the next one may want it too."""


class _Asked:
    """An address whose answer is waited for.

    :ivar session: on which it was asked for; ``None``: not yet.
    """

    def __init__(self) -> None:
        self.session: Session | None = None
        self.waiting: list[Deferred[Target]] = []


@implementer(IDirectory)
class RemoteDirectory(MultiService):
    """Answers from what the service says.

    :param connect: makes a connection to it; what it raises is a `MeshtxError`.
    :param contexts: returns those of the present credentials, ``None`` while there are none; `renewed` is to be
        called when there are others.
    :param clock: in seconds since the epoch.
    :param rng: when to try again, and which endpoint to take.
    :param registry: where its series are registered.
    :param most: answers that are kept.
    """

    log = Logger()

    def __init__(
        self,
        connect: Connect,
        contexts: Callable[[], Contexts | None],
        clock: IReactorTime,
        *,
        rng: Random,
        registry: CollectorRegistry,
        most: int = MOST,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._facts: Facts | None = None
        self._answers = Answers(most)
        series = DirectorySeries(registry)
        self._backends = Backends(clock.seconds, rng, series.endpoint_failed)
        self._asked: dict[Address, _Asked] = {}
        self._subscribers: dict[object, Callable[[], None]] = {}
        self._sparing = Sparing(burst=1, window=60.0)
        self._follower = Follower(connect, contexts, clock, self, rng=rng, series=series)
        self._follower.setServiceParent(self)
        self._sweeps = LoopingCall(self._sweep)
        self._sweeps.clock = clock
        self.renewed = self._follower.renewed
        series.watch(lambda: self._follower.session is not None, self._answers.__len__)

    def startService(self) -> None:
        """Follow the service."""
        super().startService()
        self._sweeps.start(SWEEP, now=False)

    def stopService(self) -> Deferred[None]:
        """Follow it no more; who still waits is refused."""
        self._sweeps.stop()
        stopped: Deferred[None] = super().stopService()
        for address in list(self._asked):
            self._fail(address, NotReady("the proxy stops"))
        return stopped

    # For the proxy: see `IDirectory`.

    @property
    def ready(self) -> bool:
        """Whether the first table is there."""
        return self._facts is not None

    @property
    def problem(self) -> str | None:
        """Why the service is away, ``None`` where it is not."""
        return self._follower.away

    @property
    def ranges(self) -> Ranges:
        """What the service says of nodes, pods and balancers."""
        return self._facts.ranges if self._facts is not None else _UNKNOWN

    def find(self, destination: Address) -> Deferred[Target]:
        """Return a Deferred of the target behind an address.

        :raises NotReady: in the Deferred: it was never known, and the service does not say.
        :raises NoEndpoints: in the Deferred: it is a service's, which has none.
        """
        found = self._answers.use(destination, self._clock.seconds())
        if found is None:
            return self._unknown(destination)
        try:
            return succeed(self._target(found))
        except NoEndpoints as error:
            return fail(error)

    def own_port(self, address: Address) -> PortFacts:
        """Return what the service says of a port of this workload."""
        return self._facts.own_port(address.port) if self._facts is not None else PortFacts()

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call back after every change; return the function that ends that."""
        token = object()
        self._subscribers[token] = changed

        def unsubscribe() -> None:
            self._subscribers.pop(token, None)

        return unsubscribe

    # Questions.

    def _target(self, found: Found) -> Target:
        return self._backends.pick(found.ready) if isinstance(found, Several) else found

    def _unknown(self, destination: Address) -> Deferred[Target]:
        if self._facts is not None:
            if not self._facts.holds(destination.ip):
                return succeed(_plain(destination))
            if self._follower.away is not None:
                return fail(self._out_of_reach(destination, self._follower.away))
        asked, new = self._asked.get(destination), _Asked()
        if asked is None:
            asked = self._asked[destination] = new
        deferred: Deferred[Target] = Deferred(partial(self._given_up, destination, asked))
        asked.waiting.append(deferred)
        if asked is new:
            self._ask(destination, asked)
        return deferred

    def _given_up(self, address: Address, asked: _Asked, deferred: Deferred[Target]) -> None:
        asked.waiting.remove(deferred)
        if not asked.waiting and asked.session is None and self._asked.get(address) is asked:
            del self._asked[address]

    def _ask(self, address: Address, asked: _Asked) -> None:
        """Ask, if there is somebody to ask; else the next session does."""
        session = asked.session = self._follower.session
        if session is not None:
            request = FindRequest(session=session.name, address=messages.endpoint(address))
            answer = session.client.call(DIRECTORY_FIND, request, TIMEOUT)
            answer.addCallbacks(self._answered, self._not_answered, (address, session), {}, (address, session), {})
            answer.addErrback(lambda failure: self.log.failure("an answer could not be taken", failure))

    def _answered(self, answer: Answer, address: Address, session: Session) -> None:
        asked = self._asked.get(address)
        if asked is None or asked.session is not session:
            return  # the stream was faster, or another session is asked now
        try:
            if messages.address(answer.address) != address:
                raise BadMessage("an answer for another address")
            self._learn(address, messages.found(answer))
        except BadMessage as error:
            self._complain(address, error)
            self._refuse(address, str(error))

    def _not_answered(self, failure: Failure, address: Address, session: Session) -> None:
        error = _rpc_error(failure)
        asked = self._asked.get(address)
        if asked is None or asked.session is not session:
            return
        if self._follower.session is not session and self._follower.away is None:
            self._ask(address, asked)  # it went with the session, and there is another, or will be
        elif self._follower.session is session and _is_of_the_session(error, session):
            asked.session = None
            self._follower.leave(session, str(error))
        else:
            self._refuse(address, str(error))

    def _learn(self, address: Address, found: Found) -> None:
        """Keep an answer, and give it to all who wait."""
        asked = self._asked.pop(address)
        if self._answers.change(address, found):
            self._tell()
        else:
            self._forget(self._answers.add(address, found, self._clock.seconds()))
        while asked.waiting:
            deferred = asked.waiting.pop(0)
            try:
                deferred.callback(self._target(found))
            except NoEndpoints as error:
                deferred.errback(error)

    def _refuse(self, address: Address, problem: str) -> None:
        """Take that there is no answer: what was known before has nobody any more who would tell of its changes."""
        self._answers.drop(address)
        self._fail(address, self._out_of_reach(address, problem))

    def _fail(self, address: Address, error: NotReady) -> None:
        asked = self._asked.pop(address, None)
        while asked is not None and asked.waiting:  # it may have been given up while others were told
            asked.waiting.pop(0).errback(error)

    @staticmethod
    def _out_of_reach(address: Address, problem: str) -> NotReady:
        return NotReady(f"{address} was never known, and the directory does not say: {problem}")

    # From the follower.

    def known(self) -> Collection[Address]:
        """See `meshtx.directory.follower.Listener`."""
        return list(self._answers)

    def followed(self, session: Session, table: Table) -> None:
        """See there. What became known since this session was begun, and what is waited for, is asked for now."""
        self._facts = messages.facts(table)
        self._tell()
        for address in [each for each in self._answers if each not in session.known]:
            self._asked.setdefault(address, _Asked())
        for address, asked in list(self._asked.items()):
            if self._asked.get(address) is not asked:
                continue  # given up while others were told
            if not self._facts.holds(address.ip):
                del self._asked[address]
                while asked.waiting:
                    asked.waiting.pop(0).callback(_plain(address))
            elif asked.session is not session:
                self._ask(address, asked)

    def table(self, table: Table) -> None:
        """See there."""
        self._facts = messages.facts(table)
        self._tell()

    def answer(self, answer: Answer) -> None:
        """See there. One that nobody has asked for, or wants any more, is passed over."""
        address = messages.address(answer.address)
        try:
            found = messages.found(answer)
        except BadMessage as error:  # what holds is not known: the next who wants it asks
            self._complain(address, error)
            if address in self._answers:
                self._answers.drop(address)
                self._forget([address])
            return
        if address in self._asked:
            self._learn(address, found)
        elif self._answers.change(address, found):
            self._tell()

    def away(self) -> None:
        """See there. Who waits for an unknown address is refused, but not before the first table."""
        for address in list(self._asked) if self._facts is not None else ():
            self._fail(address, self._out_of_reach(address, self._follower.away or ""))

    # Inside.

    def _sweep(self) -> None:
        self._forget(self._answers.unused(self._clock.seconds() - UNUSED))

    def _forget(self, addresses: Collection[Address]) -> None:
        """Have no changes of these told any more."""
        session = self._follower.session
        if not addresses or session is None:
            return  # the next session will not name them
        request = ForgetRequest(session=session.name, addresses=map(messages.endpoint, addresses))
        session.client.call(DIRECTORY_FORGET, request, TIMEOUT).addErrback(self._not_forgotten, session)

    def _not_forgotten(self, failure: Failure, session: Session) -> None:
        error = _rpc_error(failure)
        if _is_of_the_session(error, session):
            self._follower.leave(session, str(error))
        else:
            self.log.debug("the directory goes on telling of forgotten addresses: {reason}", reason=str(error))

    def _complain(self, address: Address, error: MeshtxError) -> None:
        left_out = self._sparing.left_out("answer", self._clock.seconds())
        if left_out is not None:
            self.log.warn(
                "the directory's answer for {address} makes no sense: {reason}"
                + (", and {left_out} more before it" if left_out else ""),
                address=address,
                reason=str(error),
                left_out=left_out,
            )

    def _tell(self) -> None:
        for changed in tuple(self._subscribers.values()):
            changed()


def _rpc_error(failure: Failure) -> RpcError:
    failure.trap(RpcError)
    return cast("RpcError", failure.value)


def _is_of_the_session(error: RpcError, session: Session) -> bool:
    """Say whether a question would be answered in another session."""
    going_away = error.status is Status.UNAVAILABLE and session.client.over
    return going_away or error.status is Status.FAILED_PRECONDITION


def _plain(address: Address) -> Target:
    return Target(address, "", NoTls(NoTlsReason.NOT_DISCOVERED))
