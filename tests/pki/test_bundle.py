"""What counts as a trust anchor."""

from __future__ import annotations

from datetime import timedelta

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import CredentialsError
from meshtx.pki.authority import Authority
from meshtx.pki.bundle import TrustBundle, is_authority
from meshtx.pki.csr import make_csr, parse_csr
from meshtx.pki.issuer import make_issuer, make_root
from tests.pki.made import KEY, NOW, SCOPE, WEB, leaf_with

ROOT_KEY, ROOT = make_root(SCOPE, NOW)
_, OTHER = make_root(SCOPE, NOW, timedelta(days=1))


def pem(*certificates: object) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)  # type: ignore[attr-defined]


class TrustBundleTests(SynchronousTestCase):
    def test_several_anchors_are_read_once_each(self) -> None:
        self.assertEqual(TrustBundle.from_pem(pem(ROOT, OTHER, ROOT)), TrustBundle((ROOT, OTHER)))

    def test_what_it_prints_it_reads(self) -> None:
        bundle = TrustBundle((ROOT, OTHER))
        self.assertEqual(TrustBundle.from_pem(bundle.to_pem().decode()), bundle)

    def test_the_digest_tells_sets_apart_and_orders_not(self) -> None:
        self.assertEqual(TrustBundle((ROOT, OTHER)).digest, TrustBundle((OTHER, ROOT)).digest)
        digests = {TrustBundle(each).digest for each in ((ROOT,), (OTHER,), (ROOT, OTHER))}
        self.assertEqual([len(digests), *{len(digest) for digest in digests}], [3, 64])

    def test_it_ends_with_its_first_anchor(self) -> None:
        self.assertEqual(TrustBundle((ROOT, OTHER)).not_after, NOW + timedelta(days=1))

    def test_a_leaf_is_no_anchor(self) -> None:
        error = self.assertRaises(CredentialsError, TrustBundle.from_pem, pem(ROOT, leaf_with(None, "web")), "ca.crt")
        self.assertEqual(str(error), "ca.crt: certificate 2 (CN=web) is no certificate authority")

    def test_an_authority_is_one_by_its_constraints(self) -> None:
        issuer = make_issuer(ROOT_KEY, ROOT, SCOPE, NOW)
        leaf = Authority(issuer).issue(parse_csr(make_csr(KEY, WEB)), WEB, NOW).leaf  # says CA:FALSE
        found = [is_authority(each) for each in (ROOT, issuer.certificate, leaf, leaf_with(None))]
        self.assertEqual(found, [True, True, False, False])
