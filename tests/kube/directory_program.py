"""``twistd meshdirectory`` in this process, before a real API server, and sidecars' directories that follow it."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.tcp import Client as TcpClient

from meshtx.config_load import load
from meshtx.directory.remote import RemoteDirectory
from meshtx.kube.cluster_watch import NEEDED, OPTIONAL
from meshtx.kube.settings.directory import DirectoryConfig
from meshtx.net.contexts import Contexts
from meshtx.pki.name import Name
from meshtx.rpc.connect import Connection, Connector
from meshtx.services.directory import DirectoryProgram, make
from tests.kube.case import ISSUER, KubeTestCase
from tests.net.certificates import Ca, make_leaf
from tests.services.directory_files import CA, DIRECTORY, flags, write_files

RULES = [
    {"apiGroups": [each.group], "resources": [each.name], "verbs": ["get", "list", "watch"]}
    for each in (*NEEDED, OPTIONAL)
]
"""What a ClusterRole must allow."""


class DirectoryProgramCase(KubeTestCase):
    prepared = False
    """Whether the files are written."""

    async def setUp(self) -> None:
        await super().setUp()
        self.folder = Path(self.mktemp()).absolute()  # noqa: ASYNC240  # looks at no file
        self.folder.mkdir(parents=True)
        self.addCleanup(self.settle)

    async def settle(self) -> None:
        """Wait until what was closed is closed on both sides."""
        while any(isinstance(each, TcpClient) for each in reactor.getReaders()):
            await deferLater(reactor, 0.001)

    async def credentials(self, rules: list[dict[str, Any]]) -> None:
        """Write what the kubelet and an operator would: a token and an authority for the API, a certificate."""
        await self.account("directory", rules, cluster=True)
        token = await self.token(self.namespace, "directory", ISSUER)
        write_files(self.folder, token, self.cluster.ca_file.read_text())
        self.prepared = True

    def config(self, **changed: str) -> DirectoryConfig:
        return load(DirectoryConfig, flags(self.folder, **changed), {})

    async def start(self, rules: list[dict[str, Any]] = RULES, **changed: str) -> DirectoryProgram:
        """Start the program; its ports are `self.port`, `self.tap_port` and `self.admin`."""
        if not self.prepared:
            await self.credentials(rules)
        host, _, port = self.cluster.url.removeprefix("https://").rpartition(":")
        environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        program = make(reactor, self.config(**changed), environ)
        program.privilegedStartService()
        program.startService()
        self.addCleanup(self.stop, program)
        self.port, self.tap_port, self.admin = (port.getHost().port for port in program.listeners.ports)
        return program

    async def stop(self, program: DirectoryProgram) -> None:
        if program.running:
            await program.stopService()

    async def ready(self, program: DirectoryProgram) -> None:
        await self.wait_until(lambda: program.ready_reason() is None, what="readiness")

    def sidecar(self, name: Name, ca: Ca = CA, host: str = "127.0.0.1") -> RemoteDirectory:
        """Return the directory of a sidecar that follows the program.

        :param host: where that listens, which is the sidecar's own address too.
        """
        contexts = Contexts(make_leaf(ca, name), CA.trust)
        connector = Connector(reactor, host, self.port, DIRECTORY)

        def connect(contexts: Contexts) -> Deferred[Connection]:
            return ensureDeferred(connector.connect(contexts))

        directory = RemoteDirectory(connect, lambda: contexts, reactor, rng=Random(1), registry=CollectorRegistry())
        directory.startService()
        self.addCleanup(directory.stopService)
        return directory
