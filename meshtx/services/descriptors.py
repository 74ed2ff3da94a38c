"""How many files and connections the process may have open, raised as far as it may be.

The usual soft limit of 1024 is there for programs that cannot count further; it is the hard limit that an
administrator, systemd or a container sets. A process with the privilege raises that one too, if it is not enough.
"""

from __future__ import annotations

import resource
from contextlib import suppress


def raise_descriptor_limit(wanted: int) -> int:
    """Return how many descriptors there may be, at least as many as wanted if that can be had.

    Called before a program leaves root behind; what is set stays.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted if hard == resource.RLIM_INFINITY else max(wanted, hard)
    for limits in ((enough, max(enough, hard)), (hard, hard)):
        with suppress(ValueError, OSError):  # the second is not refused: whoever may not raise it has it
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            break
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft
