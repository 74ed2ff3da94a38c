"""The way of a client from outside to a pod, past a node that translates addresses.

    client ──────────────▶ node ───────────────────────▶ pod      redirect, meshtx, application
    10.9.0.1 ... .40       10.9.0.201 ... .206           serial   redirect, the control, application
                                                         bare     application

The node does what kube-proxy does for a Service of type LoadBalancer (its nftables mode): it sends what comes to an
address of a Service to a pod. Under ``externalTrafficPolicy: Cluster`` it masquerades, so that the pod sees the node;
under ``Local`` the pod sees the client, and answers by way of the node, for it knows no other. The directory declares
the node, but for one address.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from meshtx.net.redirect import RedirectRules
from meshtx.pki.authority import Authority
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.csr import make_csr, parse_csr
from meshtx.pki.issuer import Issuer
from meshtx.pki.keys import key_to_pem, new_key
from tests.mesh.loadbalancer import application, asker, probers, serial_proxy
from tests.mesh.loadbalancer.ports import CLEAR_PORT, TLS_PORT
from tests.mesh.town import MARK, Program, Town, name

CLIENTS = [f"10.9.0.{last}" for last in range(1, 11)]
PROBERS = [f"10.9.0.{last}" for last in range(11, 41)]
_PREFIX = 24
PATIENCE = 1.0
"""Seconds that the control peeks at each connection."""


class Traffic(StrEnum):
    """``externalTrafficPolicy`` of a Service."""

    CLUSTER = "Cluster"
    LOCAL = "Local"
    UNDECLARED = "Undeclared"
    """Cluster, by way of an address of which the directory does not say that it is a node's."""


UNDECLARED = "10.1.0.200"
"""That address."""
_MARKS = {Traffic.CLUSTER: "meta mark set 0x4000 ", Traffic.UNDECLARED: "meta mark set 0x8000 ", Traffic.LOCAL: ""}


class Proxy(StrEnum):
    """What stands in front of the application, by the name of its pod."""

    MESHTX = "pod"
    SERIAL = "serial"
    NONE = "bare"
    """None: what the machine itself makes of it."""


SERVICES = {
    (Traffic.CLUSTER, Proxy.MESHTX): "10.9.0.201",
    (Traffic.LOCAL, Proxy.MESHTX): "10.9.0.202",
    (Traffic.CLUSTER, Proxy.SERIAL): "10.9.0.203",
    (Traffic.LOCAL, Proxy.SERIAL): "10.9.0.204",
    (Traffic.CLUSTER, Proxy.NONE): "10.9.0.205",
    (Traffic.UNDECLARED, Proxy.MESHTX): "10.9.0.206",
}


