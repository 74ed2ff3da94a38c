"""The handshake with ourselves."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshtx.net.contexts import Contexts
from meshtx.net.failures import TlsError
from meshtx.net.rehearsal import rehearse
from meshtx.pki.credentials import Credentials
from tests.net.certificates import DAY, VOTING, WEB, make_ca, make_leaf, now

CA = make_ca()


class RehearsalTests(SynchronousTestCase):
    def outcome(self, leaf: Credentials) -> TlsError | None:
        return rehearse(Contexts(leaf, CA.trust), WEB, ["meshtx/1", "transport.l5d.io/v1"])

    def test_good_credentials_pass(self) -> None:
        self.assertIsNone(self.outcome(make_leaf(CA, WEB)))

    def test_what_a_peer_would_object_to_is_told(self) -> None:
        for leaf, reason in (
            (make_leaf(make_ca(), WEB), "unknown_issuer"),
            (make_leaf(CA, VOTING), "name_mismatch"),
            (make_leaf(CA, WEB, not_before=now() - DAY, not_after=now() - DAY / 24), "certificate_expired"),
        ):
            error = self.outcome(leaf)
            assert error is not None
            self.assertEqual(error.reason, reason)
