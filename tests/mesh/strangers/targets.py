"""The programs that strangers come to, and their ports: real processes on loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from meshtx.demo.lab import wait_until
from meshtx.identity import ca_folder
from meshtx.pki.authority import Authority
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.csr import make_csr, parse_csr
from meshtx.pki.issuer import Issuer
from meshtx.pki.keys import key_to_pem, new_key
from meshtx.pki.name import MeshScope, Name
from tests.mesh.strangers import workload
from tests.mesh.town import PATIENCE, ROOT, Program, environment, twistd
from tests.ports import reserve_port

HOST = "127.0.0.1"
SCOPE = MeshScope()


@dataclass
class Target:
    """A program that runs.

    :param ports: its ports by name, at `HOST`; ``admin`` is among them and answers ``/live``.
    :param server_name: the name that it proves.
    :param without_tls: those of them that speak no TLS.
    :param serves: raises `AssertionError` if it does not do its work any more; ``None``: /live says it all.
    """

    program: Program
    folder: Path
    ports: dict[str, int]
    server_name: str
    others: list[subprocess.Popen[bytes]] = field(default_factory=list)
    serves: Callable[[], None] | None = None
    without_tls: tuple[str, ...] = ()

    @property
    def admin(self) -> tuple[str, int]:
        """Where ``/live`` is."""
        return HOST, self.ports["admin"]

    def stop(self) -> None:
        """End it, and what came with it."""
        for process in (self.program.process, *self.others):
            process.kill()
            process.wait()


_KEPT: list[socket.socket] = []


def free_ports(number: int) -> list[int]:
    """Return ports that are kept for targets until this process ends."""
    kept = [reserve_port(HOST) for _ in range(number)]
    _KEPT.extend(kept)
    return [each.getsockname()[1] for each in kept]


def make_authority(folder: Path) -> Path:
    """Return the folder of a new certificate authority (`meshtx.identity.ca_folder`)."""
    made = folder / "ca"
    if not made.exists():
        ca_folder.init(made, SCOPE, datetime.now(UTC))
        (folder / "ca.crt").write_bytes((made / ca_folder.BUNDLE).read_bytes())
        make_certificate(folder, "peer")
    return made


def make_certificate(folder: Path, account: str, namespace: str = "town") -> Name:
    """Write ``ACCOUNT.crt`` and ``ACCOUNT.key``, and return the name that they prove."""
    issuer, name, now = folder / "ca" / ca_folder.ISSUER, SCOPE.name(namespace, account), datetime.now(UTC)
    trust = TrustBundle.from_pem((folder / "ca.crt").read_bytes())
    authority = Authority(
        Issuer.from_pem((issuer / "tls.crt").read_bytes(), (issuer / "tls.key").read_bytes(), trust, now)
    )
    key = new_key()
    issued = authority.issue(parse_csr(make_csr(key, name)), name, now)
    chain = b"".join(each.public_bytes(Encoding.PEM) for each in (issued.leaf, *issued.intermediates))
    (folder / f"{account}.crt").write_bytes(chain)
    (folder / f"{account}.key").write_bytes(key_to_pem(key))
    return name


def start(folder: Path, *argv: str, admin: int, **variables: str) -> Program:
    """Start a program of twistd's, in an environment with more variables, and wait until its /live can be asked."""
    log = folder / f"{argv[0]}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            twistd(*argv), stdout=output, stderr=subprocess.STDOUT, env=environment() | variables
        )
    program = Program(argv[0], process, log)
    program.until(lambda: listens(admin), "it listens")
    return program


def listens(port: int) -> bool:
    """Tell whether somebody listens on a port."""
    try:
        socket.create_connection((HOST, port), PATIENCE).close()
    except OSError:
        return False
    return True


def proxy(folder: Path) -> Target:
    """Start a sidecar whose workload takes everything.

    ``workload``: plaintext to the workload. ``balancer``: likewise, behind a PROXY header. ``inbound``: where peers of
    the mesh come in. ``tap`` and ``admin``: its own.
    """
    make_authority(folder)
    name = make_certificate(folder, "web")
    behind, *free = free_ports(6)
    ports = dict(zip(("workload", "balancer", "inbound", "tap", "admin"), free, strict=True))
    argv = [sys.executable, "-m", workload.__name__, HOST, str(behind)]
    server = subprocess.Popen(argv, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)
    program = start(
        folder,
        "meshproxy",
        *("--certificate-file", f"{folder}/web.crt", "--key-file", f"{folder}/web.key"),
        *("--trust-anchors-file", f"{folder}/ca.crt", "--outbound-listen="),
        *("--inbound-listen", f"{HOST}:{ports['inbound']}", "--tap-listen", f"{HOST}:{ports['tap']}"),
        *("--admin-listen", f"{HOST}:{ports['admin']}", "--admin-plaintext-metrics"),
        *("--tap-identity", str(SCOPE.name("town", "peer"))),
        "--inbound-forward",
        f"{HOST}:{ports['workload']}={HOST}:{behind},{HOST}:{ports['balancer']}={HOST}:{behind}",
        *("--proxy-protocol-from", f"{HOST}/32={ports['balancer']}"),
        admin=ports["admin"],
    )
    wait_until(lambda: listens(behind), "the workload listens", PATIENCE)
    return Target(program, folder, ports, str(name), [server], lambda: _says_hello(ports["workload"]))


def _says_hello(port: int) -> None:
    with socket.create_connection((HOST, port), PATIENCE) as connection:
        connection.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while data := connection.recv(4096):
            answer += data
            if answer.endswith(b"hello"):
                return
    raise AssertionError(f"the proxy does not serve any more: {answer!r}")
