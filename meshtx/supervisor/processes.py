"""Child processes of a supervisor: how they are started, reaped, and found to listen on a port.

The supervisor may be process 1 of a container, so whatever process of it ends is reaped, not only what was started
here. A child is sent SIGTERM by the kernel if its supervisor is killed (prctl(2), PR_SET_PDEATHSIG; Linux alone).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

TWISTD = (sys.executable, "-P", "-c", "from twisted.scripts.twistd import run; run()")
"""twistd for this interpreter, wherever its script has been installed; it imports nothing from the current folder."""

_OF_SERVICE_MANAGER = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
"""What systemd tells the service that it starts (sd_notify(3), sd_listen_fds(3)): the command, and not the proxy."""
_PR_SET_PDEATHSIG = 1
_LISTEN = "0A"
"""TCP_LISTEN as /proc/net/tcp has it (proc_net_tcp in the kernel's documentation)."""
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def start_proxy(argv: Sequence[str], mask: Collection[int], output: IO[bytes] | int) -> subprocess.Popen[bytes]:
    """Start a proxy in a session of its own, which no terminal's signal reaches.

    :param mask: its signal mask.
    :param output: the file or descriptor that gets its standard output and standard error.
    :raises OSError: it cannot be started.
    """
    return subprocess.Popen(  # noqa: S603 - our own program
        argv,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=_without(os.environ, _OF_SERVICE_MANAGER),
        start_new_session=True,
        preexec_fn=_prepare(mask),  # noqa: PLW1509 - there is one thread
    )


def start_command(argv: Sequence[str], mask: Collection[int], *, shares_group: bool) -> subprocess.Popen[bytes]:
    """Start a command as if it had been executed in our place: with our standard streams, descriptors and variables.

    :param mask: its signal mask.
    :param shares_group: it stays in our process group, as job control of a terminal needs it.
    :raises OSError: it cannot be executed.
    """
    return subprocess.Popen(  # noqa: S603 - the user's own command
        argv,
        close_fds=False,
        process_group=None if shares_group else 0,
        preexec_fn=_prepare(mask),  # noqa: PLW1509 - there is one thread
    )


def _without(environ: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in names}


def _prepare(mask: Collection[int]) -> Callable[[], None]:
    """Return what a child does between fork and exec."""
    parent = os.getpid()

    def prepare() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
            if os.getppid() != parent:  # it was killed before the kernel knew
                os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    return prepare


def reap() -> Iterator[tuple[int, int]]:
    """Return the id and the status of each child that has ended; that of a signal is its number, negative."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def has_terminal() -> bool:
    """Return whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def listens(pid: int, port: int) -> bool:
    """Return whether a child listens on a TCP port.

    It is believed where the system does not tell: without /proc, or of a program with file capabilities (proc(5)).
    """
    process = Path(f"/proc/{pid}")
    if not process.is_dir():
        return sys.platform != "linux"
    try:
        held = set(_descriptors(process))
        return any(f"socket:[{inode}]" in held for inode in _listening_inodes(process, port))
    except PermissionError:  # also of one that has ended and is not yet reaped
        return not _has_ended(process)
    except FileNotFoundError:  # it has ended meanwhile
        return False


def _has_ended(process: Path) -> bool:
    """Return whether a process has given up its memory, which it does first when it ends (``statm`` of proc(5))."""
    try:
        return (process / "statm").read_text().startswith("0 ")
    except (FileNotFoundError, ProcessLookupError):
        return True


def _descriptors(process: Path) -> Iterator[str]:
    """Return what the descriptors of a process are, such as ``socket:[1]``."""
    for descriptor in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # it has been closed meanwhile
            yield os.readlink(descriptor)  # noqa: PTH115 - of a socket it is no path


def _listening_inodes(process: Path, port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        file = process / "net" / table
        for row in file.read_text().splitlines()[1:] if file.exists() else ():
            fields = row.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]
