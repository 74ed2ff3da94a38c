"""Keeps a stream of the directory's service open: one session after another, each on a connection of its own.

    credentials ─▶ connect ─▶ Follow ─▶ first table: the session is there ─▶ updates
         ▲                       └────────── it fails, or ends ─────────────────┘
         └── later and later, at random, up to `LONGEST` seconds

The service is away once an attempt has failed; the end of a session that has lasted is none, and another may be there
in a moment.

With new credentials the next session comes first, then the one before it ends. What is heard goes to a `Listener`, in
order, and only ever from the present session.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from random import Random
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from meshtx.directory import messages
from meshtx.errors import MeshtxError
from meshtx.net.contexts import Contexts
from meshtx.net.deadline import call_off
from meshtx.net.failures import without_frames
from meshtx.observe.directory_series import DirectorySeries
from meshtx.observe.sparing import Sparing
from meshtx.rpc.connect import Connection
from meshtx.rpc.messages.directory_pb2 import Answer, FollowRequest, Table, Update
from meshtx.rpc.methods import DIRECTORY_FOLLOW
from meshtx.wire.address import Address

PATIENCE = 15.0
"""Seconds for a connection, and again for the first table on it."""

SHORTEST, LONGEST = 1.0, 30.0
"""Seconds: bounds of the time in which the next attempt is made, after one failure and after many."""

SETTLED = 10.0
"""Seconds after which a session's end counts as the first failure again."""

LEISURE = 10.0
"""Seconds in which a session with new credentials is begun."""

Connect = Callable[[Contexts], Deferred[Connection]]
"""Makes a connection to the service; what it raises is a `MeshtxError`."""


class Listener(Protocol):
    """Who is told."""

    def known(self) -> Collection[Address]:
        """Return the addresses whose answers a new session is to bring."""

    def followed(self, session: Session, table: Table) -> None:
        """There is a new session, the present one from now on.

        :raises meshtx.directory.messages.BadMessage: the session is no good.
        """

    def table(self, table: Table) -> None:
        """There is another table; raises as `followed`."""

    def answer(self, answer: Answer) -> None:
        """There is another answer; raises as `followed`."""

    def away(self) -> None:
        """The service is out of reach, see `Follower.away`."""


class Session:
    """One stream, and the connection for what is asked beside it.

    :param contexts: with which it was made.
    :param known: the addresses that it was begun with.
    """

    def __init__(self, connection: Connection, contexts: Contexts, known: frozenset[Address]) -> None:
        self.client = connection.client
        self.local = connection.local
        self.contexts = contexts
        self.known = known
        self.name = ""
        self.began = 0.0
        self.forgotten = False
        self.problem: str | None = None
        self.running: Deferred[None] | None = None

    def end(self, problem: str) -> None:
        """End it from here."""
        if self.problem is None and self.running is not None:
            self.problem = problem
            self.running.cancel()


