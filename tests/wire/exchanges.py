"""Recorded conversations: who said what, in order; and every way in which they may arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Protocol

from hypothesis import strategies as st

from meshtx.wire.http_events import Event, Fields, RequestHead, RequestText, ResponseHead
from tests.wire.splits import cuts, splits, untraced

Said = tuple[str, bytes]
"""``C`` or ``S``, and the bytes."""
Exchange = Sequence[Said]


class Observer(Protocol):
    """What the observers of HTTP/1 and HTTP/2 have in common."""

    detached: bool

    @property
    def held(self) -> int: ...

    def client_data(self, data: bytes) -> list[Event]: ...

    def server_data(self, data: bytes) -> list[Event]: ...

    def ended(self, orderly: bool) -> list[Event]: ...


def request_head(number: int, method: str, authority: str, path: str, headers: Fields = ()) -> RequestHead:
    text = RequestText(method, authority, path, headers)
    return RequestHead(number, lambda: text)


def response_head(number: int, status: int, headers: Fields) -> ResponseHead:
    return ResponseHead(number, status, lambda: headers)


def observe(observer: Observer, exchange: Iterable[Said], orderly: bool = True) -> list[Event]:
    """Return all that the observer says of the whole conversation."""
    events: list[Event] = []
    for side, data in exchange:
        events += observer.client_data(data) if side == "C" else observer.server_data(data)
    return events + observer.ended(orderly)


def resplit(exchange: Exchange, pieces: Iterable[bytes]) -> list[Said]:
    """Return the conversation cut where the pieces of its joined bytes are cut, too."""
    ends = list(accumulate(len(data) for _, data in exchange))
    said: list[Said] = []
    pos, turn = 0, 0
    for piece in pieces:
        taken = 0
        while taken < len(piece):
            while pos >= ends[turn]:
                turn += 1
            part = piece[taken : taken + ends[turn] - pos]
            said.append((exchange[turn][0], part))
            taken += len(part)
            pos += len(part)
    return said


def joined(exchange: Exchange) -> bytes:
    """Return all its bytes."""
    return b"".join(data for _, data in exchange)


def cut(exchange: Exchange) -> Iterator[list[Said]]:
    """Yield the conversation with one cut and with two, as `tests.wire.splits.cuts` has them."""
    return (resplit(exchange, pieces) for pieces in cuts(joined(exchange)))


def some_cuts(exchange: Exchange) -> st.SearchStrategy[list[Said]]:
    """Return a strategy for the conversation with random cuts."""
    return splits(joined(exchange)).map(lambda pieces: resplit(exchange, pieces))


def differing(make: Callable[[], Observer], exchange: Exchange) -> list[Said] | None:
    """Return the first of `cut` that gives other events than the conversation itself, None if there is none."""
    expected = observe(make(), exchange)
    with untraced():
        return next((way for way in cut(exchange) if observe(make(), way) != expected), None)
