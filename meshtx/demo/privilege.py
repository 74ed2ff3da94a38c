"""What this user may do: make network namespaces as it is, as root of a user namespace, or not at all."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

_WHOLE = ["0", "0", "4294967295"]
"""The uid map of the system's first user namespace."""


def in_user_namespace() -> bool:
    """Tell whether root here is somebody else outside."""
    return Path("/proc/self/uid_map").read_text().split() != _WHOLE


def in_user_namespace_of_its_own() -> bool:
    """Tell whether this process is in another user namespace than the one that started it, such as the user's shell."""
    try:
        return Path("/proc/self/ns/user").readlink() != Path(f"/proc/{os.getppid()}/ns/user").readlink()
    except OSError:  # what may not be looked at is outside
        return True


def may_make_namespaces(*prefix: str) -> bool:
    """Tell whether a command could make a network namespace.

    :param prefix: what comes before the command.
    """
    try:
        tried = subprocess.run([*prefix, "unshare", "--net", "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return tried.returncode == 0


AS_ROOT_OF_OUR_OWN = ("unshare", "--user", "--map-root-user")
"""Makes the command that follows root of a user namespace that has one user: the one who runs it."""


def become_root_of_our_own(argv: Sequence[str]) -> None:
    """Start the program anew in a user namespace of its own; does not return."""
    os.execvp(AS_ROOT_OF_OUR_OWN[0], [*AS_ROOT_OF_OUR_OWN, *argv])
