from __future__ import annotations

import io
import os
import socket
import sys

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import TestCase

from meshtx.errors import ConfigError, CredentialsError
from meshtx.net.poller import Poller
from meshtx.net.sockets import SocketOptions
from meshtx.observe.metrics import Metrics
from meshtx.services import listening
from meshtx.services.garbage import freeze_program
from meshtx.services.hang_up import outlive_hang_ups
from meshtx.services.listening import FAILED, LONGEST_WAIT, WRONG, Listener, Listeners, check_free, check_mark, or_end
from meshtx.services.service_manager import PassedSockets, ServiceManager
from meshtx.wire.address import Address
from tests.net.test_listen import Exhausted
from tests.observe.cases import series


class Keeping(ServiceManager):
    """A manager that writes down what it is to keep."""

    def __init__(self, passed: PassedSockets) -> None:
        super().__init__(passed=passed)
        self.kept: list[tuple[Address, int]] = []

    def store(self, address: Address, descriptor: int) -> None:
        self.kept.append((address, descriptor))


class Telling(Factory):
    """Tells when a connection is accepted, and closes it."""

    def __init__(self, accepted: Deferred[str]) -> None:
        self.accepted = accepted

    def buildProtocol(self, _address: object) -> None:
        self.accepted.callback("accepted")


