"""Who wants to know of which address, what the last answer was, and what a session has not been told yet. No I/O.

    change ─▶ stale ─▶ refresh: another answer? ─▶ pending with each session that has asked ─▶ take

A session that reads slowly holds at most one answer for each address that it has asked for, the newest; nothing
queues, and nobody else waits.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable
from hashlib import blake2b
from itertools import islice

from meshtx.errors import MeshtxError
from meshtx.pki.name import Name
from meshtx.rpc.messages.directory_pb2 import Answer, Table, Update
from meshtx.wire.address import IP, Address

LONG = 1000
"""Bytes of an answer that take as long to make as a short one at most."""
_SEVERAL = b""
"""The digest of no answer: not all have been told the same."""


class TooMany(MeshtxError):
    """A bound of the directory is reached; the message says which."""


class Session:
    """What one follower wants to know, and what it has not been told.

    :param name: a secret between it and the directory.
    :param peer: who it is, as TLS has proved.
    :param own_ips: as it says; whether they are its own is to be seen.
    """

    def __init__(self, name: str, peer: Name, own_ips: Collection[IP]) -> None:
        self.name = name
        self.peer = peer
        self.own_ips = frozenset(own_ips)
        self.asked: set[Address] = set()
        self.pending: dict[Address, None] = {}
        self.withheld: set[Address] = set()
        """What it knows of these it knows better than the directory does now."""
        self.table: bytes | None = None
        """The last table that it was told, or is to be told next, encoded."""
        self.table_pending = False


class Subscriptions:
    """All sessions of a directory.

    :param answer: makes the present answer for an address.
    :param table: makes a session's present table.
    :param most_sessions: at once; `most_asked`: addresses that one session may ask for; `most`: that all may, each
        counted for each session; `most_addresses`: each counted once. Workloads of one namespace have half at most of
        all but the second: who runs there can keep out nobody elsewhere.
    :param most_kept: bytes of answers that are kept, those that were used last. How long they are is for who makes
        Services to say: each of their ports is an address, with all endpoints behind it.
    """

    def __init__(
        self,
        answer: Callable[[Address], Answer],
        table: Callable[[Session], Table],
        *,
        most_sessions: int,
        most_asked: int,
        most: int,
        most_addresses: int,
        most_kept: int,
    ) -> None:
        self.sessions: dict[str, Session] = {}
        self.count = 0
        """Subscriptions: addresses, once for each session that has asked."""
        self._sessions_of: Counter[str] = Counter()
        """By namespace; so are the next two."""
        self._count_of: Counter[str] = Counter()
        self._addresses_of: Counter[str] = Counter()
        """Of an address that several ask for, to whoever has asked first."""
        self._addresses = 0
        self._answer = answer
        self._table = table
        self._most_sessions = most_sessions
        self._most_asked = most_asked
        self._most = most
        self._most_addresses = most_addresses
        self._most_kept = most_kept
        self._kept: OrderedDict[_Asked, bytes] = OrderedDict()
        """Messages of the last answers, encoded once for all who have asked."""
        self._kept_size = 0
        self._asked: dict[IP, dict[Address, _Asked]] = {}
        self._own: dict[IP, set[Session]] = {}
        self._stale: OrderedDict[str, dict[_Asked, None]] = OrderedDict()
        """By the namespace that has asked first, which take turns: one that asks for much is behind the others."""
        self._stale_tables: dict[Session, None] = {}

    def open(self, session: Session) -> None:
        """Take a session.

        :raises TooMany: there are too many.
        """
        if len(self.sessions) >= self._most_sessions:
            raise TooMany(f"{self._most_sessions} sidecars follow already")
        if self._sessions_of[session.peer.namespace] >= self._most_sessions // 2:
            raise TooMany(f"{self._most_sessions // 2} sidecars of namespace {session.peer.namespace} follow already")
        self.sessions[session.name] = session
        self._sessions_of[session.peer.namespace] += 1
        for ip in session.own_ips:
            self._own.setdefault(ip, set()).add(session)

    def begin(self, session: Session, known: Collection[Address], is_sure: Callable[[Address], bool]) -> None:
        """Have a session told the table and the answers for these first.

        :param is_sure: tells of which there is an answer; the others are withheld until they change, or `release`.
        :raises TooMany: it asks for too many.
        """
        session.table, session.table_pending = _encoded(Update(table=self._table(session))), True
        for address in known:
            self._subscribe(session, address)
            if is_sure(address):
                session.pending[address] = None
            else:
                session.withheld.add(address)

    def release(self) -> list[Session]:
        """Have all told what was withheld from them; return who they are."""
        waiting = [session for session in self.sessions.values() if session.withheld]
        for session in waiting:
            session.pending.update(dict.fromkeys(session.withheld))
            session.withheld.clear()
        return waiting

    def close(self, session: Session) -> None:
        """Forget a session."""
        self.forget(session, tuple(session.asked))
        self._stale_tables.pop(session, None)
        del self.sessions[session.name]
        _less(self._sessions_of, session.peer.namespace)
        for ip in session.own_ips:
            self._own[ip].discard(session)
            if not self._own[ip]:
                del self._own[ip]

    def ask(self, session: Session, address: Address) -> Answer:
        """Subscribe a session to an address, and return the answer.

        :raises TooMany: it, or all of them together, ask for too many.
        """
        return Update.FromString(self._encoded(self._subscribe(session, address))).answer

    def forget(self, session: Session, addresses: Iterable[Address]) -> None:
        """Tell a session no more of these; those that it has not asked for are passed over."""
        for address in addresses:
            if address in session.asked:
                session.asked.discard(address)
                session.pending.pop(address, None)
                session.withheld.discard(address)
                self.count -= 1
                _less(self._count_of, session.peer.namespace)
                self._leave(session, address)

    def changed(self, ips: Iterable[IP]) -> None:
        """Note where answers may be others."""
        for ip in ips:
            for asked in self._asked.get(ip, {}).values():
                self._stale.setdefault(asked.first, {})[asked] = None
            self._stale_tables.update(dict.fromkeys(self._own.get(ip, ())))

    def ranges_changed(self) -> None:
        """Note that all tables may be others."""
        self._stale_tables.update(dict.fromkeys(self.sessions.values()))

    @property
    def stale(self) -> bool:
        """Whether there is something to refresh."""
        return bool(self._stale) or bool(self._stale_tables)

    def refresh(self, most: int) -> set[Session]:
        """Make answers and tables anew that may be others; return the sessions to be told that they are.

        :param most: of each that are looked at, so that a turn of the reactor is a short one; a long answer counts as
            many (`LONG`).
        """
        touched: set[Session] = set()
        left = most
        while self._stale and left > 0:
            asked = self._next_stale()
            if asked.sessions:
                encoded = self._made(asked)
                left -= len(encoded) // LONG
                touched |= self._compared(asked, encoded)
            left -= 1
        for session in tuple(islice(self._stale_tables, most)):
            del self._stale_tables[session]
            table = _encoded(Update(table=self._table(session)))
            if session.table is not None and session.table != table:
                session.table, session.table_pending = table, True
                touched.add(session)
        return touched

    def _next_stale(self) -> _Asked:
        namespace, waiting = self._stale.popitem(last=False)
        asked = next(iter(waiting))
        del waiting[asked]
        if waiting:
            self._stale[namespace] = waiting
        return asked

    def take(self, session: Session, most: int) -> list[bytes]:
        """Return the next messages for a session, encoded; none when it knows all.

        :param most: bytes that they have together, the last one not counted.
        """
        taken: list[bytes] = []
        if session.table_pending and session.table is not None:
            session.table_pending = False
            taken.append(session.table)
            most -= len(session.table)
        while session.pending and most > 0:
            address = next(iter(session.pending))
            del session.pending[address]
            encoded = self._encoded(self._asked[address.ip][address])
            taken.append(encoded)
            most -= len(encoded)
        return taken

    def _encoded(self, asked: _Asked) -> bytes:
        """Return the message of the answer, made when it is needed first: a follower may begin with thousands.

        Made again because it was not kept, it may be newer than what others were told: then there is a change that is
        still to be looked at, and whatever it is by then all are told.
        """
        if asked not in self._kept:
            encoded = self._made(asked)
            digest = _digest(encoded)
            asked.digest = digest if asked.digest in {None, digest} else _SEVERAL
            return encoded
        self._kept.move_to_end(asked)
        return self._kept[asked]

    def _made(self, asked: _Asked) -> bytes:
        """Make the message of the present answer, and keep it."""
        encoded = _encoded(Update(answer=self._answer(asked.address)))
        self._let_go(asked)
        self._kept[asked] = encoded
        self._kept_size += len(encoded)
        while self._kept_size > self._most_kept:
            self._let_go(next(iter(self._kept)))
        return encoded

    def _let_go(self, asked: _Asked) -> None:
        self._kept_size -= len(self._kept.pop(asked, b""))

    def _compared(self, asked: _Asked, encoded: bytes) -> set[Session]:
        """Return the sessions to be told an answer: none where they know it."""
        digest = _digest(encoded)
        if digest == asked.digest:
            return set()
        asked.digest = digest
        for session in asked.sessions:
            session.pending[asked.address] = None
            session.withheld.discard(asked.address)
        return asked.sessions

    def _subscribe(self, session: Session, address: Address) -> _Asked:
        asked = self._asked.get(address.ip, {}).get(address)
        if asked is not None and address in session.asked:
            return asked
        self._check_room(session)
        if asked is None:
            asked = self._begin_asking(session.peer.namespace, address)
        asked.sessions.add(session)
        session.asked.add(address)
        self.count += 1
        self._count_of[session.peer.namespace] += 1
        return asked

    def _begin_asking(self, namespace: str, address: Address) -> _Asked:
        if self._addresses >= self._most_addresses:
            raise TooMany(f"{self._most_addresses} different addresses are asked for already")
        if self._addresses_of[namespace] >= self._most_addresses // 2:
            raise TooMany(f"{self._most_addresses // 2} addresses are asked for by namespace {namespace} alone")
        self._addresses += 1
        self._addresses_of[namespace] += 1
        asked = self._asked.setdefault(address.ip, {})[address] = _Asked(address, namespace)
        return asked

    def _check_room(self, session: Session) -> None:
        if len(session.asked) >= self._most_asked:
            raise TooMany(f"a session may ask for {self._most_asked} addresses: forget some")
        if self.count >= self._most:
            raise TooMany(f"{self._most} addresses are asked for already")
        if self._count_of[session.peer.namespace] >= self._most // 2:
            raise TooMany(f"{self._most // 2} addresses are asked for by namespace {session.peer.namespace} already")

    def _leave(self, session: Session, address: Address) -> None:
        at_ip = self._asked[address.ip]
        asked = at_ip[address]
        asked.sessions.discard(session)
        if not asked.sessions:
            del at_ip[address]
            self._let_go(asked)
            self._addresses -= 1
            _less(self._addresses_of, asked.first)
            if not at_ip:
                del self._asked[address.ip]


class _Asked:
    """An address that somebody has asked for, and the digest of the answer that all have been told, or are to be."""

    __slots__ = ("address", "digest", "first", "sessions")

    def __init__(self, address: Address, first: str) -> None:
        self.address = address
        self.first = first
        """The namespace from which it was asked for first."""
        self.digest: bytes | None = None
        self.sessions: set[Session] = set()


def _less(counts: Counter[str], of: str) -> None:
    counts[of] -= 1
    if not counts[of]:
        del counts[of]


def _encoded(update: Update) -> bytes:
    return update.SerializeToString(deterministic=True)


def _digest(encoded: bytes) -> bytes:
    return blake2b(encoded, digest_size=16).digest()
