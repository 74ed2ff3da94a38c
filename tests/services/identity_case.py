"""What the tests of ``meshidentity`` share: an authority on disk, the service in this process, and clients."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.tcp import Client as TcpClient
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from meshtx.config import IdentityConfig
from meshtx.config_load import load
from meshtx.identity import ca_folder
from meshtx.identity.certify import CertifyArguments
from meshtx.identity.certify_client import CertifyClient
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.csr import make_csr
from meshtx.pki.keys import new_key
from meshtx.pki.name import MeshScope, Name
from meshtx.services.identity import IdentityService, make

SCOPE = MeshScope()
IDENTITY = SCOPE.name("meshtx", "meshtx-identity")
WEB = SCOPE.name("emojivoto", "web")


class IdentityCase(TestCase):
    """A case with an authority in `self.mesh`."""

    def setUp(self) -> None:
        self.mesh = Path(self.mktemp())
        ca_folder.init(self.mesh, SCOPE, datetime.now(UTC))
        self.addCleanup(self.settle)

    async def settle(self) -> None:
        """Wait until what was closed is closed on both sides."""
        while any(isinstance(each, TcpClient) for each in reactor.getReaders()):
            await deferLater(reactor, 0.001)

    def flags(self, **changed: str) -> dict[str, str]:
        return {
            "issuer": str(self.mesh / ca_folder.ISSUER),
            "token_key_file": str(self.mesh / ca_folder.TOKEN_PUBLIC),
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
        } | changed

    def start(self, **changed: str) -> IdentityService:
        """Start the service; its ports are `self.port` and `self.admin`."""
        service = make(reactor, load(IdentityConfig, self.flags(**changed), {}, None))
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)
        self.port, self.admin = (port.getHost().port for port in service.listeners.ports)
        return service

    @property
    def trust(self) -> TrustBundle:
        return TrustBundle.from_pem((self.mesh / ca_folder.BUNDLE).read_bytes())

    def token(self, name: Name = WEB) -> bytes:
        return ca_folder.create_token(self.mesh, name.namespace, name.service_account, time.time()).encode()

    def certify(self, port: int | None = None) -> Deferred[Any]:
        """Get a certificate by our own client."""
        client = CertifyClient(reactor, "127.0.0.1", port or self.port, IDENTITY)
        return client.certify(CertifyArguments(WEB, self.token(), make_csr(new_key(), WEB), self.trust))

    def grpcio(self, work: Callable[[grpc.Channel], Any], name: Name = IDENTITY) -> Deferred[Any]:
        """Run something with grpcio's client in a thread."""

        def run() -> Any:
            with self.channel(name) as channel:
                return work(channel)

        return deferToThread(run)

    def channel(self, name: Name = IDENTITY) -> grpc.Channel:
        """Return a channel of grpcio with a connection of its own."""
        credentials = grpc.ssl_channel_credentials(self.trust.to_pem())
        options = (("grpc.ssl_target_name_override", str(name)), ("grpc.use_local_subchannel_pool", 1))
        return grpc.secure_channel(f"127.0.0.1:{self.port}", credentials, options)
