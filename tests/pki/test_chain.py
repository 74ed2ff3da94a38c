"""Which issuer may stand for the anchor above it."""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from twisted.trial.unittest import SynchronousTestCase

from meshtx.pki.bundle import TrustBundle
from meshtx.pki.chain import stand_in
from meshtx.pki.issuer import make_issuer, make_root
from tests.net.certificates import DAY, Ca, make_ca, make_leaf, now
from tests.pki.made import SCOPE

ROOT = make_ca()
ISSUER = make_ca("issuer", issuer=ROOT)
LASTS = make_leaf(ISSUER).not_after


def of(issuer: Ca, root: Ca = ROOT, anchors: TrustBundle | None = None) -> x509.Certificate | None:
    """Return what stands in for a root, seen from a leaf of this issuer."""
    return stand_in(make_leaf(issuer, not_after=LASTS).chain, anchors or root.trust)


class StandInTests(SynchronousTestCase):
    def test_an_issuer_whose_path_lasts_and_says_nothing(self) -> None:
        self.assertEqual(of(ISSUER), ISSUER.certificate)

    def test_ours_does(self) -> None:
        key, root = make_root(SCOPE, now())
        ours = make_issuer(key, root, SCOPE, now())
        issuer = Ca(ours.key, ours.certificate, (ours.certificate,))
        self.assertEqual(of(issuer, anchors=TrustBundle((root,))), ours.certificate)

    def test_so_does_one_below_another_one(self) -> None:
        below = make_ca("below", issuer=ISSUER)
        self.assertEqual(of(below), below.certificate)

    def test_none_where_there_is_nothing_to_spare(self) -> None:
        for issuer, anchor in ((ROOT, ROOT), (ISSUER, ISSUER)):
            self.assertIsNone(of(issuer, anchor))

    def test_not_one_that_is_not_trusted(self) -> None:
        self.assertIsNone(of(ISSUER, make_ca()))

    def test_not_below_an_anchor_that_ends_before_the_leaf(self) -> None:
        for last, stands in ((LASTS - timedelta(seconds=1), False), (LASTS, True)):
            root = make_ca(not_after=last)
            issuer = make_ca("issuer", issuer=root, not_after=LASTS + DAY)
            self.assertEqual(of(issuer, root) is not None, stands)

    def test_not_below_an_anchor_that_begins_behind_the_leaf(self) -> None:
        root = make_ca(not_before=now() + timedelta(minutes=1))
        self.assertIsNone(of(make_ca("issuer", issuer=root), root))

    def test_not_below_an_anchor_that_says_something_of_those_below(self) -> None:
        names = x509.NameConstraints([x509.DNSName("elsewhere.example")], None)
        for extension in (names, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])):
            root = make_ca(more=[extension])
            self.assertIsNone(of(make_ca("issuer", issuer=root), root))

    def test_not_one_that_another_of_its_name_could_not_be_told_from(self) -> None:
        """The next issuer has its name: OpenSSL would take this one for that, and refuse whom that has issued for."""
        self.assertIsNone(of(make_ca("issuer", issuer=ROOT, key_id=False)))

    def test_not_below_one_that_is_weaker_than_ours(self) -> None:
        for key, stands in (
            (ec.generate_private_key(ec.SECP224R1()), False),
            (rsa.generate_private_key(65537, 2048), True),
        ):
            root = make_ca(key=key)
            issuer = make_ca("issuer", issuer=root)
            self.assertEqual(of(issuer, root) is not None, stands)

    def test_not_below_an_anchor_that_allows_none_below(self) -> None:
        root = make_ca(path_length=0)
        self.assertIsNone(of(make_ca("issuer", issuer=root, path_length=0), root))

    def test_not_below_what_cannot_be_read(self) -> None:
        odd = x509.UnrecognizedExtension(ExtensionOID.NAME_CONSTRAINTS, bytes.fromhex("3009a0073005a303020101"))
        between = make_ca("between", issuer=ROOT, more=[odd])
        self.assertIsNone(of(make_ca("issuer", issuer=between)))
        self.assertIsNone(stand_in((), ROOT.trust))

    def test_not_where_an_authority_below_it_may_be_one_too_many(self) -> None:
        root = make_ca(path_length=1)
        for length, stands in ((None, False), (1, False), (0, True)):
            issuer = make_ca("issuer", issuer=root, path_length=length)
            self.assertEqual(of(issuer, root) is not None, stands)
