"""The demo's mesh: its certificate authority, its sidecars, its services, on any ground."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from meshtx.demo.ground import Ground
from meshtx.demo.lab import Lab, LabError, wait_until
from meshtx.demo.plan import (
    EMOJI,
    IDENTITY,
    NAMESPACE,
    OPERATOR,
    SCOPE,
    SERVERS,
    WORKLOADS,
    Workload,
    directory,
    examples,
)
from meshtx.demo.verdict import Counts
from meshtx.identity import ca_folder
from meshtx.pki.authority import Authority
from meshtx.pki.csr import make_csr, parse_csr
from meshtx.pki.issuer import make_issuer, make_root
from meshtx.pki.keys import key_to_pem, new_key
from meshtx.supervisor.processes import TWISTD
from meshtx.wire.ports import PROXY_ADMIN

READY = 30.0
"""Seconds for a program to be ready."""


class Break(StrEnum):
    """What can be broken on purpose, to see the demo fail."""

    PLAINTEXT = "plaintext"
    """The directory does not know that emoji is meshed."""
    WRONG_CA = "wrong-ca"
    """Emoji's sidecar has its certificate from another authority."""
    NO_PROXY = "no-proxy"
    """Emoji has no sidecar, although the directory says so."""


class Mesh:
    """Starts the parts of the mesh, one after another, each waited for."""

    def __init__(self, lab: Lab, ground: Ground, broken: Break | None) -> None:
        self._lab = lab
        self._ground = ground
        self._broken = broken
        self._folder = lab.folder
        self._examples = examples()
        self.tokens: list[bytes] = []
        """Every token that was handed out; none may cross the wire in clear."""

    @property
    def meshed(self) -> tuple[Workload, ...]:
        """The workloads that are to have a sidecar."""
        return tuple(workload for workload in WORKLOADS if workload.meshed)

    def start_identity(self) -> None:
        """Make an authority, hand out a token for each workload, and start the identity service."""
        now = datetime.now(UTC)
        ca_folder.init(self._folder / "ca", SCOPE, now)
        for account in [*(workload.name for workload in self.meshed), OPERATOR.service_account]:
            token = ca_folder.create_token(self._folder / "ca", NAMESPACE, account, time.time())
            self.tokens.append(token.encode())
            self._write(f"{account}.token", token)
        address = self._ground.addresses["identity"]
        options = ["--listen", f"{address}:8080", "--admin-listen", f"{address}:9990"]
        options += ["--issuer", f"{self._folder}/ca/issuer", "--token-key-file", f"{self._folder}/ca/token.pub"]
        process = self._twistd("identity", ["meshidentity", *options], "service")
        self._wait(process, "identity-service", self._ready("identity", 9990), "the identity service")

    def start_sidecars(self) -> None:
        """Start every sidecar, wait until all are ready, and turn the workloads' traffic to them."""
        proxied = [w for w in self.meshed if not (w is EMOJI and self._broken is Break.NO_PROXY)]
        started = [(workload, self._start_sidecar(workload)) for workload in proxied]
        for workload, process in started:
            self._wait(
                process,
                f"{workload.name}-sidecar",
                self._ready(workload.name, PROXY_ADMIN),
                f"sidecar of {workload.name}",
            )
            self._ground.redirect(workload)

    def start_services(self) -> None:
        """Start the example services, and wait until they listen."""
        for workload in SERVERS:
            counts = self._counts_file(workload)
            options = ["--listen", self._ground.listen(workload), "--counts", str(counts)]
            process = self._start_program(workload, options)
            self._wait(process, f"{workload.name}-service", counts.is_file, f"service {workload.name}")

    def start_client(self, workload: Workload, rounds: int) -> subprocess.Popen[bytes]:
        """Start a client's requests; it ends by itself."""
        return self._start_program(workload, ["--rounds", str(rounds), "--counts", str(self._counts_file(workload))])

    def start_tap(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a tap on every sidecar, and wait until it is open."""
        targets = [f"{w.name}.{NAMESPACE}@{self._ground.addresses[w.name]}" for w in self.meshed]
        process = self._start(
            "operator", [sys.executable, "-m", "meshtx", "tap", *targets, *self.tap_options(), *options], "tap"
        )
        self._wait(process, "operator-tap", lambda: "the tap is open" in self._lab.log("operator-tap"), "the tap")
        return process

    def tap_options(self) -> list[str]:
        """Return how the operator proves who that is."""
        return [
            *("--trust-anchors-file", f"{self._folder}/ca/ca-bundle.crt", "--name", str(OPERATOR)),
            *("--token-file", f"{self._folder}/operator.token"),
            *("--identity-address", f"{self._ground.addresses['identity']}:8080"),
        ]

    def counts(self, workload: Workload) -> Counts:
        """Return what a program has counted."""
        file = self._counts_file(workload)
        return json.loads(file.read_text()) if file.is_file() else {}

    def _counts_file(self, workload: Workload) -> Path:
        return self._folder / f"{workload.name}.counts"

    def _start_program(self, workload: Workload, options: Sequence[str]) -> subprocess.Popen[bytes]:
        by_name = {each.name: each for each in WORKLOADS}
        asks = [
            part for option, name in workload.asks for part in (option, self._ground.reach(workload, by_name[name]))
        ]
        program = str(self._examples / workload.program)
        return self._start(workload.name, [sys.executable, program, *options, *asks], "service")

    def _start_sidecar(self, workload: Workload) -> subprocess.Popen[bytes]:
        known = tuple(w for w in self.meshed if not (w is EMOJI and self._broken is Break.PLAINTEXT))
        mesh = directory(self._ground.addresses, known, self._ground.inbound_port(workload))
        options = ["--directory-file", str(self._write(f"{workload.name}.toml", mesh))]
        options += ["--tap-identity", str(OPERATOR)]
        options += self._ground.sidecar(workload)
        if workload is EMOJI and self._broken is Break.WRONG_CA:
            options += self._other_authority(workload)
        else:
            options += ["--name", str(workload.identity), "--token-file", f"{self._folder}/{workload.name}.token"]
            options += ["--identity-address", f"{self._ground.addresses['identity']}:8080"]
            options += ["--identity-name", str(IDENTITY), "--trust-anchors-file", f"{self._folder}/ca/ca-bundle.crt"]
        return self._twistd(workload.name, ["meshproxy", *options], "sidecar")

    def _other_authority(self, workload: Workload) -> list[str]:
        """Return the options of a sidecar whose certificate an authority has issued that nobody else trusts."""
        now, hour, key = datetime.now(UTC), timedelta(hours=1), new_key()
        root_key, root = make_root(SCOPE, now, hour)
        authority = Authority(make_issuer(root_key, root, SCOPE, now, hour), hour)
        chain = authority.issue(parse_csr(make_csr(key, workload.identity)), workload.identity, now)
        pem = "".join(each.public_bytes(Encoding.PEM).decode() for each in (chain.leaf, *chain.intermediates))
        ours = (self._folder / "ca" / "ca-bundle.crt").read_text()
        return [
            *("--certificate-file", str(self._write("other.crt", pem))),
            *("--key-file", str(self._write("other.key", key_to_pem(key).decode()))),
            *("--trust-anchors-file", str(self._write("both.crt", ours + root.public_bytes(Encoding.PEM).decode()))),
        ]

    def _ready(self, host: str, port: int) -> Callable[[], bool]:
        url = f"http://{self._ground.addresses[host]}:{port}/ready"

        def ready() -> bool:
            asked = self._ground.start(host, ["curl", "-sf", "-o", "/dev/null", url], log="ready")
            return asked.wait() == 0

        return ready

    def _wait(self, process: subprocess.Popen[bytes], log: str, fact: Callable[[], bool], what: str) -> None:
        """Wait for a fact of a program that must not end before.

        :raises LabError: it did; the message has its last words.
        """

        def there() -> bool:
            if process.poll() is not None:
                raise LabError(f"{what} ended with status {process.returncode}: {self._lab.log(log)[-800:]}")
            return fact()

        wait_until(there, what, READY)

    def _twistd(self, host: str, options: Sequence[str], log: str) -> subprocess.Popen[bytes]:
        return self._start(host, [*TWISTD, "--nodaemon", "--pidfile=", *options], log)

    def _start(self, host: str, argv: Sequence[str], log: str) -> subprocess.Popen[bytes]:
        return self._ground.start(host, argv, log=log)

    def _write(self, name: str, text: str) -> Path:
        path = self._folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path
