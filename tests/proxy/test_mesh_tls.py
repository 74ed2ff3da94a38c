"""The TLS that a proxy speaks now."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshtx.proxy.mesh_tls import MeshTls
from tests.net.certificates import VOTING, make_ca
from tests.proxy.mesh import Source


class MeshTlsTests(SynchronousTestCase):
    def test_what_is_addressed_to_its_name_is_its_own_before_it_has_a_certificate(self) -> None:
        tls = MeshTls(Source(None, make_ca().trust), VOTING)
        self.assertEqual((tls.contexts, tls.server_name), (None, str(VOTING)))