class Street:
    """A town with a client outside, a node, and pods behind it.

    :param patience: seconds that the control peeks at each connection.
    :param options: more of the sidecars'.
    """

    def __init__(self, patience: float = PATIENCE, meshed: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> None:
        self._patience = patience
        self._options = options
        self.town = Town([Proxy.MESHTX, *meshed], [Proxy.SERIAL, Proxy.NONE, "node", "client"])
        try:
            self._translate()
            self._programs()
        except BaseException:
            self.town.remove()
            raise

    def _translate(self) -> None:
        """Make the client and the node neighbours on a network of their own, and the node translate."""
        client, node = self.town.hosts("client"), self.town.hosts("node")
        client.run("ip", "-batch", "-", stdin="".join(f"addr add {each}/{_PREFIX} dev eth0\n" for each in _outside()))
        own = [UNDECLARED, *SERVICES.values()]
        node.run("ip", "-batch", "-", stdin="".join(f"addr add {each}/{_PREFIX} dev eth0\n" for each in own))
        for setting in ("ip_forward=1", "conf/all/send_redirects=0", "conf/eth0/send_redirects=0"):
            path, value = setting.split("=")
            node.run("/bin/sh", "-c", f"echo {value} >/proc/sys/net/ipv4/{path}")
        node.run("nft", "-f", "-", stdin=self._rules())
        for pod in Proxy:
            self.town.hosts(pod).run("ip", "route", "add", f"10.9.0.0/{_PREFIX}", "via", self.town.addresses["node"])

    def _rules(self) -> str:
        services = [
            f"ip daddr {address} {_MARKS[traffic]}dnat to {self.town.addresses[pod]}"
            for (traffic, pod), address in SERVICES.items()
        ]
        return "\n".join(
            [
                "table ip services {",
                "chain services { type nat hook prerouting priority dstnat;",
                *services,
                "}",
                "chain masquerading { type nat hook postrouting priority srcnat;",
                "meta mark 0x4000 masquerade fully-random",
                f"meta mark 0x8000 snat to {UNDECLARED} fully-random",
                "}",
                "}\n",
            ]
        )

    def _programs(self) -> None:
        self.town.identity()
        self.town.directory("[mesh]", f'nodes = ["{self.town.addresses["node"]}"]')
        self.sidecars = self.town.sidecars("--admin-plaintext-metrics", *self._options)
        shop = self.certificate("shop")
        for host in Proxy:
            self.town.python(host, application, *shop, ready="serving")
        control = [str(name(Proxy.SERIAL)), *self.certificate(Proxy.SERIAL), self.anchors, str(self._patience)]
        self.control = self.town.python(Proxy.SERIAL, serial_proxy, *control, ready="listening")
        self.town.redirect(Proxy.SERIAL, RedirectRules(mark=MARK))
        self.own = self.certificate("client")

    @property
    def anchors(self) -> str:
        """The file of the mesh's anchors."""
        return str(self.town.folder / "ca-bundle.crt")

    def certificate(self, account: str) -> tuple[str, str]:
        """Return the files of a new certificate of the mesh, and of its key."""
        now, key = datetime.now(UTC), new_key()
        files = [self.town.ca / "issuer" / file for file in ("tls.crt", "tls.key")]
        trust = TrustBundle.from_pem(Path(self.anchors).read_text())
        issuer = Issuer.from_pem(files[0].read_text(), files[1].read_text(), trust, now)
        issued = Authority(issuer).issue(parse_csr(make_csr(key, name(account))), name(account), now)
        chain = b"".join(each.public_bytes(Encoding.PEM) for each in (issued.leaf, *issued.intermediates))
        return (
            str(self.town.write(f"{account}.crt", chain.decode())),
            str(self.town.write(f"{account}.key", key_to_pem(key).decode())),
        )

    # What is done in the street.

    def silent(self, traffic: Traffic, proxy: Proxy, number: int) -> Program:
        """Hold silent connections until the program is stopped."""
        goals = self._goals(traffic, proxy)
        return self.town.python("client", probers, "silent", str(number), goals, *PROBERS, ready="holding")

    def probes(self, traffic: Traffic, proxy: Proxy) -> Program:
        """Probe until the program is stopped."""
        return self.town.python("client", probers, "probe", self._goals(traffic, proxy), *PROBERS, ready="probing")

    def _goals(self, traffic: Traffic, proxy: Proxy) -> str:
        address = SERVICES[traffic, proxy]
        return f"{address}:{TLS_PORT},{address}:{CLEAR_PORT}"

    def ask(
        self, traffic: Traffic, proxy: Proxy, *, seconds: float, every: float = 0.02, deadline: float = 3.0
    ) -> Program:
        """Measure by TLS; what the program writes is for `answers`."""
        times = [str(each) for each in (seconds, every, deadline)]
        files = [*self.own, self.anchors]
        mesh_name = "-" if proxy is Proxy.NONE else str(name(proxy))
        argv = ["tls", SERVICES[traffic, proxy], *times, mesh_name, *files, *CLIENTS]
        return self.town.python("client", asker, *argv)

    def seen(self, traffic: Traffic) -> set[tuple[str, str]]:
        """Return as what clients are known whom the pod sees, and by which address, as tap tells it."""
        tap = self.town.tap(Proxy.MESHTX, options=["-o", "json", "--proxy", "in", "--max-lines", "4"])
        answers(self.ask(traffic, Proxy.MESHTX, seconds=0.2, every=0.1))
        events = [json.loads(line) for line in tap.answer().splitlines() if line.startswith("{")]
        return {(event["known"], event["src"].rpartition(":")[0]) for event in events}

    def refused(self, reason: str) -> float:
        """Return how many connections the pod's proxy has refused for this reason."""
        key = f'tcp_refused_total{{direction="inbound",reason="{reason}"}}'
        return self.town.metrics(Proxy.MESHTX).get(key, 0)

    @contextmanager
    def besieged(self, traffic: Traffic, proxy: Proxy, silent: int) -> Iterator[None]:
        """A time in which silent connections are held, and probes come."""
        programs = [self.silent(traffic, proxy, silent), self.probes(traffic, proxy)]
        try:
            yield
        finally:
            for program in programs:
                program.stop()


def answers(program: Program, seconds: float = 60.0) -> list[asker.Answer]:
    """Return what an asker found, once it has ended."""
    lines: list[dict[str, Any]] = json.loads(program.answer(seconds))
    return [asker.Answer(**line) for line in lines]


def _outside() -> list[str]:
    return [*CLIENTS, *PROBERS]
