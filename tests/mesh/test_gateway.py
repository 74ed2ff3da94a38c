"""Clients outside come by a balancer and a gateway: the application sees them, where the gateway is named as one."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshtx.net.redirect import RedirectRules
from tests.mesh import teller
from tests.mesh.balancing import ask, haproxy, haproxy_tells, nginx
from tests.mesh.town import MARK, Program, Town, name, twistd, why_not

FORGED = "198.51.100.66"
LINE = rf"PROXY TCP4 {FORGED} 203.0.113.1 1 443\r\n"
REQUEST = r"GET / HTTP/1.0\r\n\r\n"

WAYS = {"named": 9001, "unnamed": 9002}
"""The gateway's port for each application."""


class Tale(SynchronousTestCase):
    skip = why_not("haproxy", "nginx")

    def setUp(self) -> None:
        self.town = Town([*WAYS, "gateway"], ["client", "balancer"])
        self.addCleanup(self.town.remove)
        self.at = self.town.addresses
        self.town.identity()
        self.sidecar("named", f"--gateways={name('gateway')}", "--proxy-protocol-to=8001")
        self.sidecar("unnamed", "--proxy-protocol-to=8001")
        for host in WAYS:
            self.town.redirect(host, RedirectRules(mark=MARK))
            haproxy(self.town, host, haproxy_tells(self.at[host], 8001), 8001)
        ways = [f"--outbound-forward={self.at['gateway']}:{port}={self.at[host]}:8001" for host, port in WAYS.items()]
        declared = f"--proxy-protocol-from={self.at['balancer']}=9001-9002"
        self.gateway = self.sidecar("gateway", *ways, declared, "--admin-plaintext-metrics")
        self.balancers()

    def sidecar(self, host: str, *options: str) -> Program:
        program = self.town.start(host, *twistd("meshproxy", *self.town.sidecar(host), *options))
        self.town.ready(program, host, 4191)
        return program

    def balancers(self) -> None:
        """Begin version 2 at ports 9101 and 9102, version 1 at 9201 and 9202."""
        gateway, balancer = self.at["gateway"], self.at["balancer"]
        second = first = ""
        for port in WAYS.values():
            second += f"listen l{port}\n mode tcp\n bind {balancer}:{port + 100}\n"
            second += f" server gateway {gateway}:{port} send-proxy-v2\n"
            first += f"server {{ listen {balancer}:{port + 200}; proxy_pass {gateway}:{port}; proxy_protocol on; }}\n"
        haproxy(self.town, "balancer", second, 9101)
        nginx(self.town, "balancer", f"stream {{\n{first}}}\n", 9201)

    def ways(self, host: str) -> list[tuple[str, int]]:
        """Return where clients connect: to the balancers, or to the gateway itself."""
        port = WAYS[host]
        return [(self.at["balancer"], port + 100), (self.at["balancer"], port + 200), (self.at["gateway"], port)]

    def shown(self, tap: Program, src: str) -> dict[str, Any]:
        """Return what a tap shows of a client."""
        tap.says(f'"{src}"')
        return next(line for line in map(json.loads, tap.lines[1:]) if line["src"] == src)

    def test_the_application_sees_who_comes_by_a_gateway_that_is_named(self) -> None:
        tap = self.town.tap("named", options=["-o", "json"])
        client, server = self.at["client"], self.at["named"]
        for address, port in self.ways("named"):
            told = ask(self.town, "client", address, port)
            self.assertEqual(told, [client, told[-1], server, "8001", client, told[-1]], (address, port))
            line = self.shown(tap, f"{client}:{told[-1]}")
            self.assertEqual([line[key] for key in ("known", "tls", "peer")], ["mesh", "true", str(name("gateway"))])
        told = ask(self.town, "unnamed", server, 8001)
        peer = self.at["unnamed"]
        self.assertEqual(told, [peer, told[-1], server, "8001", peer, told[-1]])
        self.assertEqual(self.shown(tap, f"{peer}:{told[-1]}")["known"], "direct")

    def test_elsewhere_it_sees_the_gateway(self) -> None:
        tap = self.town.tap("unnamed", options=["-o", "json"])
        for address, port in self.ways("unnamed"):
            told = ask(self.town, "client", address, port)
            self.assertEqual((told[0], told[2:4]), (self.at["gateway"], [self.at["unnamed"], "8001"]))
            line = self.shown(tap, f"{told[0]}:{told[1]}")
            self.assertEqual((line["known"], line["peer"]), ("direct", str(name("gateway"))))

    def test_a_gateway_believes_no_stranger_whom_it_connects_for(self) -> None:
        for address, port in self.ways("named"):
            told = self.town.python("client", teller, address, str(port), LINE + REQUEST).answer()
            self.assertIn("400 Bad", told)
        gateway, port = self.at["gateway"], WAYS["named"]
        told = self.town.python("balancer", teller, gateway, str(port), REQUEST).answer()
        self.assertEqual(told, "reset")
        self.gateway.says(f"-> {self.at['named']}:8001 refused: proxy_header (no PROXY header)")
        key = 'tcp_refused_total{direction="outbound",reason="proxy_header"}'
        self.assertEqual(self.town.metrics("gateway")[key], 1)
