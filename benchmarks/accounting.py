"""What a process has used: CPU time, memory, descriptors."""

from __future__ import annotations

import time
from pathlib import Path

_PROCESS_CLOCK = 2
"""CPUCLOCK_SCHED, for a whole process: see clock_getcpuclockid(3) and the kernel's posix-timers.h."""


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process, threads that have ended included.

    The clock counts nanoseconds, where /proc/PID/stat has ticks of 10 ms.
    """
    return time.clock_gettime((~pid << 3) | _PROCESS_CLOCK)


def kernel_seconds(pid: int) -> float:
    """Return how much of that was in the kernel, in ticks of 10 ms; which it was, the kernel looks now and then."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[12]) / 100


def resident(pid: int) -> int:
    """Return the resident memory of a process, bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


def descriptors(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def busy_seconds(cpu: int) -> float:
    """Return how long a CPU of this machine has been in use, by anything (ticks of 10 ms)."""
    (line,) = (each for each in Path("/proc/stat").read_text().splitlines() if each.startswith(f"cpu{cpu} "))
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / 100
