"""What makes one JSON value another: a patch of RFC 6902, of ``add``, ``replace`` and ``remove``.

Parts of a mapping are compared one by one. A list that only got more items gets them added; any other change
replaces it whole. Since a missing parent is added whole, no operation needs one that is not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
"""A JSON object (Any: JSON has no narrower type)."""


def difference(before: Json, after: Json) -> list[Json]:
    """Return the operations, in the order in which they apply; none for equal values."""
    return list(_mapping("", before, after))


def _value(path: str, before: Any, after: Any) -> Iterator[Json]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _mapping(path, before, after)
    elif isinstance(before, list) and isinstance(after, list) and (places := _added(before, after)) is not None:
        for place in places:
            yield {"op": "add", "path": f"{path}/{place}", "value": after[place]}
    else:
        yield {"op": "replace", "path": path, "value": after}


def _mapping(path: str, before: Json, after: Json) -> Iterator[Json]:
    for key in before:
        if key not in after:
            yield {"op": "remove", "path": f"{path}/{_escaped(key)}"}
    for key, value in after.items():
        if key in before:
            yield from _value(f"{path}/{_escaped(key)}", before[key], value)
        else:
            yield {"op": "add", "path": f"{path}/{_escaped(key)}", "value": value}


def _added(before: list[Any], after: list[Any]) -> list[int] | None:
    """Return where in the later list the new items are; ``None`` if one of the earlier ones is gone, or moved."""
    places, rest = [], iter(before)
    waiting = next(rest, _END)
    for place, item in enumerate(after):
        if waiting is not _END and item == waiting:
            waiting = next(rest, _END)
        else:
            places.append(place)
    return places if waiting is _END else None


_END = object()


def _escaped(key: str) -> str:
    """Return a key as a part of a JSON pointer (RFC 6901, section 3)."""
    return key.replace("~", "~0").replace("/", "~1")
