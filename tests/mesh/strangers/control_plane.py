"""The control plane's programs that strangers come to: identity, and a directory whose API server is away."""

from __future__ import annotations

from pathlib import Path

from meshtx.demo.lab import wait_until
from meshtx.identity import ca_folder
from tests.mesh.strangers.frames import END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, OPENING, frame
from tests.mesh.strangers.grpc import exchange
from tests.mesh.strangers.stranger import Stranger
from tests.mesh.strangers.targets import (
    HOST,
    SCOPE,
    Target,
    free_ports,
    listens,
    make_authority,
    make_certificate,
    start,
)
from tests.mesh.town import PATIENCE


def identity(folder: Path) -> Target:
    """Start the certificate authority. ``certify``: gRPC over one-way TLS."""
    made = make_authority(folder)
    ports = dict(zip(("certify", "admin"), free_ports(2), strict=True))
    program = start(
        folder,
        "meshidentity",
        *("--issuer", str(made / ca_folder.ISSUER), "--token-key-file", str(made / ca_folder.TOKEN_PUBLIC)),
        *("--listen", f"{HOST}:{ports['certify']}", "--admin-listen", f"{HOST}:{ports['admin']}"),
        admin=ports["admin"],
    )
    name = str(SCOPE.name("meshtx", "meshtx-identity"))
    return Target(
        program, folder, ports, name, serves=lambda: _speaks(folder, ports["certify"], name), without_tls=("admin",)
    )


def directory(folder: Path) -> Target:
    """Start a directory. ``follow``: gRPC over mutual TLS; ``taps``: HTTPS for API servers."""
    make_authority(folder)
    name = str(make_certificate(folder, "meshtx-directory", "meshtx"))
    (folder / "token").write_text("none")
    *served, away = free_ports(4)
    ports = dict(zip(("follow", "taps", "admin"), served, strict=True))
    program = start(
        folder,
        "meshdirectory",
        *("--name", name, "--trust-anchors-file", f"{folder}/ca.crt", "--kubernetes-folder", str(folder)),
        *("--certificate-file", f"{folder}/meshtx-directory.crt", "--key-file", f"{folder}/meshtx-directory.key"),
        *("--listen", f"{HOST}:{ports['follow']}", "--tap-listen", f"{HOST}:{ports['taps']}"),
        *("--admin-listen", f"{HOST}:{ports['admin']}"),
        admin=ports["admin"],
        KUBERNETES_SERVICE_HOST=HOST,
        KUBERNETES_SERVICE_PORT=str(away),
    )
    wait_until(lambda: listens(ports["follow"]), "the directory listens", PATIENCE)
    return Target(
        program, folder, ports, name, serves=lambda: _speaks(folder, ports["follow"], name), without_tls=("admin",)
    )


def _speaks(folder: Path, port: int, name: str) -> None:
    asked = OPENING + frame(HEADERS, END_HEADERS | END_STREAM, 1, GET) + frame(GOAWAY, payload=bytes(8))
    said = exchange(Stranger((HOST, port), folder, name), asked, ends=False)
    assert b"gRPC only" in said, f"it does not serve any more: {said!r}"
