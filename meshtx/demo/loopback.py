"""A demo without namespaces: every host is an address of the loopback network, traffic comes by explicit listeners.

    vote-bot ─▶ .4:15002 its sidecar ══▶ .2:4204 the wire ══▶ .2:4143 web's sidecar ─▶ .2:8080 web
    outside ────────────────────────────▶ .2:4220 the wire ──▶ .2:4180 web's sidecar ─▶ .2:8080 web

It needs no privilege at all. Each client's sidecar has a directory of its own, in which its way to each server
leads over a port of the wire that is for this client alone: so the record says who connected.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from meshtx.demo import wire
from meshtx.demo.capture import Stream
from meshtx.demo.lab import Lab, wait_until
from meshtx.demo.plan import ADDRESSES, WORKLOADS, Workload, asked_by
from meshtx.demo.wire import Route
from meshtx.wire.address import Address
from meshtx.wire.ports import PROXY_ADMIN, PROXY_INBOUND, PROXY_OUTBOUND, PROXY_TAP

NETWORK = "127.77.0"
PLAINTEXT = 4180
"""Where a server's sidecar takes what is not for itself: the explicit inbound listener."""
WIRE = 4200
"""Ports of the wire: this and the last octet of the client's address."""
LOCAL = 15000
"""Ports where a workload's sidecar takes what the workload sends: this and the last octet of the server's address."""


class Loopback:
    """Addresses of the loopback network, explicit listeners, and a forwarder as the wire."""

    about = "each at a loopback address of its own, connected to its sidecar by explicit listeners"
    programs: tuple[str, ...] = ("curl",)

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._wire: subprocess.Popen[bytes] | None = None
        self.addresses = {name: f"{NETWORK}.{last}" for name, last in ADDRESSES.items()}

    def start(
        self, host: str, argv: Sequence[str], *, log: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """See `Ground.start`."""
        return self._lab.start(argv, log=f"{host}-{log}", env=env)

    def enter(self, host: str) -> str:  # noqa: ARG002 - all are here
        """See `Ground.enter`."""
        return ""

    def port(self, server: Workload) -> int:
        """See `Ground.port`: an ordinary user has none below 1024."""
        return 8000 + server.port % 1000 if server.port < 1024 else server.port

    def listen(self, workload: Workload) -> str:
        """See `Ground.listen`."""
        return f"{self.addresses[workload.name]}:{self.port(workload)}"

    def reach(self, client: Workload, server: Workload) -> str:
        """See `Ground.reach`."""
        if client.meshed:
            return f"{self.addresses[client.name]}:{LOCAL + ADDRESSES[server.name]}"
        return f"{self.addresses[server.name]}:{WIRE + ADDRESSES[client.name]}"

    def inbound_port(self, client: Workload) -> int:
        """See `Ground.inbound_port`."""
        return WIRE + ADDRESSES[client.name]

    def sidecar(self, workload: Workload) -> list[str]:
        """See `Ground.sidecar`."""
        own = self.addresses[workload.name]
        options = ["--inbound-listen", f"{own}:{PROXY_INBOUND}", "--outbound-listen", f"{own}:{PROXY_OUTBOUND}"]
        options += ["--tap-listen", f"{own}:{PROXY_TAP}", "--admin-listen", f"{own}:{PROXY_ADMIN}"]
        if workload.port:
            options += ["--inbound-forward", f"{own}:{PLAINTEXT}={self.listen(workload)}"]
        for server in asked_by(workload):
            options += ["--outbound-forward", f"{self.reach(workload, server)}={self.listen(server)}"]
        return options

    def redirect(self, workload: Workload) -> None:
        """See `Ground.redirect`: there is none."""

    def record(self) -> None:
        """See `Ground.record`."""
        routes, self._output = self._lab.folder / "routes.json", self._lab.folder / "wire.json"
        routes.write_text(json.dumps([[r.client, r.listen, r.connect] for r in self._routes()]))
        argv = [sys.executable, "-m", wire.__name__, str(routes), str(self._output)]
        self._wire = self.start("wire", argv, log="record")
        wait_until(self._output.with_suffix(".ready").is_file, "the wire", 10)

    def _routes(self) -> Iterator[Route]:
        for client in WORKLOADS:
            for server in asked_by(client):
                address = self.addresses[server.name]
                port = PROXY_INBOUND if client.meshed else PLAINTEXT
                yield Route(client.name, f"{address}:{WIRE + ADDRESSES[client.name]}", f"{address}:{port}")

    def recorded(self) -> list[Stream]:
        """See `Ground.recorded`."""
        assert self._wire is not None
        self._wire.terminate()
        self._wire.wait()
        seen = json.loads(self._output.read_text())
        return [
            Stream(Address.of(self.addresses[client], 0), Address.parse(server), bytes.fromhex(up), bytes.fromhex(down))
            for client, server, up, down in seen
        ]
