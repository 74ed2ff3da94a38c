"""What a program and the service manager that runs it, such as systemd, tell each other.

    manager ──▶ program    listening sockets from descriptor 3 on: LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES
    program ──▶ manager    READY=1, STATUS=, WATCHDOG=1, STOPPING=1, each a datagram to NOTIFY_SOCKET
    program ──▶ manager    FDSTORE=1 with a listening socket: kept over a restart, and passed to the next process

Specified in sd_listen_fds(3), sd_notify(3) and sd_pid_notify_with_fds(3).

Without a manager every call here does nothing. A message that the manager does not take is never waited for longer than
`PATIENCE`: a program serves its connections, whatever becomes of its manager.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.logger import Logger
from twisted.python.systemd import ListenFDs

from meshtx.wire.address import Address

PATIENCE = 1.0
"""Seconds for a message to be taken: the manager's queue may be full while it boots the machine."""

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class ServiceManager:
    """The manager that started this process, or nobody.

    :param address: NOTIFY_SOCKET, a path or ``@`` and a name in the abstract namespace; empty: there is no manager.
    :param watchdog: seconds within which the manager wants to hear of us again, ``None``: it does not.
    :param passed: the sockets that it passed to us.
    """

    log = Logger()

    def __init__(self, address: str = "", watchdog: float | None = None, passed: PassedSockets | None = None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog = watchdog
        self.passed = passed or PassedSockets(())

    @classmethod
    def of_this_process(cls) -> ServiceManager:
        """Return the manager that has started this process, and take what it says from the environment of children."""
        manager = cls.from_environment(_environment_at_start())
        for variable in _VARIABLES:
            os.environ.pop(variable, None)
        return manager

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> ServiceManager:
        """Return the manager that an environment tells of."""
        passed = PassedSockets.from_environment(environ)
        address = environ.get("NOTIFY_SOCKET", "")
        usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        watched = usec.isdecimal() and int(usec) and pid in {"", str(os.getpid())}
        return cls(address if address[:1] in {"/", "@"} else "", int(usec) / 1e6 if watched else None, passed)

    @property
    def listens(self) -> bool:
        """Whether there is a manager that wants to be told."""
        return bool(self._address)

    def notify(self, *assignments: str, descriptors: Sequence[int] = ()) -> bool:
        """Send one message, and return whether the manager has it.

        :param assignments: such as ``READY=1``.
        :param descriptors: go with it, and stay open here.
        """
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(PATIENCE)
                sock.connect(self._address)
                socket.send_fds(sock, ["\n".join(assignments).encode()], list(descriptors))
        except OSError as error:
            self.log.warn("the service manager does not take {what!r}: {error}", what=assignments[0], error=str(error))
            return False
        return True

    def store(self, address: Address, descriptor: int) -> None:
        """Have the manager keep a listening socket, and pass it to whatever process comes after this one."""
        self.notify("FDSTORE=1", f"FDNAME={_label(address)}", descriptors=[descriptor])

    def close_unwanted(self) -> None:
        """Close the passed sockets that nobody has taken, here and at the manager: their backlogs would fill."""
        for label, what in self.passed.close():
            self.log.info("{what} was passed to us, and no setting names it: closed", what=what)
            self.notify("FDSTOREREMOVE=1", f"FDNAME={label}")


class PassedSockets:
    """Sockets that were passed to this process: those that listen, by their addresses.

    :param named: each descriptor, and what the manager calls it.
    """

    def __init__(self, named: Sequence[tuple[str, int]]) -> None:
        self._listening: dict[Address, tuple[str, socket.socket]] = {}
        self._others: list[tuple[str, int]] = []
        for label, descriptor in named:
            os.set_inheritable(descriptor, False)
            sock = _listening_socket(descriptor)
            if sock is None or _address(sock) in self._listening:
                self._others.append((label, sock.detach() if sock else descriptor))
            else:
                self._listening[_address(sock)] = (label, sock)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> PassedSockets:
        """Take the sockets that an environment tells of."""
        labels = environ.get("LISTEN_FDNAMES", "").split(":")
        descriptors = ListenFDs.fromEnvironment(dict(environ)).inheritedDescriptors()  # none unless each has a label
        return cls(list(zip(labels, descriptors, strict=False)))

    def __contains__(self, address: Address) -> bool:
        return address in self._listening

    def take(self, address: Address) -> socket.socket | None:
        """Return the socket that listens on an address, ``None`` if none was passed; whoever takes it closes it."""
        _, sock = self._listening.pop(address, ("", None))
        return sock

    def close(self) -> list[tuple[str, str]]:
        """Close all that nobody has taken; return of each what the manager calls it and what it is."""
        closed = [(label, f"a listener on {address}") for address, (label, _) in self._listening.items()]
        closed += [(label, f"descriptor {descriptor}") for label, descriptor in self._others]
        for _, sock in self._listening.values():
            sock.close()
        for _, descriptor in self._others:
            os.close(descriptor)
        self._listening, self._others = {}, []
        return closed


def _environment_at_start() -> dict[str, str]:
    """Return the environment that this process was given: Twisted takes LISTEN_PID and LISTEN_FDS from `os.environ`."""
    try:
        given = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:  # no Linux, and so no systemd
        return dict(os.environ)
    variables = (os.fsdecode(each).partition("=") for each in given)
    return {key: value for key, _, value in variables if key}


def _listening_socket(descriptor: int) -> socket.socket | None:
    """Return a descriptor as the socket that it is, ``None`` where it is none that we could have made.

    One of IPv6 that takes IPv4 as well is none: its clients would come from addresses that no setting means.
    """
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:
        return None
    if (
        sock.family in _FAMILIES
        and sock.type == socket.SOCK_STREAM
        and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        and (sock.family == socket.AF_INET or sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
    ):
        return sock
    sock.detach()
    return None


def _address(sock: socket.socket) -> Address:
    host, port, *_ = sock.getsockname()
    return Address.of(host, port)


def _label(address: Address) -> str:
    """Return what the manager is to call the socket of an address; a name must not have colons (sd_notify(3))."""
    return f"tcp-{address.host}-{address.port}".replace(":", ".")
