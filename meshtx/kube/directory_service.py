"""The directory's service: followers are told the table, the answers that they ask for, and what changes in both.

    watch ─▶ changed ─▶ within `BATCH`: refresh ─▶ each follower whose answer is another is woken ─▶ it sends what it
                                                   has not been told, as fast as its stream takes it

Before the cluster is known whole nobody is told anything: a follower waits for its first table. When the API is away,
what was known last is what is answered; of an address that nobody had then it is not known who has it now: it is
not answered, and a follower that knows more, from another directory, keeps what it knows.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from meshtx.directory import messages
from meshtx.directory.answers import MOST
from meshtx.directory.messages import BadMessage
from meshtx.kube.cluster import Cluster
from meshtx.kube.directory_messages import answer_message, ranges_message, table_message
from meshtx.kube.objects import Kept
from meshtx.kube.subscriptions import Session, Subscriptions, TooMany
from meshtx.observe.sparing import Sparing
from meshtx.pki.name import Name
from meshtx.rpc.call import Call, Handler
from meshtx.rpc.messages.directory_pb2 import (
    Answer,
    Endpoint,
    FindRequest,
    FollowRequest,
    ForgetRequest,
    Forgotten,
    Table,
)
from meshtx.rpc.method import AnyMethod
from meshtx.rpc.methods import DIRECTORY_FIND, DIRECTORY_FOLLOW, DIRECTORY_FORGET
from meshtx.rpc.status import RpcError, Status
from meshtx.wire.address import Address

BATCH = 0.01
"""Seconds in which changes are collected before followers are told."""

LOOK = 1.0
"""Seconds between two looks whether changes come again, while something is withheld from followers."""

A_TURN = 200
"""Addresses that are looked at, and followers that are woken, in one turn of the reactor."""

AT_ONCE = 16 * 2**10
"""Bytes of messages that go out together."""

MAX_SESSIONS = 10_000
MAX_ASKED = MOST + 1000
"""Addresses of one session: what a sidecar keeps, and those that it is about to forget."""
MAX_SUBSCRIPTIONS = 1_000_000
"""Of all sessions together; some 100 bytes each."""
MAX_ADDRESSES = 100_000
"""Different ones, of all sessions together; some 800 bytes each."""
MAX_KEPT = 32 * 2**20
"""Bytes of answers that are kept for whoever asks next: more than all that there are, but where Services have hundreds
of endpoints at hundreds of ports."""
MAX_OWN_IPS = 16


class DirectoryService:
    """Answers ``Follow``, ``Find`` and ``Forget``.

    :param cluster: what is known; `changed` puts changes into it.
    :param followed: tells whether changes come now, as far as that is known.
    """

    log = Logger()

    def __init__(self, cluster: Cluster, clock: IReactorTime, followed: Callable[[], bool]) -> None:
        self.synced = False
        """Whether the cluster was known whole once."""
        self._cluster = cluster
        self._clock = clock
        self._followed = followed
        self._ranges = cluster.ranges
        self._ranges_told = ranges_message(self._ranges)
        self._subscriptions = Subscriptions(
            lambda address: answer_message(cluster.answer(address)),
            self._table,
            most_sessions=MAX_SESSIONS,
            most_asked=MAX_ASKED,
            most=MAX_SUBSCRIPTIONS,
            most_addresses=MAX_ADDRESSES,
            most_kept=MAX_KEPT,
        )
        self._woken: dict[Session, None] = {}
        self._waiting: dict[Session, Deferred[None]] = {}
        self._timer: IDelayedCall | None = None
        self._looking: IDelayedCall | None = None
        self._stopped = False
        self._sparing = Sparing()

    def handlers(self) -> dict[AnyMethod, Handler]:
        """Return what a `meshtx.rpc.server.RpcServer` is to serve."""
        return {DIRECTORY_FOLLOW: self.follow, DIRECTORY_FIND: self.find, DIRECTORY_FORGET: self.forget}

    @property
    def sessions(self) -> int:
        """How many follow."""
        return len(self._subscriptions.sessions)

    @property
    def subscriptions(self) -> int:
        """How many addresses they have asked for, all together."""
        return self._subscriptions.count

    # What the watches say.

    def changed(self, before: Kept | None, after: Kept | None) -> None:
        """Take a change of one object, and tell it soon to whom it concerns."""
        ips = self._cluster.apply(before, after)
        if not self.synced:
            return
        self._subscriptions.changed(ips)
        if self._look_at_ranges():
            self._subscriptions.ranges_changed()
        if self._subscriptions.stale:
            self._turn_in(BATCH)

    def known(self) -> None:
        """The cluster is known whole: whoever waits is told."""
        self.synced = True
        self._look_at_ranges()
        self._wake(self._subscriptions.sessions.values())
        self._turn_in(0)

    def stop(self) -> None:
        """Tell nothing more, and end all sessions: whoever follows is to follow another directory."""
        self._stopped = True
        for timer in (self._timer, self._looking):
            if timer is not None:
                timer.cancel()
        self._timer = self._looking = None
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            each.callback(None)

    # What callers ask.

    async def follow(self, request: FollowRequest, call: Call) -> None:
        """Tell one follower what it has not been told, until it goes.

        :raises RpcError: it is not of this mesh, it names what is no address or more than it may, or
            the directory stops.
        """
        peer = self._permitted(call.peer)
        own_ips = [address.ip for address in _addresses(Endpoint(ip=ip, port=1) for ip in request.own_ips)]
        if len(own_ips) > MAX_OWN_IPS:
            raise RpcError(Status.INVALID_ARGUMENT, f"more than {MAX_OWN_IPS} addresses of one pod")
        known = _addresses(request.known)
        session = Session(secrets.token_urlsafe(16), peer, own_ips)
        with _bounded():
            self._subscriptions.open(session)
        self.log.debug("{peer} follows", peer=str(peer))
        try:
            while not self.synced:
                await self._woken_again(session)
            with _bounded():
                self._subscriptions.begin(session, known, self._is_sure)
            if session.withheld:
                self._look_later()
            await self._tell(session, call)
        finally:
            self._woken.pop(session, None)
            self._subscriptions.close(session)

    async def find(self, request: FindRequest, call: Call) -> Answer:
        """Return the answer for an address; its changes come on the session's stream.

        :raises RpcError: the caller has no such session, the API server is away, or it asks what is
            no address or one more than it may.
        """
        session = self._session(request.session, call)
        (address,) = _addresses([request.address])
        if not self._is_sure(address):
            raise RpcError(Status.UNAVAILABLE, f"the API server is away: who has {address} is not known")
        with _bounded():
            return self._subscriptions.ask(session, address)

    async def forget(self, request: ForgetRequest, call: Call) -> Forgotten:
        """Tell nothing more of some addresses.

        :raises RpcError: the caller has no such session, or what it names is no address.
        """
        session = self._session(request.session, call)
        self._subscriptions.forget(session, _addresses(request.addresses))
        return Forgotten()

    def _session(self, name: str, call: Call) -> Session:
        """Return a session of the caller's that has its table."""
        peer = self._permitted(call.peer)
        session = self._subscriptions.sessions.get(name)
        if session is None or session.peer != peer or session.table is None:
            raise RpcError(Status.FAILED_PRECONDITION, "there is no such session: follow anew")
        return session

    def _is_sure(self, address: Address) -> bool:
        """Tell whether what the cluster says of an address is an answer, and not that it has not heard of it."""
        return self._followed() or self._cluster.has(address)

    def _permitted(self, peer: Name | None) -> Name:
        if peer is not None and peer.scope == self._cluster.scope:
            return peer
        if self._sparing.left_out("peer", self._clock.seconds()) is not None:
            self.log.info("{peer} is refused: not of this mesh", peer=str(peer))
        if peer is None:
            raise RpcError(Status.UNAUTHENTICATED, "the directory takes mutual TLS only")
        raise RpcError(Status.PERMISSION_DENIED, f"{peer} is of another mesh")

    # Telling.

    async def _tell(self, session: Session, call: Call) -> None:
        while True:
            await call.ready()
            updates = self._subscriptions.take(session, AT_ONCE)
            if updates:
                call.send_encoded(updates)
            else:
                await self._woken_again(session)

    async def _woken_again(self, session: Session) -> None:
        def cancelled(_waiting: Deferred[None]) -> None:
            self._waiting.pop(session, None)

        waiting: Deferred[None] = Deferred(cancelled)
        self._waiting[session] = waiting
        await waiting
        if self._stopped:
            raise RpcError(Status.UNAVAILABLE, "the directory stops: follow another one")

    def _wake(self, sessions: Iterable[Session]) -> None:
        """Have those woken that wait; who is still sending finds by itself what there is to tell."""
        self._woken.update((session, None) for session in sessions if session in self._waiting)

    def _look_later(self) -> None:
        if self._looking is None:
            self._looking = self._clock.callLater(LOOK, self._look)

    def _look(self) -> None:
        """Tell what was withheld once changes come again."""
        self._looking = None
        if self._followed():
            self._wake(self._subscriptions.release())
            self._turn_in(0)
        elif any(session.withheld for session in self._subscriptions.sessions.values()):
            self._look_later()

    def _turn_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._clock.callLater(seconds, self._turn)

    def _turn(self) -> None:
        self._timer = None
        self._wake(self._subscriptions.refresh(A_TURN))
        for session in tuple(islice(self._woken, A_TURN)):
            del self._woken[session]
            waiting = self._waiting.pop(session, None)
            if waiting is not None:
                waiting.callback(None)
        if self._woken or self._subscriptions.stale:
            self._turn_in(0)

    def _table(self, session: Session) -> Table:
        own = self._cluster.own_ports(session.own_ips, session.peer)
        return table_message(session.name, self._ranges_told, own)

    def _look_at_ranges(self) -> bool:
        """Take the present ranges; return whether they are others."""
        ranges = self._cluster.ranges
        changed = ranges is not self._ranges and ranges != self._ranges
        self._ranges = ranges
        if changed:
            self._ranges_told = ranges_message(ranges)
        return changed


@contextmanager
def _bounded() -> Iterator[None]:
    """Say in gRPC's terms that a bound is reached."""
    try:
        yield
    except TooMany as error:
        raise RpcError(Status.RESOURCE_EXHAUSTED, str(error)) from error


def _addresses(endpoints: Iterable[Endpoint]) -> list[Address]:
    try:
        return [messages.address(endpoint) for endpoint in endpoints]
    except BadMessage as error:
        raise RpcError(Status.INVALID_ARGUMENT, str(error)) from error
