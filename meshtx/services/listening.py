"""Listeners of a program, and how it ends when it cannot start: one line on stderr, no trace.

twistd leaves root, the terminal and its standard error behind between making a service and starting it. So an
address is tried while the user still reads along (`check_free`), and bound while the process is still
privileged (`Listeners`).

A socket that the service manager passes is taken instead of binding its address, and one that was bound is given to the
manager to keep: so clients of a program that is restarted wait in the socket's backlog, and are not refused.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from prometheus_client import CollectorRegistry, Counter
from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IProtocolFactory
from twisted.logger import Logger

from meshtx.config_options import WRONG
from meshtx.errors import ConfigError, MeshtxError, said_by_system
from meshtx.net.listen import Port, listen
from meshtx.net.sockets import SocketOptions, set_mark
from meshtx.services.core_dumps import forgo_core_dumps
from meshtx.services.garbage import freeze_program
from meshtx.services.hang_up import outlive_hang_ups
from meshtx.services.service_manager import PassedSockets, ServiceManager
from meshtx.services.set_clock import outlive_set_clocks
from meshtx.wire.address import Address

T = TypeVar("T")

FAILED = 1
"""Exit status of a program that could not start."""

LONGEST_WAIT = 10.0
"""Seconds that clients wait for a restarted program to be ready; then those that need no certificate are served."""

_HINTS = {
    errno.EADDRINUSE: "stop what listens there, or choose another port",
    errno.EACCES: "choose a port from 1024 on, or start as root with --uid",
    errno.EADDRNOTAVAIL: "choose an address of this host",
}


@dataclass(frozen=True, slots=True)
class Listener:
    """An address to listen on.

    :param key: the setting that names it.
    :param needs_readiness: whoever connects before the program is ready would be refused.
    :param apart: its connections are watched by the reactor, so that a probe waits for one batch of the others' events
        and not for all of them.
    """

    key: str
    address: Address
    factory: IProtocolFactory
    needs_readiness: bool = False
    apart: bool = False


class Listeners(Service):
    """Listens while the program runs.

    :param reactor: Any: a reactor has no one type.
    :param registrar: watches their connections (`meshtx.net.poller.registrar`).
    :param registry: has a series for each listener, of the connections for which there was no descriptor.
    :param bound: told of each listener and its port, before anybody is accepted there.
    :param manager: passes sockets to the program, and keeps them for the next one.
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
        registrar: Any,
        bound: Callable[[Listener, int], None] | None = None,
        manager: ServiceManager | None = None,
    ) -> None:
        self._reactor = reactor
        self._registrar = registrar
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
        self._manager = manager or ServiceManager()
        self._waiting: list[Port] = []
        self._waited: IDelayedCall | None = None
        self.ports: list[Port] = []
        self._keys: dict[Port, str] = {}

    def privilegedStartService(self) -> None:
        """Bind everything, or end the program."""
        super().privilegedStartService()
        for each in self.wanted:
            passed = self._manager.passed.take(each.address)
            port = self._listen(each, passed)
            self.ports.append(port)
            self._keys[port] = each.key
            bound = Address(each.address.ip, port.getHost().port)
            if self._bound is not None:
                self._bound(each, bound.port)
            how = "listening" if passed is None else "listening, as before,"
            self.log.info("{setting}: {how} on {address}", setting=each.key, how=how, address=str(bound))
            if passed is None and each.address.port:  # whoever lets the system choose a port does not want it again
                self._manager.store(each.address, port.fileno())
            elif passed is not None and each.needs_readiness:
                port.stopReading()
                self._waiting.append(port)
        self._manager.close_unwanted()

    def _listen(self, listener: Listener, passed: socket.socket | None) -> Port:
        """Return a listening port, or end the program."""
        unserved = self._unserved.labels(listener.key).inc
        address, factory = listener.address, listener.factory
        watched_by = self._reactor if listener.apart else self._registrar
        try:
            return listen(watched_by, address, factory, self._options, unserved=unserved, passed=passed)
        except CannotListenError as error:
            problem = _cannot_listen(listener.key, address, error.socketError)
            self.log.critical("{problem}", problem=str(problem))
            end(self._program, problem, FAILED)

    def startService(self) -> None:
        """Accept; where clients would be refused before the program is ready, within `LONGEST_WAIT`."""
        super().startService()
        if self._waiting:
            self._waited = self._reactor.callLater(LONGEST_WAIT, self._accept_anyway)

    def became_ready(self) -> None:
        """Accept who has waited for the program to be ready."""
        if self._waited is not None:
            call, self._waited = self._waited, None
            call.cancel()
        waiting, self._waiting = self._waiting, []
        for port in waiting:
            port.startReading()

    def _accept_anyway(self) -> None:
        self._waited = None
        self.log.warn("not ready after {seconds:g} s: who needs a certificate is refused", seconds=LONGEST_WAIT)
        self.became_ready()

    def stopService(self) -> Deferred[Any]:
        """Accept nothing more; connections stay."""
        super().stopService()
        self._waiting = []
        self.became_ready()  # nobody waits any more
        return self.close(self._keys.values())

    def of(self, keys: Container[str]) -> list[Port]:
        """Return the open ports of these settings."""
        return [port for port in self.ports if self._keys[port] in keys]

    def close(self, keys: Container[str]) -> Deferred[Any]:
        """Accept nothing more at the ports of these settings; connections stay."""
        closing = self.of(keys)
        self.ports = [port for port in self.ports if port not in closing]
        return gatherResults([maybeDeferred(port.stopListening) for port in closing])


def check_free(key: str, address: Address, passed: PassedSockets | None = None) -> None:
    """Try to listen on an address, and leave it again; one on which a passed socket listens is ours.

    :raises ConfigError: it cannot be had.
    """
    if passed is not None and address in passed:
        return
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
    reactor.callWhenRunning(freeze_program)
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
