"""The kernel's timer as a descriptor (timerfd_create(2)), which Python has of its own from 3.13 on.

It tells of each of its expirations to the microsecond, where epoll's own timeout knows milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import time

_LIBC = ctypes.CDLL(None, use_errno=True)


class _Setting(ctypes.Structure):
    """struct itimerspec: the interval, then the first expiration."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")]


class Timer:
    """Expires again and again; readable when it has.

    :param interval: nanoseconds.
    """

    def __init__(self, interval: int) -> None:
        self.descriptor = _checked(_LIBC.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        spec = divmod(interval, 10**9)
        self.begun = time.monotonic_ns()
        _checked(_LIBC.timerfd_settime(self.descriptor, 0, ctypes.byref(_Setting(*spec, *spec)), None))

    def expired(self) -> int:
        """Return how often it has since the last call."""
        return int.from_bytes(os.read(self.descriptor, 8), "little")


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
