"""Between two hosts, SYNs are lost: nobody waits for the kernel to send them again."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshtx.demo.lab import Host, Lab
from tests.mesh import bytes_peer, dial_many, web_server
from tests.mesh.town import PATIENCE, Program, Town, environment, why_not

CLIENT, SERVER = "10.1.0.1", "10.1.0.2"
RULES = """
table inet {table} {{
  chain prerouting {{
    type filter hook prerouting priority raw;
    tcp dport {port} tcp flags & (syn | ack) == syn numgen {which} counter drop
  }}
}}
"""


def rules(table: str, port: int, which: str) -> str:
    """Return the rules by which a host loses SYNs.

    :param which: by their number (`nft`'s ``numgen``).
    """
    return RULES.format(table=table, port=port, which=which)


def lost(host: Host, table: str = "lossy") -> int:
    """Count the SYNs that a host has lost."""
    found = re.search(r"counter packets (\d+)", host.run("nft", "list", "table", "inet", table).stdout)
    assert found
    return int(found[1])


class Tale(SynchronousTestCase):
    skip = why_not()

    def setUp(self) -> None:
        self.lab = Lab()
        self.lab.__enter__()
        self.addCleanup(self.lab.__exit__, None, None, None)
        self.lab.build_fabric()
        self.client = self.lab.add_host("client", CLIENT)
        self.server = self.lab.add_host("server", SERVER)
        listener = self.python("server", bytes_peer, "listen", SERVER, "80", "hold")
        listener.says("listening")

    def python(self, host: str, module: Any, *argv: str) -> Program:
        """Start a module of the tests on a host."""
        command = [sys.executable, "-m", module.__name__, *argv]
        process = self.lab.hosts[host].start(*command, log=module.__name__, env=environment())
        return Program(f"{module.__name__} on {host}", process, self.lab.folder / f"{host}-{module.__name__}.log")

    def dial(self, connections: int, at_once: int) -> dict[str, Any]:
        """Dial the server, and return what it cost."""
        dialling = self.python("client", dial_many, SERVER, "80", str(connections), str(at_once))
        said: dict[str, Any] = json.loads(dialling.answer(PATIENCE))
        self.assertEqual((said["connected"], said["failed"]), (connections, {}), said)
        return said

    def lose(self, which: str) -> None:
        """Lose SYNs from now on; see `rules`."""
        self.server.run("nft", "-f", "-", stdin=rules("lossy", 80, which))

    def test_a_connection_whose_first_syn_is_lost_is_made_by_the_hedge(self) -> None:
        self.lose("inc mod 2 0")  # of two SYNs the first
        said = self.dial(10, 1)
        self.assertEqual((said["hedges"]["won"], said["retransmits"], lost(self.server)), (10, 0, 10))

    def test_a_connection_whose_first_two_syns_are_lost_is_made_by_the_second_hedge(self) -> None:
        self.lose("inc mod 3 < 2")
        said = self.dial(5, 1)
        self.assertEqual((said["hedges"], said["retransmits"], lost(self.server)), ({"lost": 5, "won": 5}, 0, 10))

    def test_what_the_kernel_had_to_send_again_is_counted(self) -> None:
        self.lose("inc mod 4 < 3")  # both hedges as well
        said = self.dial(2, 1)
        self.assertEqual((said["hedges"], said["retransmits"], lost(self.server)), ({"lost": 4}, 2, 6))

    def test_of_many_at_once_with_each_tenth_syn_lost_all_connect(self) -> None:
        self.lose("inc mod 10 0")
        said = self.dial(300, 100)
        self.assertGreaterEqual(lost(self.server), 30)
        self.assertGreater(said["hedges"]["won"], 0)


class SidecarTale(SynchronousTestCase):
    """Between sidecars the network's SYNs are hedged, and those on the last step to the workload are not."""

    skip = why_not()

    def test_a_lost_syn_between_sidecars_is_hedged_and_one_to_the_workload_is_not(self) -> None:
        town = Town(["client", "server"])
        self.addCleanup(town.remove)
        town.identity()
        town.sidecars("--admin-plaintext-metrics")
        town.python("server", web_server, "0.0.0.0", "80", ready="serving")
        server = town.hosts("server")
        for port in (4143, 80):
            first = rules(f"lossy{port}", port, "inc mod 100 0")  # and not that of the spare leg, which comes later
            server.run("nft", "-f", "-", stdin=first)
        url = f"http://{town.addresses['server']}/"
        self.assertEqual(town.run("client", "curl", "-sS", "--noproxy", "*", "-m", "20", url), "hello")
        self.assertEqual((lost(server, "lossy4143"), lost(server, "lossy80")), (1, 1))
        self.assertEqual(hedges(town, "client")['{outcome="won"}'], 1)
        self.assertEqual(hedges(town, "server"), {})


def hedges(town: Town, host: str) -> dict[str, float]:
    """Return what the sidecar of a host has counted, by outcome."""
    series = "meshtx_connect_hedges_total"
    return {key.removeprefix(series): value for key, value in town.metrics(host).items() if key.startswith(series)}
