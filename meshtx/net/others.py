"""Whether others than this process's user listen for TCP in its network namespace (proc(5), ``/proc/net/tcp``).

    sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode …
     0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 …

In a pod that is whether the workload is there still: its containers share the namespace and no process table, and none
runs as the proxy's user. The kernel lists those that listen first, so a line of another state ends the search: there
may be tens of thousands of connections.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))

_STATE, _UID = 3, 7
_LISTEN = "0A"
"""TCP_LISTEN (include/net/tcp_states.h)."""


def others_listen(tables: Iterable[Path] = TABLES) -> bool:
    """Say whether somebody does; where the kernel does not tell, nobody is seen."""
    return any(_has_others(each, str(os.geteuid())) for each in tables)


def _has_others(table: Path, own: str) -> bool:
    try:
        with table.open() as lines:
            next(lines, None)  # the heading
            for line in lines:
                fields = line.split()
                if fields[_STATE] != _LISTEN:
                    return False
                if fields[_UID] != own:
                    return True
    except OSError:  # no IPv6, or hidden (systemd's ProcSubset=)
        return False
    return False
