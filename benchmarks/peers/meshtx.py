"""Our own pairs. Both proxies have the directory, metrics and the policy that lets in who is proven."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from benchmarks.ground import Ground
from benchmarks.peers.peer import INBOUND_PORT, OUTBOUND_PORT, Argv, Peer, Place
from meshtx.supervisor.processes import TWISTD

ADMIN_PORT = 4191
TAP_PORT = 4190

_HANDSHAKES = re.compile(r'^meshtx_handshake_duration_seconds_count\{direction="outbound"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class Meshtx:
    """The command lines of a pair.

    :param opaque: nobody looks at the bytes, as the directory says of a port; else HTTP is observed.
    :param reactor: twistd's, by its name.
    :param changes: see `benchmarks.peers.twistd`.
    :param entries: how many workloads the directory has beside the one that is meant.
    """

    opaque: bool = False
    reactor: str = "meshtx"
    changes: tuple[str, ...] = ()
    entries: int = 0

    def commands(self, place: Place) -> tuple[Argv, Argv]:
        """Return how the outbound and the inbound proxy are started."""
        directory = place.folder / f"{place.name}-{place.port}.toml"
        directory.write_text(self.directory(place))
        common = ["--directory-file", str(directory), "--trust-anchors-file", place.certificates["ca"]]
        meant = f"{place.outbound}:{OUTBOUND_PORT}={place.inbound}:{place.port}"
        outbound = ["--inbound-listen=", "--outbound-listen=", f"--outbound-forward={meant}"]
        inbound = [f"--inbound-listen={place.inbound}:{INBOUND_PORT}", "--outbound-listen="]
        return (
            [*self._proxy(place, "client", place.outbound), *common, *outbound],
            [*self._proxy(place, "server", place.inbound), *common, *inbound, "--inbound-policy=all-authenticated"],
        )

    def directory(self, place: Place) -> str:
        """Return the document that both proxies follow."""
        lines = [f"opaque_ports = [{place.port}]\n"] if self.opaque else []
        identity = place.certificates["server_name"]
        addresses = [place.inbound, *(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(self.entries))]
        lines += [f'[[workload]]\naddresses = ["{each}"]\nidentity = "{identity}"\n' for each in addresses]
        return "".join(lines)

    def _proxy(self, place: Place, role: str, address: str) -> Argv:
        values = place.certificates
        changed = (sys.executable, "-m", "benchmarks.peers.twistd", ",".join(self.changes))
        return [
            *(changed if self.changes else TWISTD),
            *("--reactor", self.reactor, "--nodaemon", "--pidfile=", "meshproxy"),
            *("--certificate-file", values[f"{role}_chain"], "--key-file", values[f"{role}_key"]),
            *("--admin-listen", f"{address}:{ADMIN_PORT}", "--tap-listen", f"{address}:{TAP_PORT}"),
            *("--admin-plaintext-metrics", "--tap-identity", values["operator_name"]),
        ]


def tap(place: Place) -> Argv:
    """Return how the requests of both proxies are tapped."""
    values = place.certificates
    return [
        *(sys.executable, "-m", "meshtx", "tap"),
        *(
            f"{values['client_name']}@{place.outbound}:{TAP_PORT}",
            f"{values['server_name']}@{place.inbound}:{TAP_PORT}",
        ),
        *("--trust-anchors-file", values["ca"]),
        *("--certificate-file", values["operator_chain"], "--key-file", values["operator_key"]),
    ]


def handshakes(ground: Ground, place: Place) -> float:
    """Return how many handshakes the outbound proxy has made with peers."""
    found = _HANDSHAKES.search(ground.page(f"http://{place.outbound}:{ADMIN_PORT}/metrics"))
    return float(found[1]) if found else 0.0


PEERS = (
    Peer("meshtx", Meshtx(opaque=True).commands, handshakes=handshakes),
    Peer("meshtx-nested", Meshtx(opaque=True, reactor="default").commands, handshakes=handshakes),
    Peer("meshtx-http", Meshtx().commands, handshakes=handshakes),
    Peer("meshtx-tap", Meshtx().commands, beside=tap, handshakes=handshakes),
    Peer("meshtx-cold", Meshtx(opaque=True, changes=("one_shot",)).commands, handshakes=handshakes),
)
