"""Who gets what on the admin port: in clear, by a listed name, by another, by nobody in time."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock

from meshtx.net.failures import TlsError
from meshtx.observe.admin import AdminSite, Readers
from meshtx.observe.metrics import Metrics
from meshtx.pki.credentials import Credentials
from meshtx.proxy.mesh_tls import MeshTls
from meshtx.services.admin_port import AdminPort
from meshtx.services.handshakes import FailedHandshakes
from meshtx.wire.address import Address
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf
from tests.proxy.mesh import CA, SERVER, VOTING_LEAF, WEB_LEAF, MeshCase, Source
from tests.proxy.peers import dial, hello
from tests.proxy.talkers import Talker


class AdminPortTests(MeshCase):
    def port(
        self, *, plaintext_metrics: bool = False, credentials: Credentials | None = VOTING_LEAF, clock: Any = reactor
    ) -> Address:
        metrics = Metrics()

        def site(shows_metrics: bool) -> AdminSite:
            return AdminSite(
                metrics, lambda: None, reactor=reactor, readers=Readers.EVERYBODY if shows_metrics else Readers.NAMES
            )

        tls = MeshTls(Source(credentials, CA.trust))
        failed = FailedHandshakes("admin: TLS refused", metrics, clock).failed
        return self.listen(
            SERVER, AdminPort(site, tls, clock, plaintext_metrics=plaintext_metrics, readers=[WEB], failed=failed)
        )

    def asking(self, path: str) -> Talker:
        return Talker(f"GET {path} HTTP/1.0\r\n\r\n".encode())

    async def in_clear(self, port: Address, path: str) -> bytes:
        talker = await self.connect(port, self.asking(path))
        await talker.lost
        return bytes(talker.got)

    async def over_tls(self, port: Address, path: str, credentials: Credentials) -> bytes:
        peer = await dial(self, port, credentials, alpn=[], talker=self.asking(path))
        await peer.talker.lost
        return bytes(peer.talker.got)

    async def test_readiness_is_for_everybody(self) -> None:
        port = self.port()
        for path in ("/live", "/ready"):
            self.assertIn(b" 200 ", await self.in_clear(port, path))
            self.assertIn(b" 200 ", await self.over_tls(port, path, make_leaf(CA, VOTING)))

    async def test_metrics_are_for_a_listed_name(self) -> None:
        answer = await self.over_tls(self.port(), "/metrics", WEB_LEAF)
        self.assertIn(b" 200 ", answer)
        self.assertIn(b"meshtx_build_info", answer)

    async def test_metrics_are_not_for_another_name(self) -> None:
        answer = await self.over_tls(self.port(), "/metrics", make_leaf(CA, VOTING))
        self.assertIn(b" 403 ", answer)
        self.assertNotIn(b"meshtx_build_info", answer)

    async def test_metrics_are_not_shown_in_clear(self) -> None:
        answer = await self.in_clear(self.port(), "/metrics")
        self.assertIn(b" 403 ", answer)
        self.assertNotIn(b"meshtx_build_info", answer)

    async def test_metrics_are_shown_in_clear_where_that_is_asked_for(self) -> None:
        self.assertIn(b"meshtx_build_info", await self.in_clear(self.port(plaintext_metrics=True), "/metrics"))

    async def test_a_certificate_that_is_no_good_is_refused_and_logged(self) -> None:
        peer = await dial(self, self.port(), make_leaf(make_ca(), WEB), alpn=[], talker=self.asking("/metrics"))
        self.assertEqual((await peer.talker.lost, bytes(peer.talker.got)), ("reset", b""))
        [line] = [line for line in self.lines if line.startswith("admin: TLS refused")]
        self.assertIn("unknown_issuer (", line)

    async def test_without_credentials_there_is_no_tls(self) -> None:
        peer = await dial(self, self.port(credentials=None), WEB_LEAF, alpn=[])
        self.assertIsInstance(await peer.outcome, TlsError)

    async def test_who_says_nothing_or_not_enough_is_cut_off(self) -> None:
        for said in (b"", hello()[:-1]):
            clock = Clock()
            talker = await self.connect(self.port(clock=clock), Talker(said))
            while not clock.getDelayedCalls():
                await self.turn()
            clock.advance(10.0)
            self.assertEqual((await talker.lost, clock.getDelayedCalls()), ("reset", []))
