"""The cluster's directory and a sidecar's, one of them of the release before (docs/upgrades.md)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.threads import deferToThread

from meshtx.directory.target import Meshed
from meshtx.observe.flow import NoTls, NoTlsReason
from meshtx.wire.address import Address
from tests import release_before
from tests.identity.made import write_credentials
from tests.kube import finder
from tests.kube.directory_program import RULES, DirectoryProgramCase
from tests.kube.test_directory_program import MESHED, PROXY
from tests.mesh.town import Program, by_another, environment, twistd
from tests.net.certificates import make_leaf
from tests.pki.made import SCOPE
from tests.services.directory_files import CA, DIRECTORY, flags

_PORT = re.compile(r"TlsListener starting on (\d+)\n")


class SkewTests(DirectoryProgramCase):
    async def launch(self, what: str, command: Sequence[str], *, before: bool) -> Program:
        """Start a program of ours as a process, of the release before or of this one."""
        if before:
            command = by_another(await deferToThread(release_before.python), command)
        return self.started(what, command)

    def started(self, what: str, command: Sequence[str]) -> Program:
        host, _, port = self.cluster.url.removeprefix("https://").rpartition(":")
        cluster = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        said = self.folder / f"{what}.log"
        with said.open("wb") as output:
            process = subprocess.Popen(
                command, env={**environment(), **cluster}, stdout=output, stderr=subprocess.STDOUT
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return Program(what, process, said)

    async def serve(self, *, before: bool) -> str:
        """Start the cluster's directory, and return its port."""
        await self.credentials(RULES)
        options = [f"--{key.replace('_', '-')}={value}" for key, value in flags(self.folder).items()]
        program = await self.launch("directory", twistd("meshdirectory", *options), before=before)
        await deferToThread(program.until, lambda: _PORT.search(program.log) is not None, "its port")
        return _PORT.findall(program.log)[0]

    async def check(self, *, directory_before: bool) -> None:
        """See that an address is known as meshed, and as nobody's once its pod is gone."""
        await self.pod("web", "10.77.0.1", MESHED, initContainers=PROXY)
        port = await self.serve(before=directory_before)
        own = self.folder / "sidecar"
        own.mkdir()
        (own / "anchors.crt").write_text(CA.pem)
        write_credentials(own, make_leaf(CA, SCOPE.name(self.namespace, "default")))
        asked = (str(own), "127.0.0.1", port, str(DIRECTORY), "10.77.0.1:8080")
        sidecar = await self.launch(
            "sidecar", [sys.executable, str(Path(finder.__file__)), *asked], before=not directory_before
        )
        meshed = Meshed(SCOPE.name(self.namespace, "default"), Address.of("10.77.0.1", 4143))
        await deferToThread(sidecar.says, f"{meshed}\n")
        await self.delete_pod("web")
        await deferToThread(sidecar.says, f"{NoTls(NoTlsReason.NOT_DISCOVERED)}\n")
        self.assertEqual(next(each for each in sidecar.lines if each != "not ready"), str(meshed))

    async def test_sidecars_of_the_release_before(self) -> None:
        await self.check(directory_before=False)

    async def test_a_directory_of_the_release_before(self) -> None:
        await self.check(directory_before=True)
