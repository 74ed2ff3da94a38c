"""Where a demo runs: the interface, and network namespaces as the ground that every Linux machine gives to root.

The services' own programs are the same on each ground; what differs is the addresses they are given, how their
traffic comes to the sidecar, and how the wire is recorded.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Protocol

from meshtx.demo import capture
from meshtx.demo.capture import Stream
from meshtx.demo.lab import Lab, wait_until
from meshtx.demo.plan import ADDRESSES, Workload
from meshtx.demo.privilege import in_user_namespace_of_its_own
from meshtx.net.redirect import RedirectRules, render
from meshtx.wire.ports import PROXY_INBOUND

MARK = 0x6D
"""The socket mark by which the redirect tells a sidecar's own connections from its workload's."""


class Ground(Protocol):
    """Places for the demo's processes, and the wire between them."""

    about: str
    """For a person: what separates the hosts, and how traffic comes to the sidecars."""
    programs: tuple[str, ...]
    """The programs of other packages that it needs."""
    addresses: dict[str, str]
    """By host, its IP address on the wire."""

    def inbound_port(self, client: Workload) -> int:
        """Return the port where, on the wire, meshed hosts take mutual TLS of this client."""

    def port(self, server: Workload) -> int:
        """Return the port of a server."""

    def enter(self, host: str) -> str:
        """Return what a person puts before a command to run it on a host, ``""`` or ending in a blank."""

    def start(
        self, host: str, argv: Sequence[str], *, log: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program on a host; its output goes to ``HOST-LOG.log`` in the lab's folder."""

    def listen(self, workload: Workload) -> str:
        """Return where the workload's program is told to listen."""

    def reach(self, client: Workload, server: Workload) -> str:
        """Return where a client's program is told that a server is."""

    def sidecar(self, workload: Workload) -> list[str]:
        """Return the listeners of a workload's sidecar, as options of meshproxy."""

    def redirect(self, workload: Workload) -> None:
        """Turn a workload's traffic to its sidecar, where that is not the sidecar's own doing."""

    def record(self) -> None:
        """Begin to record the wire."""

    def recorded(self) -> list[Stream]:
        """Stop recording, and return what crossed."""


class Namespaces:
    """Each host is a network namespace on a bridge; the kernel redirects (nftables), a raw socket records."""

    about = "each in a network namespace of its own, its traffic turned to the sidecar by nftables"
    programs: tuple[str, ...] = ("unshare", "nsenter", "ip", "nft", "curl")

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._capture: subprocess.Popen[bytes] | None = None
        self.addresses = {name: f"10.1.0.{last}" for name, last in ADDRESSES.items()}
        lab.build_fabric()
        for name, last in ADDRESSES.items():
            lab.add_host(name, self.addresses[name], f"fd00:1::{last:x}")

    def start(
        self, host: str, argv: Sequence[str], *, log: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """See `Ground.start`."""
        return self._lab.hosts[host].start(*argv, log=log, env=env)

    def enter(self, host: str) -> str:
        """See `Ground.enter`."""
        namespaces = "--user --preserve-credentials --net" if in_user_namespace_of_its_own() else "--net"
        return f"nsenter -t {self._lab.hosts[host].pid} {namespaces} "

    def inbound_port(self, client: Workload) -> int:  # noqa: ARG002 - the same for all
        """See `Ground.inbound_port`."""
        return PROXY_INBOUND

    def port(self, server: Workload) -> int:
        """See `Ground.port`."""
        return server.port

    def listen(self, workload: Workload) -> str:
        """See `Ground.listen`."""
        return f"0.0.0.0:{workload.port}"

    def reach(self, client: Workload, server: Workload) -> str:  # noqa: ARG002 - all clients see the same address
        """See `Ground.reach`."""
        return f"{self.addresses[server.name]}:{server.port}"

    def sidecar(self, workload: Workload) -> list[str]:  # noqa: ARG002 - all have the default listeners
        """See `Ground.sidecar`."""
        return ["--mark", str(MARK)]

    def redirect(self, workload: Workload) -> None:
        """See `Ground.redirect`."""
        self._lab.hosts[workload.name].run("nft", "-f", "-", stdin=render(RedirectRules(mark=MARK)))

    def record(self) -> None:
        """See `Ground.record`."""
        self._file = self._lab.folder / "wire.pcap"
        self._capture = self.start("fabric", [sys.executable, "-m", capture.__name__, str(self._file)], log="capture")
        wait_until(lambda: self._file.is_file() and self._file.stat().st_size > 0, "the capture", 10)

    def recorded(self) -> list[Stream]:
        """See `Ground.recorded`."""
        assert self._capture is not None
        self._capture.terminate()
        self._capture.wait()
        return capture.streams(self._file)
