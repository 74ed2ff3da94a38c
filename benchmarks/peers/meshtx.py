"""Our own pairs. Both proxies have the directory, metrics and the policy that lets in who is proven."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from benchmarks.peers.peer import INBOUND_PORT, OUTBOUND_PORT, Argv, Peer, Place
from meshtx.demo.mesh import TWISTD

ADMIN_PORT = 4191
TAP_PORT = 4190


@dataclass(frozen=True)
class Meshtx:
    """The command lines of a pair.

    :param opaque: nobody looks at the bytes, as the directory says of a port; else HTTP is observed.
    """

    opaque: bool = False

    def commands(self, place: Place) -> tuple[Argv, Argv]:
        """Return how the outbound and the inbound proxy are started."""
        directory = place.folder / f"{place.name}-{place.port}.toml"
        directory.write_text(
            (f"opaque_ports = [{place.port}]\n" if self.opaque else "")
            + f'[[workload]]\naddresses = ["{place.inbound}"]\nidentity = "{place.certificates["server_name"]}"\n'
        )
        common = ["--directory-file", str(directory), "--trust-anchors-file", place.certificates["ca"]]
        meant = f"{place.outbound}:{OUTBOUND_PORT}={place.inbound}:{place.port}"
        outbound = ["--inbound-listen=", "--outbound-listen=", f"--outbound-forward={meant}"]
        inbound = [f"--inbound-listen={place.inbound}:{INBOUND_PORT}", "--outbound-listen="]
        return (
            [*_proxy(place, "client", place.outbound), *common, *outbound],
            [*_proxy(place, "server", place.inbound), *common, *inbound, "--inbound-policy=all-authenticated"],
        )


def _proxy(place: Place, role: str, address: str) -> Argv:
    values = place.certificates
    return [
        *(*TWISTD, "--reactor", "meshtx", "--nodaemon", "--pidfile=", "meshproxy"),
        *("--certificate-file", values[f"{role}_chain"], "--key-file", values[f"{role}_key"]),
        *("--admin-listen", f"{address}:{ADMIN_PORT}", "--tap-listen", f"{address}:{TAP_PORT}"),
        *("--admin-plaintext-metrics", "--tap-identity", values["operator_name"]),
    ]


def _tap(place: Place) -> Argv:
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


def metrics(place: Place) -> str:
    """Return the URL of the outbound proxy's metrics."""
    return f"http://{place.outbound}:{ADMIN_PORT}/metrics"


PEERS = (
    Peer("meshtx", Meshtx(opaque=True).commands, metrics=metrics),
    Peer("meshtx-http", Meshtx().commands, metrics=metrics),
    Peer("meshtx-tap", Meshtx().commands, beside=_tap, metrics=metrics),
)