class Follower(Service):
    """Follows one service.

    :param contexts: returns the present ones, ``None`` while there are no credentials.
    :param clock: in seconds since the epoch.
    """

    log = Logger()

    def __init__(
        self,
        connect: Connect,
        contexts: Callable[[], Contexts | None],
        clock: IReactorTime,
        listener: Listener,
        *,
        rng: Random,
        series: DirectorySeries,
    ) -> None:
        self.session: Session | None = None
        """The present one."""
        self.away: str | None = None
        """Why there is none; ``None`` as well as long as there may be one in a moment."""
        self._connect = connect
        self._contexts = contexts
        self._clock = clock
        self._listener = listener
        self._rng = rng
        self._series = series
        self._failures = 0
        self._timer: IDelayedCall | None = None
        self._trying = False  # there is an attempt at a session
        self._running: list[Deferred[None]] = []
        self._sparing = Sparing(burst=1, window=60.0)

    def startService(self) -> None:
        """Begin."""
        super().startService()
        self._begin()

    def stopService(self) -> None:
        """End whatever there is."""
        super().stopService()
        self._stop_timer()
        self.session, self._trying = None, False
        for running in list(self._running):
            running.cancel()

    def renewed(self) -> None:
        """There are other credentials, or none any more: move to them at leisure, at once if there is nothing yet."""
        if self.running and self.session is None and not self._trying:
            self._stop_timer()
            self._begin()
        else:
            self._move_on()

    def leave(self, session: Session, problem: str) -> None:
        """Begin another session: the service does not know this one any more, or takes no questions in it."""
        if session is self.session:
            session.forgotten = True
            session.end(problem)

    # One attempt at a time.

    def _begin(self) -> None:
        self._timer = None
        contexts = self._contexts()
        if contexts is not None:  # else `renewed` comes back here
            self._trying = True
            running = ensureDeferred(self._follow(contexts))
            if not running.called:
                self._running.append(running)
                running.addBoth(lambda _: self._running.remove(running))

    async def _follow(self, contexts: Contexts) -> None:
        """Make one session, and see it to its end; raises nothing."""
        session: Session | None = None
        try:
            connection = await self._connect(contexts).addTimeout(PATIENCE, self._clock)
            session = Session(connection, contexts, frozenset(self._listener.known()))
            await self._hear(session)
            problem = "the directory has ended the stream"
        except CancelledError:
            problem = session.problem or "" if session else ""
        except DeferredTimeout:
            problem = f"no connection within {PATIENCE:g} s"
        except MeshtxError as error:
            problem = str(without_frames(error))
        except Exception as error:  # noqa: BLE001  # whatever it was, what is known stays and it is tried again
            self.log.failure("following the directory failed")
            problem = f"internal error: {type(error).__name__}"
        if self.running:
            self._ended(session, problem)
        if session is not None:
            session.client.close()

    async def _hear(self, session: Session) -> None:
        known = [messages.endpoint(address) for address in session.known]
        request = FollowRequest(own_ips=[session.local.ip.packed], known=known)
        running = session.client.stream(DIRECTORY_FOLLOW, request, partial(self._update, session))
        session.running = running
        late = self._clock.callLater(PATIENCE, self._late, session)
        try:
            await running
        finally:
            call_off(late)

    def _late(self, session: Session) -> None:
        if not session.name:
            session.end(f"no table within {PATIENCE:g} s")

    def _update(self, session: Session, update: Update) -> None:
        """Take one message of a stream."""
        match update.WhichOneof("what"):
            case "table" if not session.name:
                self._followed(session, update.table)
            case _ if not session.name:
                raise messages.BadMessage("the stream does not begin with a table")
            case _ if session is not self.session:
                pass  # the next one has taken its place
            case "table":
                self._listener.table(update.table)
            case "answer":
                self._listener.answer(update.answer)
            case _:
                pass  # of a newer directory, which lets no sidecar depend on it (docs/upgrades.md)

    def _followed(self, session: Session, table: Table) -> None:
        before, away = self.session, self.away
        session.name, session.began = messages.session(table), self._clock.seconds()
        self.session, self.away = session, None
        try:
            self._listener.followed(session, table)
        except messages.BadMessage:
            self.session, self.away, session.name = before, away, ""
            raise
        self._trying = False
        self._series.begun()
        if away is not None:
            self.log.info("the directory answers again")
        if before is not None:
            before.end("another has taken its place")
        self._move_on()

    # Between two.

    def _ended(self, session: Session | None, problem: str) -> None:
        """A session, or the attempt at one, is over."""
        if session is None or not session.name:
            self._trying = False
        elif session is not self.session:
            return  # another had taken its place before
        else:
            self.session = None
            if self._clock.seconds() - session.began >= SETTLED:
                self._failures = 0
                self._say("ended", "the session with the directory has ended", problem)
                self._next(0.0 if session.forgotten else SHORTEST)
                return
        if self.session is not None:
            self._say("renewal", "no new session with the directory, the old one goes on", problem)
        else:
            self._say("away", "the directory is away, and what it said last holds", problem)
            self.away = problem
            self._listener.away()
        self._failures += 1
        self._series.failed()
        self._next(min(SHORTEST * 2.0 ** min(self._failures - 1, 10), LONGEST))

    def _next(self, within: float) -> None:
        """Begin the next session in so many seconds, if that is not under way."""
        if not self._trying:
            self._stop_timer()
            self._timer = self._clock.callLater(self._rng.random() * within, self._begin)

    def _say(self, kind: str, what: str, problem: str) -> None:
        left_out = self._sparing.left_out(kind, self._clock.seconds())
        if left_out is not None:
            self.log.warn(
                "{what}: {problem}" + (", and {left_out} more before it" if left_out else ""),
                what=what,
                problem=problem,
                left_out=left_out,
            )

    def _move_on(self) -> None:
        """See that the session is one with the present credentials."""
        contexts, session = self._contexts(), self.session
        if session is None or contexts is None or contexts is session.contexts or not self._idle:
            return
        left = LEISURE
        if session.contexts.credentials is not None:
            until = session.contexts.credentials.not_after.timestamp()
            left = max(0.0, min(left, (until - self._clock.seconds()) / 2))
        self._timer = self._clock.callLater(self._rng.random() * left, self._begin)

    @property
    def _idle(self) -> bool:
        """Nothing is under way beside the session."""
        return bool(self.running) and not self._trying and self._timer is None

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
