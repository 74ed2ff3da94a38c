"""``twistd meshproxy`` with a directory's service: over mutual TLS, and at no more cost than with a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue

from meshtx.directory.remote import RemoteDirectory
from meshtx.net.contexts import Contexts
from meshtx.net.listen import listen
from meshtx.net.sockets import SocketOptions
from meshtx.observe.flow import Known, Mtls
from meshtx.observe.tap import FlowOpened
from meshtx.pki.credentials import Credentials
from meshtx.pki.name import Name
from meshtx.rpc.call import Call
from meshtx.rpc.messages import directory_pb2 as pb
from meshtx.rpc.methods import DIRECTORY_FIND, DIRECTORY_FOLLOW
from meshtx.rpc.server import RpcServer
from meshtx.rpc.tls_listener import TlsListener
from meshtx.services.proxy import ProxyService
from meshtx.wire.address import Address
from tests.directory.told import endpoint, network, table
from tests.net.certificates import VOTING, WEB, make_leaf
from tests.proxy.mesh import CA, CLIENT, SERVER, VOTING_LEAF, WEB_LEAF, Taps
from tests.proxy.talkers import Talker
from tests.services.test_proxy import ProxyCase

DIRECTORY = Name.parse("meshtx-directory.meshtx.serviceaccount.identity.meshtx.cluster.local")
SERVICE = "10.96.0.1:80"
BINARY = b"\0\1\2\3\4"
"""No detector takes it for the start of anything."""


class Directory:
    """A service over mutual TLS.

    :ivar peers: who follow; `own_ips`: what they say of themselves; `calls`: their streams.
    :ivar table: what they are told first.
    """

    def __init__(self, case: ProxyCase, credentials: Credentials) -> None:
        self.table = table("1", "127.0.0.0/8", "10.0.0.0/8")
        self.calls: list[Call] = []
        self.answers: dict[Address, pb.Answer] = {}
        self.peers: list[Name | None] = []
        self.own_ips: list[bytes] = []
        self.failures: list[str] = []
        contexts = Contexts(credentials, CA.trust)
        server = RpcServer({DIRECTORY_FOLLOW: self._follow, DIRECTORY_FIND: self._find}, reactor)  # type: ignore[arg-type]
        factory = TlsListener(
            server,
            lambda: contexts,
            reactor,  # type: ignore[arg-type]
            require_peer=True,
            failed=lambda error: self.failures.append(error.reason),
        )
        port = listen(reactor, Address.parse("127.0.0.1:0"), factory, SocketOptions())
        case.addCleanup(server.stop, 0)
        case.addCleanup(port.stopListening)
        self.address = f"localhost:{port.getHost().port}"

    async def _follow(self, request: pb.FollowRequest, call: Call) -> None:
        self.peers.append(call.peer)
        self.own_ips = list(request.own_ips)
        self.calls.append(call)
        call.send(pb.Update(table=self.table))
        await Deferred()

    async def _find(self, request: pb.FindRequest, _call: Call) -> pb.Answer:
        return self.answers[Address.of(".".join(map(str, request.address.ip)), request.address.port)]


class DirectoryTests(ProxyCase):
    def client(self, directory: Directory, forward: str) -> ProxyService:
        return self.start(CLIENT, WEB_LEAF, directory_address=directory.address, outbound_forward=forward)

    async def ready(self, client: ProxyService) -> None:
        while client.ready_reason() is not None:
            await deferLater(reactor, 0.001)  # type: ignore[arg-type]

    async def test_connections_go_where_it_says(self) -> None:
        directory = Directory(self, make_leaf(CA, DIRECTORY))
        app, server = self.application(), self.start(SERVER, VOTING_LEAF)
        inbound = self.port(server, "inbound_listen")
        gone = pb.Backend(address=endpoint(str(self.nobody())), name=str(VOTING), inbound_port=inbound.port)
        there = pb.Backend(address=endpoint(str(app.address)), name=str(VOTING), inbound_port=inbound.port)
        directory.answers[Address.parse(SERVICE)] = pb.Answer(
            address=endpoint(SERVICE),
            authority="voting.emojivoto.svc.cluster.local:80",
            service={"ready": [gone, there]},
        )
        client = self.client(directory, f"{CLIENT}:0={SERVICE}")
        taps = Taps(server.tap)
        for _ in range(6):
            talker = await self.connect(self.port(client, "outbound_forward"), Talker(BINARY))
            self.assertEqual(await talker.has(len(BINARY)), BINARY)
        event = await taps.saw(lambda event: event.flow.dst == app.address)
        self.assertEqual(event.flow.security, Mtls(WEB, "meshtx/1"))
        await self.ready(client)
        self.assertEqual((directory.peers, directory.own_ips), ([WEB], [b"\x7f\0\0\1"]))

    async def test_new_credentials_are_shown_to_it(self) -> None:
        directory = Directory(self, make_leaf(CA, DIRECTORY))
        client = self.client(directory, f"{CLIENT}:0={SERVICE}")
        await self.ready(client)
        assert isinstance(client.directory, RemoteDirectory)
        client.directory._follower._rng.random = lambda: 0.0  # type: ignore[method-assign]
        client.source._publish(make_leaf(CA, WEB), CA.trust)
        while len(directory.peers) < 2:
            await deferLater(reactor, 0.001)  # type: ignore[arg-type]

    async def test_which_service_hides_its_clients_is_shown_until_it_does_no_more(self) -> None:
        directory, app, way_in = Directory(self, make_leaf(CA, DIRECTORY)), self.application(), self.free(SERVER)
        directory.table.nodes.append(network("127.0.0.0/8"))
        directory.table.own_hidden.add(port=way_in.port, service="shop/web")
        forward = f"{way_in}={app.address}"
        server = self.start(SERVER, VOTING_LEAF, directory_address=directory.address, inbound_forward=forward)
        await self.ready(server)
        taps = Taps(server.tap)

        async def shown() -> str:
            taps.events.clear()
            talker = await self.connect(way_in, Talker(BINARY))
            self.assertEqual(await talker.has(len(BINARY)), BINARY)
            flow = (await taps.saw(lambda event: isinstance(event.what, FlowOpened))).flow
            self.assertEqual(flow.known, Known.OBSCURED)
            return flow.hidden_by

        self.assertEqual(await shown(), "shop/web")
        del directory.table.own_hidden[:]
        told = Deferred[None]()
        server.directory.subscribe(lambda: told.callback(None))
        directory.calls[0].send(pb.Update(table=directory.table))
        await told
        self.assertEqual(await shown(), "")

    async def test_who_cannot_prove_its_name_is_not_believed(self) -> None:
        directory = Directory(self, make_leaf(CA, VOTING))
        app = self.application()
        directory.answers[Address.parse(SERVICE)] = pb.Answer(
            address=endpoint(SERVICE), service=pb.Service(ready=[pb.Backend(address=endpoint(str(app.address)))])
        )
        client = self.client(directory, f"{CLIENT}:0={SERVICE}")
        while not directory.failures:
            await deferLater(reactor, 0.001)  # type: ignore[arg-type]
        self.assertIn("the directory has not answered yet", client.ready_reason() or "")
        self.assertEqual((directory.peers, app.connections), ([], []))
        while not any("the directory is away" in line for line in self.lines):
            await deferLater(reactor, 0.001)  # type: ignore[arg-type]
        self.assertIn("name_mismatch", " ".join(self.lines))
        self.assertIn("the directory has not answered yet: name_mismatch: expected", client.ready_reason() or "")


LOOK = """
import sys
from twisted.internet import reactor
from meshtx.config import ProxyConfig
from meshtx.config_load import load
from meshtx.services.proxy import ProxyService

