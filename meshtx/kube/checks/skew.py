"""Which releases work together: of one major number, their minor numbers at most one apart (docs/upgrades.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from meshtx.kube.annotations import PROXY_VERSION
from meshtx.kube.api_errors import Object
from meshtx.kube.checks.snapshot import Found, Key, Snapshot
from meshtx.kube.injection import annotations_of, labels_of

UNKNOWN = "unknown"
"""The version of what is labelled with none; nothing is said of how far it is from others."""
HINT = "go from one release to the next, never past one: docs/upgrades.md"

_LABEL = "app.kubernetes.io/version"
_RELEASE = re.compile(r"(\d+)\.(\d+)")

Release = tuple[int, int]
"""The major and the minor number."""


def release(version: str) -> Release | None:
    """Return of which release a version is, ``None`` if that cannot be told."""
    found = _RELEASE.match(version)
    return (int(found[1]), int(found[2])) if found else None


def work_together(versions: Iterable[str]) -> bool:
    """Return whether no two of these are further apart than a release and the next."""
    known = sorted(filter(None, map(release, versions)))
    if not known:
        return True
    (major, minor), (last_major, last_minor) = known[0], known[-1]
    return major == last_major and last_minor - minor <= 1


def is_newer(version: str, programs: Iterable[str]) -> bool:
    """Return whether this is of a later release than one of the programs."""
    own, theirs = release(version), [each for each in map(release, programs) if each]
    return own is not None and bool(theirs) and own > min(theirs)


def program_versions(snapshot: Snapshot) -> dict[Key, str]:
    """Return the version that each program of the control plane is labelled with, of those that could be read."""
    return {
        key: labels_of(read.value).get(_LABEL, UNKNOWN)
        for key, read in snapshot.every("Deployment")
        if isinstance(read, Found)
    }


def proxy_version(pod: Object) -> str:
    """Return the version that a meshed pod's proxy has been given."""
    return annotations_of(pod).get(PROXY_VERSION, UNKNOWN)
