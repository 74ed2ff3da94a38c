"""The descriptors that are watched, by an epoll of our own: what Twisted's reactors do, with less on the way.

    any reactor ──▶ its own descriptors          MeshtxReactor ──▶ every descriptor
         └────────▶ Poller ──▶ our connections        (`meshtx.net.reactor`)

An event only means "try": what a descriptor says when it is read or written is the truth. A hang-up in a batch of
events is no loss, for the descriptor may be another's by the time that its turn comes.

What is asked for while a batch is being served is told to the kernel behind the batch, so that a connection that
pauses and resumes in one turn costs nothing. What is given up is told at once, for its descriptor may be closed next;
a connection that only pauses says so (`pause`), and then has to say when it is gone (`forget`).

A connection whose peer has ended its direction is not read any more, and perhaps nothing is to be written for hours.
That the peer was lost meanwhile is an event of its own: one that waits for it (`await_loss`) is asked then whether it
is `broken`, and has to say when it is gone as well.

A batch that takes long is cut: other descriptors of the reactor have a turn, then the rest is served before anything
new. So a call waits for one long piece of work (`meshtx.wire.work` bounds that), not for as many as come at once.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable, Iterator
from enum import StrEnum
from time import perf_counter
from typing import Any, cast

from twisted.internet import error
from twisted.internet.interfaces import IHalfCloseableDescriptor, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshtx.errors import ConfigError

MOST_EVENTS = 32
"""Events of one batch, so that timers and other descriptors have their turn between two."""

LONG = 0.004
"""Seconds after which a batch is cut, behind the event or call that took them."""

HAS_EPOLL = hasattr(select, "epoll")

_IN = getattr(select, "EPOLLIN", 1)
_OUT = getattr(select, "EPOLLOUT", 4)
_ERROR = getattr(select, "EPOLLERR", 8)  # like a hang-up it comes whether it is asked for or not


class Transports(StrEnum):
    """Which transports connections have."""

    QUICK = "quick"
    TWISTED = "twisted"


@implementer(IReactorFDSet)
class FdSet:
    """Descriptors, each with what it waits for."""  # they are Any: a descriptor has no one type

    log = Logger()

    def __init__(self, now: Callable[[], float] = perf_counter) -> None:
        """Watch nothing yet.

        :param now: seconds, from any beginning.
        """
        self._now = now
        self._epoll = select.epoll()
        self._watched: dict[int, Any] = {}
        self._wanted: dict[int, int] = {}
        self._told = bytearray()  # of every descriptor that was ever watched, by its number: the kernel gives low ones
        self._late: dict[int, None] = {}  # in order, so that who came first is served first
        self._events: Iterator[tuple[int, int]] = iter(())
        self._behind: deque[Callable[[], object]] = deque()
        self._cut = False
        self._serving = False

    def addReader(self, reader: Any) -> None:
        """Call its `doRead` when there may be something to read."""
        self._want(reader, _IN)

    def addWriter(self, writer: Any) -> None:
        """Call its `doWrite` when something may be written."""
        self._want(writer, _OUT)

    def removeReader(self, reader: Any) -> None:
        """Do not call its `doRead` any more."""
        self._leave(reader, _IN)

    def removeWriter(self, writer: Any) -> None:
        """Do not call its `doWrite` any more."""
        self._leave(writer, _OUT)

    def pause(self, reader: Any) -> None:
        """Like `removeReader`, for one that will say when it is gone."""
        fd = reader.fileno()
        wanted = self._wanted.get(fd, 0)
        if wanted & _IN:
            self._wanted[fd] = wanted & ~_IN
            self._soon(fd)

    def await_loss(self, reader: Any) -> None:
        """Like `pause`, for one that has read its end: when it may be lost, it is asked whether it is `broken`."""
        fd = reader.fileno()
        self._wanted[fd] = self._wanted[fd] & ~_IN | _ERROR
        self._soon(fd)

    def forget(self, selectable: Any) -> None:
        """Watch it no more: its descriptor is about to be closed."""
        fd = selectable.fileno()
        if self._watched.get(fd) is selectable:
            self._told[fd] = 0  # closing it tells the kernel as well
            self._forget(fd)

    def behind(self, call: Callable[[], object]) -> None:
        """Call behind the events of this batch; in a later turn, if none is being served."""
        if self._serving:
            self._behind.append(call)
        else:
            cast("IReactorTime", self).callLater(0, call)  # which who inherits this has

    def try_reading(self, reader: Any) -> None:
        """Read, as if there were an event, where that is wanted."""
        fd = reader.fileno()
        if self._watched.get(fd) is reader:
            self._serve(fd, _IN, reader)

    def getReaders(self) -> list[Any]:
        """Return those that wait to read."""
        return self._waiting(_IN)

    def getWriters(self) -> list[Any]:
        """Return those that wait to write."""
        return self._waiting(_OUT)

    def removeAll(self) -> list[Any]:
        """Watch nothing any more, and return what was watched."""
        everything = list(self._watched.values())
        for fd in list(self._watched):
            self._forget(fd)
        return everything

    def poll(self, timeout: float | None) -> bool:
        """Serve one batch of events, or the rest of one that was cut; return whether it is cut (again).

        :param timeout: seconds to wait for the first; ``None``: without end.
        """
        if not self._cut:
            self._events = iter(self._epoll.poll(timeout, MOST_EVENTS))
        end = self._now() + LONG
        self._serving = True
        try:
            self._cut = (
                (self._cut and self._call_behind(end))
                or self._serve_events(end)
                or (bool(self._behind) and self._call_behind(end))
            )
        finally:
            self._serving = False
            self._tell_all()
        return self._cut

    def _serve_events(self, end: float) -> bool:
        """Serve the events of the batch; return whether it was cut."""
        watched, now = self._watched, self._now
        for fd, event in self._events:
            selectable = watched.get(fd)
            if selectable is None:
                continue
            if event == _IN and self._wanted[fd] & _IN:  # nearly all are: a call less for each
                try:
                    why = selectable.doRead()
                except BaseException as raised:  # noqa: BLE001  as in `_serve`
                    why = self._raised(selectable, raised)
                if why is not None:
                    self._lose(selectable, why, reading=True)
            else:
                self._serve(fd, event, selectable)
            if now() > end:
                return True
        return False

    def _call_behind(self, end: float) -> bool:
        """Make the calls that were asked for; return whether the batch was cut."""
        while self._behind:
            call = self._behind.popleft()
            try:
                call()
            except BaseException:  # noqa: BLE001  the border to every protocol: logged, as for a delayed call
                self.log.failure("{call} failed", call=call)
            if self._now() > end:
                return True
        return False

    def _serve(self, fd: int, event: int, selectable: Any) -> None:
        reading, why = False, None
        try:
            wanted = self._wanted[fd]
            if event & ~_OUT and wanted & _IN:
                reading = True
                why = selectable.doRead()
            if why is None and event & ~_IN and self._wanted.get(fd, 0) & _OUT and self._watched[fd] is selectable:
                reading = False
                why = selectable.doWrite()
            elif wanted == _ERROR and event & ~(_IN | _OUT):
                why = self._ask(selectable)
        except BaseException as raised:  # noqa: BLE001  the border to every protocol: logged, and the connection lost
            why = self._raised(selectable, raised)
        if why is not None:
            self._lose(selectable, why, reading=reading)

    def _ask(self, selectable: Any) -> BaseException | None:
        """Ask one that only waits whether it is lost; if not, it has ended both ways, and nothing more is to come."""
        why: BaseException | None = selectable.broken()
        if why is None:
            self._leave(selectable, _ERROR)
        return why

    def _raised(self, selectable: Any, raised: BaseException) -> BaseException:
        self.log.failure("{selectable} failed", selectable=selectable)
        return raised

    def _lose(self, selectable: Any, why: BaseException, *, reading: bool) -> None:
        self.removeReader(selectable)
        done = isinstance(why, error.ConnectionDone)
        # A Failure of its own for each: one that is shared collects what its holders put into it.
        failure = Failure(type(why)() if isinstance(why, error.ConnectionDone | error.ConnectionLost) else why)
        try:
            if done and reading and IHalfCloseableDescriptor.providedBy(selectable):
                selectable.readConnectionLost(failure)
            else:
                self.removeWriter(selectable)
                selectable.connectionLost(failure)
        except BaseException:  # noqa: BLE001  as above; nothing is left to lose
            self.log.failure("{selectable} failed at its end", selectable=selectable)

    def _want(self, selectable: Any, event: int) -> None:
        fd = selectable.fileno()
        wanted = self._wanted.get(fd, 0)
        if not wanted & event:
            if fd < 0:
                raise ValueError(f"{selectable} has no descriptor")
            self._wanted[fd] = wanted | event
            self._watched[fd] = selectable
            if fd >= len(self._told):
                self._told.extend(bytes(fd + 1))
            try:
                self._soon(fd)
            except OSError:
                self._forget(fd)
                raise

    def _leave(self, selectable: Any, event: int) -> None:
        fd = selectable.fileno()
        if fd == -1:
            fd = next((number for number, each in self._watched.items() if each is selectable), -1)
        wanted = self._wanted.get(fd, 0)
        if not wanted & event:
            return
        if wanted != event:
            self._wanted[fd] = wanted & ~event
            self._soon(fd)
            return
        self._forget(fd)

    def _forget(self, fd: int) -> None:
        del self._wanted[fd], self._watched[fd]
        told = self._told[fd]
        self._told[fd] = 0
        if told:
            try:  # noqa: SIM105  quicker so
                self._epoll.unregister(fd)
            except OSError:  # it was closed before: the kernel has forgotten it too
                pass

    def _soon(self, fd: int) -> None:
        if self._serving:
            self._late[fd] = None
        else:
            self._tell(fd)

    def _tell_all(self) -> None:
        late, self._late = self._late, {}
        for fd in late:
            if fd in self._wanted:
                try:
                    self._tell(fd)
                except OSError as refused:  # this one is lost, and no other with it
                    self._lose(self._watched[fd], refused, reading=False)

    def _tell(self, fd: int) -> None:
        """Tell the kernel what is wanted of a descriptor.

        :raises OSError: the kernel cannot watch it: it is a regular file, or closed.
        """
        wanted, told = self._wanted[fd], self._told[fd]
        if wanted == told:
            return
        if not wanted:
            self._epoll.unregister(fd)
        elif told:
            self._epoll.modify(fd, wanted)
        else:
            self._epoll.register(fd, wanted)
        self._told[fd] = wanted

    def _waiting(self, event: int) -> list[Any]:
        return [self._watched[fd] for fd, wanted in self._wanted.items() if wanted & event]


@implementer(IReadDescriptor)
class Poller(FdSet):
    """Descriptors that are one reader of another reactor; what else is asked of it is asked of that.

    :param reactor: (Any: a reactor has no one type.)
    :param now: seconds, from any beginning.
    """

    def __init__(self, reactor: Any, now: Callable[[], float] = perf_counter) -> None:
        super().__init__(now)
        self.callLater = reactor.callLater
        self.seconds = reactor.seconds
        self._reactor = reactor
        self._joined = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def fileno(self) -> int:
        """Return the descriptor of the epoll itself: it is readable when there are events."""
        return self._epoll.fileno()

    def doRead(self) -> None:
        """Serve the events that there are; if that takes long, let the reactor's others have a whole turn between."""
        if self.poll(0):
            self.callLater(0, self.callLater, 0, self.doRead)
        self._join_or_leave()

    def logPrefix(self) -> str:
        """Return what log lines of the reactor's own name it by."""
        return "meshtx"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends: so does every connection."""
        for selectable in self.removeAll():
            self._lose(selectable, cast("BaseException", reason.value), reading=False)

    def _want(self, selectable: Any, event: int) -> None:
        super()._want(selectable, event)
        self._join_or_leave()

    def _forget(self, fd: int) -> None:
        super()._forget(fd)
        self._join_or_leave()

    def _join_or_leave(self) -> None:
        """Be a reader of the reactor as long as there is something to watch, so that an idle one can end."""
        if self._joined != (bool(self._watched) and not self._cut) and not self._serving:
            self._joined = not self._joined
            (self._reactor.addReader if self._joined else self._reactor.removeReader)(self)


def registrar(reactor: Any, transports: Transports) -> Any:
    """Return what connections are to be registered with: the reactor, or a `Poller` in it.

    :raises ConfigError: the reactor gives its connections quick transports, and others are wanted.
    """
    if transports is Transports.TWISTED and isinstance(reactor, FdSet):
        raise ConfigError("transports", "the reactor meshtx has quick ones", "leave out --reactor, or this setting")
    if transports is Transports.TWISTED or not HAS_EPOLL or isinstance(reactor, FdSet):
        return reactor
    return Poller(reactor)