service = ProxyService(load(ProxyConfig, dict(each.split("=", 1) for each in sys.argv[1:]), {}, None), reactor)
service.privilegedStartService()
service.startService()


def look():
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[1])
    heavy = ("treq", "kubernetes", "yaml", "meshtx.kube", "twisted.web.server")
    loaded = [each for each in heavy if each in sys.modules]
    print(pages * 4, service.ready_reason(), *loaded)
    service.stopService().addBoth(lambda _: reactor.stop())


def wait():
    if service.ready_reason() is None:
        look()
    else:
        reactor.callLater(0.01, wait)


reactor.callWhenRunning(wait)
reactor.run()
"""


class CostTests(ProxyCase):
    timeout = 60

    async def look(self, **directory: str) -> tuple[int, list[str]]:
        """Return a process's kilobytes, once it is ready, and what it has loaded that it should not."""
        flags = self.flags(CLIENT, WEB_LEAF, **directory)
        arguments = ["-c", LOOK, *(f"{key}={value}" for key, value in flags.items())]
        env: dict[str, Any] = {"PYTHONPATH": str(Path(__file__).parents[2])}
        out, err, status = await getProcessOutputAndValue(sys.executable, arguments, env)
        self.assertEqual((status, err), (0, b""))
        size, _, *loaded = out.decode().split()
        return int(size), loaded

    async def test_it_loads_nothing_of_kubernetes_and_takes_as_much_memory_as_with_a_file(self) -> None:
        directory = Directory(self, make_leaf(CA, DIRECTORY))
        by_file, _ = await self.look(directory_file=self.file("mesh.toml", "workload = []"))
        by_service, loaded = await self.look(directory_address=directory.address)
        self.assertEqual(loaded, [])
        self.assertEqual(directory.peers, [WEB])
        self.assertLess(by_service - by_file, 5 * 1024)
