"""``twistd meshproxy`` put together: in this process, by its own configuration."""

from __future__ import annotations

import io
import socket
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from meshtx.config import ProxyConfig
from meshtx.config_load import load
from meshtx.directory.file import FileDirectory
from meshtx.errors import ConfigError
from meshtx.identity.keeper_service import KeeperService
from meshtx.net.origdst import NoOriginalDestination, Original
from meshtx.net.sockets import SocketOptions
from meshtx.observe.flow import Mtls
from meshtx.pki.credentials import Credentials
from meshtx.proxy.goal import Goal
from meshtx.services import listening, outliving
from meshtx.services import proxy as module
from meshtx.services.outliving import LOOK
from meshtx.services.proxy import Options, ProxyService, makeService
from meshtx.wire.address import Address
from meshtx.wire.leg_frames import Open, Refuse, encode
from tests.net.certificates import VOTING, WEB
from tests.ports import reserve_port
from tests.proxy.mesh import CA, CLIENT, SERVER, VOTING_LEAF, WEB_LEAF, MeshCase, Taps
from tests.proxy.peers import dial
from tests.proxy.talkers import Application, Talker

BINARY = b"\0\1\2\3\4"
"""No detector takes it for the start of anything."""


class ProxyCase(MeshCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def free(self, ip: Any) -> Address:
        """Return an address that is kept for a server until the test ends."""
        kept = reserve_port(str(ip))
        self.addCleanup(kept.close)
        return Address.of(*kept.getsockname())

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def flags(self, ip: Any, credentials: Credentials, **changed: str) -> dict[str, str]:
        """Return options with which a proxy takes what comes to it, and nothing else."""
        who = credentials.name.service_account
        return {
            "certificate_file": self.file(f"{who}.crt", credentials.chain_pem().decode()),
            "key_file": self.file(f"{who}.key", credentials.key_pem().decode()),
            "trust_anchors_file": self.file("ca.crt", CA.pem),
            "inbound_listen": f"{ip}:0",
            "outbound_listen": "",
            "tap_listen": f"{ip}:0",
            "admin_listen": f"{ip}:0",
            "drain_timeout": "10s",
        } | changed

    def start(self, ip: Any, credentials: Credentials, **changed: str) -> ProxyService:
        service = ProxyService(load(ProxyConfig, self.flags(ip, credentials, **changed), {}, None), reactor)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(self.stop, service)
        return service

    def stop(self, service: ProxyService) -> Deferred[None]:
        """Stop it, with nothing left that it would wait for."""
        for transport in self.transports:
            transport.abortConnection()
        return service.stopService()

    def port(self, service: ProxyService, key: str) -> Address:
        """Return where the service listens for what a setting names."""
        index = [listener.key for listener in service.listeners.wanted].index(key)
        host = service.listeners.ports[index].getHost()
        return Address.of(host.host, host.port)

    def pair_of(self, application: Application, **changed: str) -> tuple[ProxyService, ProxyService]:
        """Start a proxy for the application and one for its client.

        :param changed: options of both.
        """
        server = self.start(SERVER, VOTING_LEAF, **changed)
        directory = self.file(
            "mesh.toml",
            f'[[workload]]\naddresses = ["{SERVER}"]\nidentity = "{VOTING}"\n'
            f"inbound_port = {self.port(server, 'inbound_listen').port}\n",
        )
        forward = f"{CLIENT}:0={application.address}"
        return self.start(CLIENT, WEB_LEAF, directory_file=directory, outbound_forward=forward, **changed), server

    async def talk(self, client: ProxyService, forward: Address | None = None) -> Talker:
        talker = await self.connect(forward or self.port(client, "outbound_forward"), Talker(BINARY))
        self.assertEqual(await talker.has(len(BINARY)), BINARY)
        return talker


class WayTests(ProxyCase):
    async def test_two_proxies_join_a_client_and_its_server(self) -> None:
        client, server = self.pair_of(self.application())
        taps = Taps(server.tap)
        await self.talk(client)
        event = await taps.saw(lambda _: True)
        self.assertEqual(event.flow.security, Mtls(WEB, "meshtx/1"))
        self.assertEqual(sample(server, "tcp_open_total", tls="true"), 1)
        self.assertEqual(sample(client, "tcp_open_total", tls="true"), 1)
        self.assertGreater(sample(server, "control_identity_cert_expiration_timestamp_seconds"), 0)
        self.assertGreater(sample(server, "meshtx_trust_anchor_expiration_timestamp_seconds"), 0)

    async def test_without_a_redirect_strangers_come_by_a_forward(self) -> None:
        application = self.application()
        server = self.start(SERVER, VOTING_LEAF, inbound_forward=f"{self.free(SERVER)}={application.address}")
        talker = await self.connect(self.port(server, "inbound_forward"), Talker(BINARY))
        self.assertEqual(await talker.has(len(BINARY)), BINARY)

    async def test_a_peer_cannot_go_out_by_an_explicit_listener(self) -> None:
        """It would reach others in this workload's name."""
        application = self.application()
        directory = self.file("nobody.toml", "workload = []")
        server = self.start(
            SERVER, VOTING_LEAF, directory_file=directory, outbound_forward=f"{SERVER}:0={application.address}"
        )
        await self.is_no_destination(server, "outbound_forward")
        self.assertEqual(application.connections, [])

    async def test_no_port_of_the_proxy_is_a_destination_whoever_chose_its_number(self) -> None:
        """By the admin port a peer could stop the proxy: it would seem to come from this host."""
        directory = self.file("nobody.toml", "workload = []")
        server = self.start(SERVER, VOTING_LEAF, directory_file=directory, outbound_listen=f"{SERVER}:0")
        for key in ("inbound_listen", "outbound_listen", "tap_listen", "admin_listen"):
            await self.is_no_destination(server, key)

    async def is_no_destination(self, server: ProxyService, key: str) -> None:
        """Have a peer ask for the port at which a setting of the proxy listens."""
        port = self.port(server, key).port
        peer = await dial(self, self.port(server, "inbound_listen"), WEB_LEAF)
        peer.talker.made.addCallback(lambda _: peer.talker.transport.write(encode(Open(port))))
        self.assertEqual(await peer.talker.has(1), encode(Refuse("loop")))

    async def test_redirected_connections_go_where_they_were_going(self) -> None:
        """Also to another address of this host than that to which the redirect has turned them."""
        application = self.application(ip=ip_address("127.31.0.9"))
        self.patch(module, "original_destination", lambda _sock, _local: Original(application.address, True))
        directory = self.file("nobody.toml", "workload = []")
        service = self.start(SERVER, VOTING_LEAF, directory_file=directory, outbound_listen=f"{SERVER}:0")
        for key in ("inbound_listen", "outbound_listen"):
            talker = await self.connect(self.port(service, key), Talker(BINARY))
            self.assertEqual(await talker.has(len(BINARY)), BINARY)

    def test_nobody_is_led_to_loopback_from_outside(self) -> None:
        """Where a kernel lets such a connection in, what listens there alone is for this host all the same."""

        class Accepted:
            """A connection of a neighbour."""

            def getPeer(self) -> IPv4Address:
                return IPv4Address("TCP", "10.1.0.9", 40000)

            def getHost(self) -> IPv4Address:
                return IPv4Address("TCP", "10.1.0.2", 4143)

            def getHandle(self) -> None:
                """Have none: the kernel is not asked."""

        original = Original(Address.parse("127.0.0.1:8080"), True)
        self.patch(module, "original_destination", lambda _sock, _local: original)
        goal = module._redirected_goal(Accepted())  # type: ignore[arg-type]  # as much of a transport as it looks at
        self.assertEqual(goal, Goal(ip_address("10.1.0.2"), 8080, direct=False))

    async def test_what_was_not_redirected_came_to_the_proxy_itself(self) -> None:
        self.patch(module, "original_destination", lambda _sock, local: Original(local, False))
        directory = self.file("nobody.toml", "workload = []")
        service = self.start(SERVER, VOTING_LEAF, directory_file=directory, outbound_listen=f"{SERVER}:0")
        for key, reason in (("inbound_listen", "tls_required"), ("outbound_listen", "loop")):
            talker = await self.connect(self.port(service, key), Talker(BINARY))
            self.assertEqual(await talker.lost, "reset")
            self.assertEqual(sample(service, "tcp_refused_total", reason=reason), 1)

    async def test_where_nothing_is_redirected_nothing_can_go_out(self) -> None:
        def unknown(_sock: object, _local: Address) -> Original:
            raise NoOriginalDestination("the kernel knows none")

        self.patch(module, "original_destination", unknown)
        directory = self.file("nobody.toml", "workload = []")
        service = self.start(SERVER, VOTING_LEAF, directory_file=directory, outbound_listen=f"{SERVER}:0")
        for key, reason in (("inbound_listen", "tls_required"), ("outbound_listen", "no_original_destination")):
            talker = await self.connect(self.port(service, key), Talker(BINARY))
            self.assertEqual(await talker.lost, "reset")
            self.assertEqual(sample(service, "tcp_refused_total", reason=reason), 1)

    async def test_the_tap_port_takes_no_stranger(self) -> None:
        service = self.start(SERVER, VOTING_LEAF)
        peer = await dial(self, self.port(service, "tap_listen"), None, alpn=["h2"])
        self.assertEqual(await peer.talker.lost, "reset")
        [line] = [line for line in self.lines if line.startswith("tap refused")]
        self.assertIn("no_client_certificate", line)

    async def test_the_admin_port_says_whether_it_is_ready(self) -> None:
        service = self.start(SERVER, VOTING_LEAF)
        talker = await self.connect(self.port(service, "admin_listen"), Talker(b"GET /ready HTTP/1.0\r\n\r\n"))
        await talker.lost
        self.assertIn(b" 200 ", talker.got)

    async def test_the_admin_port_shows_which_files_were_rejected(self) -> None:
        directory = self.file("mesh.toml", "workload = []\n")
        service = self.start(CLIENT, WEB_LEAF, directory_file=directory, admin_plaintext_metrics="true")
        assert isinstance(service.directory, FileDirectory)
        self.file("mesh.toml", "workloads = []\n")
        self.file("web.crt", "no certificate\n")
        for watch in (service.directory._watch, service.source._watch):
            watch.look()
            watch.look()
        talker = await self.connect(self.port(service, "admin_listen"), Talker(b"GET /metrics HTTP/1.0\r\n\r\n"))
        await talker.lost
        for what in ("credentials", "directory"):
            for line in (f'{{result="ok",what="{what}"}} 0.0\n', f'{{result="rejected",what="{what}"}} 1.0\n'):
                self.assertIn(f"meshtx_reload_total{line}".encode(), talker.got)


class StopTests(ProxyCase):
    async def test_it_waits_for_what_runs(self) -> None:
        client, server = self.pair_of(self.application())
        talker = await self.talk(client)
        inbound = self.port(server, "inbound_listen")
        stopped = server.stopService()
        self.assertEqual(server.ready_reason(), "the proxy is stopping")
        await deferLater(reactor, 0)
        self.assertFalse(stopped.called)
        talker.transport.write(BINARY)
        self.assertEqual(await talker.has(10), BINARY * 2)
        late = socket.socket()
        self.addCleanup(late.close)
        self.assertRaises(ConnectionRefusedError, late.connect, (inbound.host, inbound.port))
        talker.transport.loseConnection()
        await stopped
        self.assertEqual((len(server.live), await talker.lost), (0, "closed"))

    async def test_the_workload_may_begin_connections_while_it_has_one(self) -> None:
        """It may need others to finish what it does: a kubelet tells both to end at the same moment."""
        client, _ = self.pair_of(self.application())
        first = await self.talk(client)
        forward = self.port(client, "outbound_forward")
        stopped = client.stopService()
        await deferLater(reactor, 0)
        second = await self.talk(client, forward)
        first.transport.loseConnection()
        await deferLater(reactor, 0)
        self.assertFalse(stopped.called)
        second.transport.loseConnection()
        await stopped
        late = socket.socket()
        self.addCleanup(late.close)
        self.assertRaises(ConnectionRefusedError, late.connect, (forward.host, forward.port))

    async def test_a_workload_that_listens_may_begin_them_without_one(self) -> None:
        self.patch(module, "others_listen", lambda: bool(lives))
        self.patch(outliving, "QUIET", LOOK)
        lives = [True]
        client, server = self.pair_of(self.application(), outlive_workload="true")
        forward = self.port(client, "outbound_forward")
        stopped = client.stopService()
        await deferLater(reactor, LOOK)
        talker = await self.talk(client, forward)
        talker.transport.loseConnection()
        await talker.lost
        self.assertFalse(stopped.called)
        lives.clear()
        await stopped
        await server.stopService()

    async def test_it_outlives_nothing_longer_than_it_may(self) -> None:
        self.patch(module, "others_listen", lambda: True)
        service = self.start(SERVER, VOTING_LEAF, outlive_workload="true", drain_timeout="0.02s")
        await service.stopService()

    async def test_it_serves_connections_that_it_has_not_accepted_yet(self) -> None:
        """To a client they are established: closing the listening socket would reset them, with what they have sent."""
        client, _ = self.pair_of(self.application())
        forward = self.port(client, "outbound_forward")
        early = socket.create_connection((forward.host, forward.port))
        self.addCleanup(early.close)
        early.sendall(BINARY)
        early.shutdown(socket.SHUT_WR)
        await client.stopService()
        self.assertEqual(early.recv(100), BINARY)
        self.assertEqual(early.recv(100), b"")

    async def test_it_waits_no_longer_than_it_may(self) -> None:
        application = self.application()
        accepted = application.next()
        client, server = self.pair_of(application, drain_timeout="0.02s")
        talker = await self.talk(client)
        await server.stopService()
        self.assertEqual(len(server.live), 0)
        self.assertEqual([await talker.lost, await (await accepted).lost], ["reset", "reset"])
        self.assertIn("1 connections did not end in time and are reset", self.lines)

    async def test_a_stop_without_connections_is_at_once(self) -> None:
        service = self.start(SERVER, VOTING_LEAF)
        await service.stopService()
        self.assertEqual([line for line in self.lines if "waiting" in line], [])


class MakeTests(ProxyCase):
    def test_it_says_that_it_has_not_started(self) -> None:
        service = ProxyService(load(ProxyConfig, self.flags(SERVER, VOTING_LEAF), {}, None), reactor)
        self.assertEqual(service.ready_reason(), "the proxy has not started")

    def test_credentials_come_from_the_identity_service(self) -> None:
        flags = self.flags(SERVER, VOTING_LEAF)
        del flags["certificate_file"], flags["key_file"], flags["trust_anchors_file"]
        flags |= {
            "identity_address": "127.0.0.1:1",
            "name": str(VOTING),
            "token_file": self.file("token", "a token"),
            "trust_anchors": CA.pem,
        }
        service = ProxyService(load(ProxyConfig, flags, {}, None), reactor)
        self.assertIsInstance(service.source, KeeperService)
        self.assertEqual((service.tls.contexts, service.source.trust.digest), (None, CA.trust.digest))

    def test_anchors_that_are_none(self) -> None:
        flags = self.flags(SERVER, VOTING_LEAF)
        del flags["trust_anchors_file"]
        config = load(
            ProxyConfig,
            flags | {"trust_anchors": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"},
            {},
            None,
        )
        error = self.assertRaises(ConfigError, ProxyService, config, reactor)
        self.assertIn("trust_anchors", str(error))

    def refused(self, **changed: str) -> tuple[Any, str]:
        """Return the status and the sentence with which the program does not start."""
        options = Options()
        options.parseOptions(
            [f"--{key.replace('_', '-')}={value}" for key, value in self.flags(SERVER, VOTING_LEAF, **changed).items()]
        )
        said = io.StringIO()
        self.patch(sys, "__stderr__", said)
        end = self.assertRaises(SystemExit, makeService, options)
        return end.code, said.getvalue()

    def test_a_port_that_is_taken_is_told_before_the_program_leaves_the_terminal(self) -> None:
        sock = socket.create_server((str(SERVER), 0))
        self.addCleanup(sock.close)
        taken = Address.of(*sock.getsockname())
        status, said = self.refused(admin_listen=str(taken))
        self.assertEqual(status, 2)
        self.assertIn(f"admin_listen: cannot listen on {taken}: address already in use", said)
        self.assertEqual(said.count("\n"), 1)

    def test_a_mark_that_may_not_be_set_is_told(self) -> None:
        def refuse(_sock: socket.socket, options: SocketOptions) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.patch(listening, "set_mark", refuse)
        status, said = self.refused(mark="7")
        self.assertEqual(status, 2)
        self.assertIn("mark: cannot be set on a socket: operation not permitted; give the capability NET_ADMIN", said)

    def test_a_directory_that_is_wrong_is_told(self) -> None:
        status, said = self.refused(directory_file=self.file("wrong.toml", "workloads = []"))
        self.assertEqual((status, said.count("\n")), (2, 1))
        self.assertIn("workload", said)

    def test_options_make_the_service(self) -> None:
        options = Options()
        options.parseOptions(
            [f"--{key.replace('_', '-')}={value}" for key, value in self.flags(SERVER, VOTING_LEAF).items()]
        )
        self.assertIsInstance(makeService(options), ProxyService)


def sample(service: ProxyService, name: str, **labels: str) -> float:
    return sum(
        each.value
        for metric in service.metrics.registry.collect()
        for each in metric.samples
        if each.name == name and labels.items() <= each.labels.items()
    )
