"""Listeners of a program, and how it ends when it cannot start: one line on stderr, no trace.

twistd leaves root, the terminal and its standard error behind between making a service and starting it. So an
address is tried while the user still reads along (`check_free`), and bound while the process is still
privileged (`Listeners`).
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter
from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger

from meshtx.config_options import WRONG
from meshtx.errors import ConfigError, MeshtxError, said_by_system
from meshtx.net.listen import listen
from meshtx.net.sockets import SocketOptions, set_mark
from meshtx.services.core_dumps import forgo_core_dumps
from meshtx.services.hang_up import outlive_hang_ups
from meshtx.services.set_clock import outlive_set_clocks
from meshtx.wire.address import Address

T = TypeVar("T")

FAILED = 1
"""Exit status of a program that could not start."""

_HINTS = {
    errno.EADDRINUSE: "stop what listens there, or choose another port",
    errno.EACCES: "choose a port from 1024 on, or start as root with --uid",
    errno.EADDRNOTAVAIL: "choose an address of this host",
}


@dataclass(frozen=True, slots=True)
class Listener:
    """An address to listen on.

    :param key: the setting that names it.
    """

    key: str
    address: Address
    factory: IProtocolFactory


class Listeners(Service):
    """Listens while the program runs.

    :param reactor: Any: a reactor has no one type.
    :param registry: has a series for each listener, of the connections for which there was no descriptor.
    :param bound: told of each listener and its port, before anybody is accepted there.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        program: str,
        listeners: Sequence[Listener],
        options: SocketOptions,
        registry: CollectorRegistry,
        *,
        bound: Callable[[Listener, int], None] | None = None,
    ) -> None:
        self._reactor = reactor
        self._program = program
        self.wanted = tuple(listeners)
        self._options = options
        self._unserved = Counter(
            "meshtx_unserved_connections",
            "Connections closed as soon as they came, for lack of a descriptor.",
            ("listener",),
            registry=registry,
        )
        self._bound = bound
        self.ports: list[IListeningPort] = []

    def privilegedStartService(self) -> None:
        """Bind everything, or end the program."""
        super().privilegedStartService()
        for each in self.wanted:
            unserved = self._unserved.labels(each.key).inc
            try:
                port = listen(self._reactor, each.address, each.factory, self._options, unserved=unserved)
            except CannotListenError as error:
                problem = _cannot_listen(each.key, each.address, error.socketError)
                self.log.critical("{problem}", problem=str(problem))
                end(self._program, problem, FAILED)
            self.ports.append(port)
            bound = Address(each.address.ip, cast("IPv4Address | IPv6Address", port.getHost()).port)
            if self._bound is not None:
                self._bound(each, bound.port)
            self.log.info("{setting}: listening on {address}", setting=each.key, address=str(bound))

    def stopService(self) -> Deferred[Any]:
        """Accept nothing more; connections stay."""
        super().stopService()
        ports, self.ports = self.ports, []
        return gatherResults([maybeDeferred(port.stopListening) for port in ports])


def check_free(key: str, address: Address) -> None:
    """Try to listen on an address, and leave it again.

    :raises ConfigError: it cannot be had.
    """
    family = socket.AF_INET6 if address.ip.version == 6 else socket.AF_INET
    try:
        with socket.socket(family) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address.host, address.port))
            sock.listen(1)
    except OSError as error:
        raise _cannot_listen(key, address, error) from error


def check_mark(mark: int | None) -> None:
    """Try to give a socket the mark that all of ours are to have.

    :raises ConfigError: it cannot be set here.
    """
    try:
        with socket.socket() as sock:
            set_mark(sock, SocketOptions(mark=mark))
    except OSError as error:
        raise ConfigError(
            "mark",
            f"cannot be set on a socket: {said_by_system(error)}",
            "give the capability NET_ADMIN, or tell the proxy's connections apart by its user or group instead",
        ) from error


def or_end(program: str, reactor: Any, make: Callable[[], T]) -> T:
    """Return what is made, which outlives hang-ups and set clocks; what users can mend ends it with one sentence.

    :param reactor: that of the program. (Any: a reactor has no one type.)
    """
    forgo_core_dumps()
    outlive_set_clocks(reactor)
    reactor.callWhenRunning(outlive_hang_ups, reactor)
    try:
        return make()
    except ConfigError as error:
        end(program, error, WRONG)
    except MeshtxError as error:
        end(program, error, FAILED)


def end(program: str, error: MeshtxError, status: int) -> NoReturn:
    """End the program; the real standard error, for twistd has put the log in the other's place."""
    if sys.__stderr__ is not None:
        print(f"{program}: {error}", file=sys.__stderr__, flush=True)
    raise SystemExit(status)


def _cannot_listen(key: str, address: Address, error: BaseException) -> ConfigError:
    number = getattr(error, "errno", None) or 0
    problem = os.strerror(number).lower() if number else str(error)
    return ConfigError(key, f"cannot listen on {address}: {problem}", _HINTS.get(number, "choose another address"))
