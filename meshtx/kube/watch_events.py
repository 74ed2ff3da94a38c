"""What a list and a watch bring, read strictly: bytes in, values out.

A line of a watch is ``{"type": ..., "object": ...}``. What is no event or no list, or an object without name or
version, comes from something else than an API server, and nothing is concluded from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from meshtx.kube.api_errors import MAX_RETRY_AFTER, ApiUnavailable, Object, object_of

INITIAL_END = "k8s.io/initial-events-end"
"""The annotation of the bookmark that ends a list that comes as a stream."""

Key = str
"""``namespace/name``, or ``name`` where there are no namespaces."""


class Kind(StrEnum):
    """The types of events."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"
    """Nothing has changed up to this version."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a watch.

    :param version: opaque; where the watch can go on from.
    """

    kind: Kind
    item: Object
    version: str

    @property
    def ends_the_list(self) -> bool:
        """Whether everything that there was has come. An object may have the annotation too: its author writes that."""
        annotations = metadata_of(self.item).get("annotations")
        said = isinstance(annotations, dict) and annotations.get(INITIAL_END) == "true"
        return said and self.kind is Kind.BOOKMARK


class ReportedError(ApiUnavailable):
    """The server has sent an error in place of an event; its status is the one inside."""


def read_event(path: str, line: bytes) -> Event:
    """Return the event in a line.

    :param path: names the source in errors.
    :raises ReportedError: it is an ERROR.
    :raises ApiUnavailable: it is no event.
    """
    event = object_of(path, line)
    kind, item = event.get("type"), event.get("object")
    if not isinstance(item, dict):
        raise ApiUnavailable(f"{path}: a line is no event of a watch")
    if kind == "ERROR":
        raise _reported(path, item)
    if kind not in set(Kind):
        raise ApiUnavailable(f"{path}: an event of the unknown type {str(kind)[:64]!r}")
    return Event(Kind(kind), item, version_of(path, item))


def _reported(path: str, status: Object) -> ReportedError:
    """Return the error of an ERROR event, whose object is a Status."""
    code, details = status.get("code"), status.get("details")
    number = code if isinstance(code, int) else 500
    wait = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    text = f"{path}: {number} {status.get('reason', '')} {str(status.get('message', ''))[:512]}"
    return ReportedError(text, number, min(max(float(wait), 0.0), MAX_RETRY_AFTER) if isinstance(wait, int) else None)


def items_of(path: str, page: Object) -> list[Object]:
    """Return the objects of a list.

    :raises ApiUnavailable: it is none.
    """
    items = page.get("items") or []  # Go writes an empty list as null
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ApiUnavailable(f"{path}: the answer is not a list of objects")
    return items


def metadata_of(item: Object) -> Object:
    """Return an object's metadata; of something odd, none."""
    found = item.get("metadata")
    return found if isinstance(found, dict) else {}


def version_of(path: str, item: Object) -> str:
    """Return the resourceVersion of an object or a list.

    :raises ApiUnavailable: it has none.
    """
    return _text(path, item, "resourceVersion")


def key_of(path: str, item: Object) -> Key:
    """Return what an object is called in a store.

    :raises ApiUnavailable: it has no name.
    """
    namespace = metadata_of(item).get("namespace")
    name = _text(path, item, "name")
    return f"{namespace}/{name}" if namespace else name


def _text(path: str, item: Object, name: str) -> str:
    found = metadata_of(item).get(name)
    if not isinstance(found, str) or not found:
        raise ApiUnavailable(f"{path}: an object without a {name}")
    return found
