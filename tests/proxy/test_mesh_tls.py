"""The TLS that a proxy speaks now."""

from __future__ import annotations

from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from meshtx.proxy import mesh_tls
from meshtx.proxy.mesh_tls import PROTOCOLS, MeshTls
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf
from tests.proxy.mesh import Source

CA = make_ca()


class MeshTlsTests(SynchronousTestCase):
    def test_what_is_addressed_to_its_name_is_its_own_before_it_has_a_certificate(self) -> None:
        tls = MeshTls(Source(None, CA.trust), VOTING)
        self.assertEqual((tls.contexts, tls.server_name), (None, str(VOTING)))

    def test_who_asks_is_told_of_other_contexts_once_they_are_there(self) -> None:
        source, told = Source(None, CA.trust), list[object]()
        tls = MeshTls(source, VOTING)
        tls.renewed.append(lambda: told.append(tls.contexts))
        source.replace(make_leaf(CA, VOTING))
        self.assertEqual((told, tls.contexts is not None), ([tls.contexts], True))


class RehearsalTests(SynchronousTestCase):
    """New credentials are tried before a peer does."""

    def setUp(self) -> None:
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.line)
        self.addCleanup(globalLogPublisher.removeObserver, self.line)

    def line(self, event: object) -> None:
        self.lines.append(formatEvent(event))  # type: ignore[arg-type]

    def test_the_first_handshake_is_paid_before_anybody_connects(self) -> None:
        shaken: list[object] = []
        self.patch(mesh_tls, "rehearse", lambda *arguments: shaken.append(arguments))
        tls = MeshTls(Source(make_leaf(CA, WEB), CA.trust))
        self.assertEqual(shaken, [(tls.contexts, WEB, PROTOCOLS)])
        self.assertEqual(self.lines, [])

    def test_credentials_that_no_peer_would_believe_are_logged(self) -> None:
        MeshTls(Source(make_leaf(make_ca(), WEB), CA.trust))
        [line] = self.lines
        self.assertTrue(line.startswith(f"peers will not believe the certificate of {WEB}: unknown_issuer: "), line)