class ListenersTests(TestCase):
    def setUp(self) -> None:
        self.said = io.StringIO()
        self.reactor = MemoryReactor()
        self.patch(sys, "__stderr__", self.said)
        self.steadied: list[MemoryReactor] = []
        self.patch(listening, "outlive_set_clocks", self.steadied.append)
        self.forgone: list[tuple[object, ...]] = []
        self.patch(listening, "forgo_core_dumps", lambda *arguments: self.forgone.append(arguments))

    def occupied(self) -> Address:
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return Address.of("127.0.0.1", port.getHost().port)

    def listeners(
        self,
        *addresses: Address,
        factory: Factory | None = None,
        needs_readiness: bool = False,
        manager: ServiceManager | None = None,
    ) -> Listeners:
        made = [Listener("listen", address, factory or Factory(), needs_readiness) for address in addresses]
        self.metrics = Metrics()
        return Listeners(
            reactor, "program", made, SocketOptions(), self.metrics.registry, registrar=reactor, manager=manager
        )

    def manager(self) -> tuple[Keeping, Address]:
        """Return a manager, and where the socket listens that it passes and has itself as well."""
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        passed = PassedSockets([("a", os.dup(sock.fileno()))])
        self.addCleanup(passed.close)
        return Keeping(passed=passed), Address.of(*sock.getsockname())

    async def test_they_listen_from_the_privileged_start_to_the_stop(self) -> None:
        service = self.listeners(Address.parse("127.0.0.1:0"), Address.parse("[::1]:0"))
        service.privilegedStartService()
        service.startService()
        addresses = [Address.of(port.getHost().host, port.getHost().port) for port in service.ports]
        for address in addresses:
            with self.assertRaises(ConfigError):
                check_free("listen", address)
        await service.stopService()
        for address in addresses:
            check_free("listen", address)

    async def test_what_is_apart_is_watched_by_the_reactor(self) -> None:
        poller, anywhere = Poller(reactor), Address.parse("127.0.0.1:0")
        made = [Listener("listen", anywhere, Factory()), Listener("admin_listen", anywhere, Factory(), apart=True)]
        service = Listeners(reactor, "program", made, SocketOptions(), Metrics().registry, registrar=poller)
        service.privilegedStartService()
        service.startService()
        self.assertEqual(poller.getReaders(), service.ports[:1])
        await service.stopService()

    async def test_a_passed_socket_is_listened_on_and_a_bound_one_is_given_to_the_manager(self) -> None:
        manager, passed = self.manager()
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            bound = Address.of(*sock.getsockname())
        with self.assertRaises(ConfigError):
            check_free("listen", passed)
        check_free("listen", passed, manager.passed)
        service = self.listeners(passed, bound, Address.parse("127.0.0.1:0"), manager=manager)
        service.privilegedStartService()
        service.startService()
        ports = service.ports
        self.assertEqual([port.getHost().port for port in ports[:2]], [passed.port, bound.port])
        self.assertEqual(manager.kept, [(bound, ports[1].fileno())])
        self.assertEqual(ports[0].socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
        await service.stopService()
        socket.create_connection((passed.host, passed.port)).close()  # the manager has it still
        check_free("listen", bound)

    async def test_who_comes_before_a_restarted_program_is_ready_waits_for_it_within_a_bound(self) -> None:
        for seconds, ready in ((0.0, True), (LONGEST_WAIT, False)):
            manager, passed = self.manager()
            accepted: Deferred[str] = Deferred()
            clock = Clock()
            service = self.listeners(passed, manager=manager, factory=Telling(accepted), needs_readiness=True)
            service.privilegedStartService()
            self.patch(service, "_reactor", clock)  # behind the port, which needs a whole reactor
            service.startService()
            client = socket.create_connection((passed.host, passed.port))
            self.addCleanup(client.close)
            self.assertNotIn(service.ports[0], reactor.getReaders())
            clock.advance(seconds)
            if ready:
                service.became_ready()
            self.assertEqual(await accepted, "accepted")
            self.assertEqual(clock.getDelayedCalls(), [])
            service.became_ready()
            await service.stopService()

    async def test_a_program_that_ends_before_it_is_ready_accepts_nobody(self) -> None:
        manager, passed = self.manager()
        service = self.listeners(passed, manager=manager, needs_readiness=True)
        service.privilegedStartService()
        service.startService()
        (port,) = service.ports
        stopped = service.stopService()
        self.assertNotIn(port, reactor.getReaders())
        await stopped

    async def test_connections_for_which_there_is_no_descriptor_are_counted_from_0_on(self) -> None:
        service = self.listeners(Address.parse("127.0.0.1:0"))
        service.privilegedStartService()
        shown = 'meshtx_unserved_connections_total{listener="listen"}'
        self.assertEqual(series(self.metrics, shown), [f"{shown} 0.0"])
        port = service.ports[0]
        real, port.socket = port.socket, Exhausted(3)
        port.doRead()
        port.socket = real
        self.assertEqual(series(self.metrics, shown), [f"{shown} 3.0"])
        await service.stopService()

    async def test_an_address_that_cannot_be_had_ends_the_program_in_one_line(self) -> None:
        address = self.occupied()
        service = self.listeners(address)
        with self.assertRaises(SystemExit) as ended:
            service.privilegedStartService()
        self.assertEqual(ended.exception.code, FAILED)
        self.assertEqual(
            self.said.getvalue(),
            f"program: listen: cannot listen on {address}: address already in use; "
            "stop what listens there, or choose another port\n",
        )
        await service.stopService()

    def test_a_free_address_is_left_free(self) -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            address = Address.of("127.0.0.1", sock.getsockname()[1])
        for _ in range(2):
            check_free("listen", address)

    def test_an_address_of_another_host(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            check_free("listen", Address.parse("192.0.2.1:0"))
        self.assertEqual(
            str(caught.exception),
            "listen: cannot listen on 192.0.2.1:0: cannot assign requested address; choose an address of this host",
        )

    def test_a_mark_that_may_not_be_set_is_not_told_of_an_address(self) -> None:
        def refuse(_sock: socket.socket, options: SocketOptions) -> None:
            if options.mark == 7:
                raise PermissionError(1, "Operation not permitted")

        self.patch(listening, "set_mark", refuse)
        check_mark(None)
        check_mark(8)
        self.assertEqual(
            str(self.assertRaises(ConfigError, check_mark, 7)),
            "mark: cannot be set on a socket: operation not permitted; give the capability NET_ADMIN, "
            "or tell the proxy's connections apart by its user or group instead",
        )

    def test_who_is_to_mend_it_decides_the_exit_status(self) -> None:
        def fail(error: Exception) -> None:
            raise error

        self.assertEqual(or_end("program", self.reactor, lambda: "made"), "made")
        self.assertEqual(
            self.reactor.whenRunningHooks, [(outlive_hang_ups, (self.reactor,), {}), (freeze_program, (), {})]
        )
        self.assertEqual((self.steadied, self.forgone), ([self.reactor], [()]))
        for error, status in ((ConfigError("a", "is wrong", "mend it"), WRONG), (CredentialsError("expired"), FAILED)):
            with self.assertRaises(SystemExit) as ended:
                or_end("program", self.reactor, lambda error=error: fail(error))
            self.assertEqual(ended.exception.code, status)
        self.assertEqual(self.said.getvalue(), "program: a: is wrong; mend it\nprogram: expired\n")
        with self.assertRaises(ZeroDivisionError):
            or_end("program", self.reactor, lambda: 1 // 0)

    def test_without_a_standard_error_the_status_has_to_do(self) -> None:
        self.patch(sys, "__stderr__", None)
        with self.assertRaises(SystemExit):
            or_end("program", self.reactor, lambda: check_free("listen", self.occupied()))
