"""No core dump: the private key and the tokens of a program are in its memory, and are not to get to a disk.

A kernel writes one when a program crashes, if the limit allows it; where it runs a program for that (``core_pattern``
with a ``|``), it is that one's to respect the limit, as systemd-coredump does.
"""

from __future__ import annotations

import resource


def forgo_core_dumps() -> None:
    """Have none be written for this process and its children. Who debugs it may raise the limit again (prlimit)."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
