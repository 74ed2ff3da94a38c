"""Bytes that no protocol explains: much of them, both ways, half-closed, cut off, or not read."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.mesh import bytes_peer
from tests.mesh.town import REACTOR, TRANSPORTS, Program, Town, why_not

PORT = 4444
MANY = 100_000_000
LIMIT = 1 << 20
"""Bytes by which a connection may let a proxy grow."""


class Case(SynchronousTestCase):
    skip = why_not()
    reactor = REACTOR
    transports = TRANSPORTS

    def setUp(self) -> None:
        self.town = Town(["client", "server"], reactor=self.reactor, transports=self.transports)
        self.addCleanup(self.town.remove)
        self.town.identity()
        self.town.directory(f"opaque_ports = [{PORT}]")
        self.proxies = self.town.sidecars()

    def serve(self, *doing: str) -> Program:
        return self.town.python("server", bytes_peer, "listen", "0.0.0.0", str(PORT), *doing, ready="listening")

    def connect(self, *doing: str) -> Program:
        return self.town.python("client", bytes_peer, "connect", self.town.addresses["server"], str(PORT), *doing)

    def last(self, program: Program) -> dict[str, object]:
        return json.loads(program.lines[-1])


class WholeTests(Case):
    def test_100_mb_both_ways_at_once_arrive_as_they_were_sent(self) -> None:
        server = self.serve("exchange", str(MANY))
        client = self.connect("exchange", str(MANY))
        client.answer(120)
        server.says("size")
        self.assertExchanged(self.last(client), self.last(server), MANY, MANY)

    def test_a_half_closed_exchange_gets_its_whole_answer(self) -> None:
        server = self.serve("answer", "5000000")
        client = self.connect("exchange", "100000")
        client.answer()
        self.assertExchanged(self.last(client), self.last(server), 100_000, 5_000_000)

    def assertExchanged(self, client: dict[str, object], server: dict[str, object], up: int, down: int) -> None:
        """Check that each end has read what the other has sent."""
        self.assertEqual((client["sent"], up), (server["received"], server["size"]))
        self.assertEqual((server["sent"], down), (client["received"], client["size"]))


class CutTests(Case):
    """An answer that is cut off is a reset, and never looks whole."""

    def test_by_the_death_of_the_server_s_proxy(self) -> None:
        self.assertResetBy("server")

    def test_by_the_death_of_the_client_s_proxy(self) -> None:
        self.assertResetBy("client")

    def assertResetBy(self, host: str) -> None:
        """Check that both ends see a reset when the proxy there is killed."""
        server = self.serve("part", "1000000")
        client = self.connect("read", "1000000")
        client.says("read")
        self.proxies[host].signal(signal.SIGKILL)
        client.answer()
        self.assertEqual(client.lines, ["read", "reset"])
        server.says("reset")


class StoppedReaderTests(Case):
    """Whatever is offered, a connection costs each proxy less than a megabyte."""

    connections = 20

    def test_a_server_that_does_not_read(self) -> None:
        self.serve("hold")
        self.assertBounded(lambda: self.connect("push", str(self.connections)))

    def test_a_client_that_does_not_read(self) -> None:
        server = self.serve("push", str(self.connections))

        def begin() -> Program:
            self.connect("hold", str(self.connections))
            return server

        self.assertBounded(begin)

    def assertBounded(self, begin: Callable[[], Program]) -> None:
        """Check how much the proxies have grown once nothing goes any more.

        :param begin: begins, and returns the program that sends.
        """
        before = {host: proxy.memory() for host, proxy in self.proxies.items()}
        sender = begin()
        sender.says("stuck at")
        offered = re.search(r"stuck at (\d+) bytes", sender.log)
        assert offered
        self.assertGreater(int(offered[1]), self.connections * LIMIT)
        grown = {host: (proxy.memory() - before[host]) / self.connections for host, proxy in self.proxies.items()}
        self.assertEqual({host: each for host, each in grown.items() if each > LIMIT}, {})
