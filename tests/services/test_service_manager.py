from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshtx.services.service_manager import PassedSockets, ServiceManager
from meshtx.wire.address import Address


def listener(ip: str = "127.0.0.1", *, v6only: bool = True) -> socket.socket:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    sock = socket.socket(family)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    sock.bind((ip, 0))
    sock.listen()
    return sock


def address_of(sock: socket.socket) -> Address:
    return Address.of(*sock.getsockname()[:2])


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


class ListeningManager:
    """The manager's end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._socket.setblocking(False)
        self.close = self._socket.close

    def heard(self) -> list[tuple[str, int]]:
        """Return the messages that have come, each with how many descriptors it had."""
        messages = []
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(self._socket, 4096, 16)
            except BlockingIOError:
                return messages
            messages.append((message.decode(), len(descriptors)))
            for each in descriptors:
                os.close(each)


class ManagerTests(SynchronousTestCase):
    def manager(self, address: str = "") -> tuple[ListeningManager, str]:
        folder = tempfile.TemporaryDirectory()  # a path of trial's is too long for a socket's
        self.addCleanup(folder.cleanup)
        address = address or str(Path(folder.name, "notify"))
        manager = ListeningManager(address)
        self.addCleanup(manager.close)
        return manager, address

    def test_without_a_manager_nothing_is_said(self) -> None:
        program = ServiceManager.from_environment({})
        self.assertFalse(program.listens)
        self.assertFalse(program.notify("READY=1"))
        self.assertIsNone(program.watchdog)
        program.close_unwanted()

    def test_what_is_said_is_one_datagram_to_a_path_or_an_abstract_name(self) -> None:
        for given in ("", f"@meshtx-test-{os.getpid()}"):
            manager, address = self.manager(given)
            program = ServiceManager.from_environment({"NOTIFY_SOCKET": address})
            self.assertTrue(program.notify("READY=1", "STATUS=ready"))
            self.assertEqual(manager.heard(), [("READY=1\nSTATUS=ready", 0)])

    def test_other_kinds_of_address_are_passed_over(self) -> None:
        self.assertFalse(ServiceManager.from_environment({"NOTIFY_SOCKET": "vsock:2:1234"}).listens)

    def test_a_manager_that_has_gone_is_said_once_a_message_and_harms_nobody(self) -> None:
        manager, address = self.manager()
        program = ServiceManager.from_environment({"NOTIFY_SOCKET": address})
        manager.close()
        self.assertFalse(program.notify("READY=1"))

    def test_a_listening_socket_is_given_to_it_under_the_name_of_its_address(self) -> None:
        manager, address = self.manager()
        program = ServiceManager.from_environment({"NOTIFY_SOCKET": address})
        with listener() as sock:
            program.store(Address.parse("[::1]:4143"), sock.fileno())
            self.assertTrue(is_open(sock.fileno()))
        self.assertEqual(manager.heard(), [("FDSTORE=1\nFDNAME=tcp-..1-4143", 1)])

    def test_what_nobody_wants_is_closed_here_and_there(self) -> None:
        manager, address = self.manager()
        wanted, unwanted = listener(), listener()
        passed = PassedSockets([("a", os.dup(wanted.fileno())), ("b", os.dup(unwanted.fileno()))])
        where, elsewhere = address_of(wanted), address_of(unwanted)
        wanted.close()
        unwanted.close()
        program = ServiceManager(address, passed=passed)
        self.assertTrue(where in passed and elsewhere in passed)
        taken = passed.take(where)
        assert taken is not None
        self.addCleanup(taken.close)
        self.assertFalse(where in passed)
        program.close_unwanted()
        self.assertEqual(manager.heard(), [("FDSTOREREMOVE=1\nFDNAME=b", 0)])
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection((elsewhere.host, elsewhere.port))
        socket.create_connection((where.host, where.port)).close()

    def test_a_watchdog_is_of_the_process_that_it_names(self) -> None:
        for pid, seconds in ((str(os.getpid()), 5.0), ("", 5.0), ("1", None)):
            environ = {"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": pid}
            self.assertEqual(ServiceManager.from_environment(environ).watchdog, seconds)
        for nonsense in ("0", "soon", ""):
            self.assertIsNone(ServiceManager.from_environment({"WATCHDOG_USEC": nonsense}).watchdog)


class PassedTests(SynchronousTestCase):
    def passed(self, *socks: socket.socket) -> tuple[PassedSockets, list[int]]:
        descriptors = [os.dup(sock.fileno()) for sock in socks]
        for each in descriptors:
            os.set_inheritable(each, True)
        for sock in socks:
            sock.close()
        passed = PassedSockets([(f"s{number}", each) for number, each in enumerate(descriptors)])
        self.addCleanup(passed.close)
        return passed, descriptors

    def test_a_socket_is_found_by_its_address_and_once_only(self) -> None:
        for ip in ("127.0.0.1", "::1"):
            sock = listener(ip)
            address = address_of(sock)
            passed, (descriptor,) = self.passed(sock)
            self.assertFalse(os.get_inheritable(descriptor))
            self.assertIsNone(passed.take(Address(address.ip, 1)))
            taken = passed.take(address)
            assert taken is not None
            self.assertEqual(address_of(taken), address)
            taken.close()
            self.assertIsNone(passed.take(address))

    def test_what_does_not_listen_as_ours_do_is_not_taken_and_is_closed(self) -> None:
        bound, datagrams = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        for each in (bound, datagrams):
            each.bind(("127.0.0.1", 0))
        both = listener("::", v6only=False)
        addresses = [address_of(each) for each in (bound, datagrams, both)]
        passed, descriptors = self.passed(bound, datagrams, both)
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        with_pipe = PassedSockets([("pipe", reading)])
        self.assertEqual([address in passed for address in addresses], [False] * 3)
        self.assertEqual(passed.close(), [(f"s{n}", f"descriptor {each}") for n, each in enumerate(descriptors)])
        self.assertEqual(with_pipe.close(), [("pipe", f"descriptor {reading}")])
        self.assertFalse(any(map(is_open, [*descriptors, reading])))

    def test_the_environment_is_believed_only_if_it_is_meant_for_this_process(self) -> None:
        for pid in ("", "1"):
            passed = PassedSockets.from_environment({"LISTEN_PID": pid, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a"})
            self.assertEqual(passed.close(), [])
