"""Roots and issuers: the ones that we make, and which of others are taken."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import CredentialsError
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.chain import verify_chain
from meshtx.pki.issuer import Issuer, key_usage, make_issuer, make_root
from meshtx.pki.keys import IssuerKey, key_to_pem
from meshtx.pki.name import MeshScope
from tests.pki.made import KEY, NOW, SCOPE, leaf_with

DAY, MINUTES_5 = timedelta(days=1), timedelta(minutes=5)
ROOT_KEY, ROOT = make_root(SCOPE, NOW)
TRUST = TrustBundle((ROOT,))
MADE = make_issuer(ROOT_KEY, ROOT, SCOPE, NOW)
RSA = rsa.generate_private_key(65537, 2048)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def signed(
    key: IssuerKey,
    signer: IssuerKey = ROOT_KEY,
    parent: x509.Certificate = ROOT,
    *,
    common_name: str = "issuer",
    path_length: int | None = None,
    usage: x509.KeyUsage | None = None,
    not_before: datetime = NOW,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(parent.subject)
        .public_key(key.public_key())
        .serial_number(2)
        .not_valid_before(not_before)
        .not_valid_after(not_before + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    )
    if usage:
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(signer, SHA256())


class MakeTests(SynchronousTestCase):
    def test_a_root_lives_ten_years_and_an_issuer_ninety_days_both_from_five_minutes_ago(self) -> None:
        root, issuer = ROOT, MADE.certificate
        self.assertEqual(
            [(each.not_valid_before_utc - NOW, each.not_valid_after_utc - NOW) for each in (root, issuer)],
            [(-MINUTES_5, 3650 * DAY), (-MINUTES_5, 90 * DAY)],
        )

    def test_the_issuer_verifies_against_the_root_and_can_sign_leaves_only(self) -> None:
        self.assertEqual(verify_chain(MADE.certificate, (), TRUST, NOW), (MADE.certificate, ROOT))
        constraints = [
            each.extensions.get_extension_for_class(x509.BasicConstraints).value for each in (ROOT, MADE.certificate)
        ]
        self.assertEqual(constraints, [x509.BasicConstraints(True, 1), x509.BasicConstraints(True, 0)])
        for each in (ROOT, MADE.certificate):
            usage = each.extensions.get_extension_for_class(x509.KeyUsage)
            self.assertEqual((usage.critical, usage.value), (True, key_usage(key_cert_sign=True, crl_sign=True)))

    def test_an_issuer_never_outlives_its_root(self) -> None:
        made = make_issuer(ROOT_KEY, ROOT, SCOPE, ROOT.not_valid_after_utc - DAY)
        self.assertEqual(made.not_after, ROOT.not_valid_after_utc)

    def test_an_expired_root_makes_none(self) -> None:
        error = self.assertRaises(CredentialsError, make_issuer, ROOT_KEY, ROOT, SCOPE, ROOT.not_valid_after_utc + DAY)
        self.assertIn("the root expired at", str(error))

    def test_serial_numbers_are_128_random_bits(self) -> None:
        serials = [make_root(SCOPE, NOW)[1].serial_number for _ in range(20)]
        self.assertEqual(len(set(serials)), 20)
        self.assertTrue(all(0 < serial < 2**128 for serial in serials))
        self.assertGreater(max(serials), 2**120)

    def test_a_long_scope_is_cut_to_a_common_name(self) -> None:
        _, root = make_root(MeshScope("meshtx", ".".join(["x" * 40] * 3)), NOW)
        (common_name,) = root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        self.assertEqual(common_name.value, f"root.meshtx.{'x' * 40}.{'x' * 11}")

    def test_the_key_is_not_shown(self) -> None:
        self.assertEqual(repr(MADE), "Issuer()")


class FromPemTests(SynchronousTestCase):
    def refusal(self, cert: bytes, key: IssuerKey, trust: TrustBundle = TRUST, now: datetime = NOW) -> str:
        return str(self.assertRaises(CredentialsError, Issuer.from_pem, cert, key_to_pem(key), trust, now))

    def test_the_anchor_completes_the_chain(self) -> None:
        issuer = Issuer.from_pem(pem(MADE.certificate), key_to_pem(MADE.key), TRUST, NOW)
        self.assertEqual((issuer.chain, issuer.intermediates), ((MADE.certificate, ROOT), (MADE.certificate,)))

    def test_it_ends_with_the_first_of_its_chain(self) -> None:
        root_key, root = make_root(SCOPE, NOW, DAY / 2)
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = Issuer.from_pem(pem(signed(key, root_key, root)), key_to_pem(key), TrustBundle((root,)), NOW)
        self.assertEqual(issuer.not_after, NOW + DAY / 2)

    def test_a_root_may_issue_itself_as_linkerd_does(self) -> None:
        issuer = Issuer.from_pem(pem(ROOT), key_to_pem(ROOT_KEY), TRUST, NOW)
        self.assertEqual((issuer.chain, issuer.intermediates), ((ROOT,), (ROOT,)))

    def test_an_rsa_issuer_is_taken(self) -> None:
        issuer = Issuer.from_pem(pem(signed(RSA)), key_to_pem(RSA), TRUST, NOW)
        self.assertIsInstance(issuer.key, rsa.RSAPrivateKey)

    def test_an_intermediate_may_be_the_anchor(self) -> None:
        upper_key = ec.generate_private_key(ec.SECP256R1())
        upper = signed(upper_key, common_name="upper")
        key = ec.generate_private_key(ec.SECP256R1())
        lower = signed(key, upper_key, upper)
        issuer = Issuer.from_pem(pem(lower), key_to_pem(key), TrustBundle((upper,)), NOW)
        self.assertEqual(issuer.chain, (lower, upper))

    def test_a_cross_signed_parent_beside_the_path_is_sent_along(self) -> None:
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(4)]
        new, old = (signed(key, key, common_name="root.meshtx.cluster.local") for key in keys[:2])
        ours, crossed = (signed(keys[2], *root, common_name="upper") for root in ((keys[0], new), (keys[1], old)))
        lower = signed(keys[3], keys[2], ours)
        issuer = Issuer.from_pem(pem(lower, ours, crossed), key_to_pem(keys[3]), TrustBundle((new,)), NOW)
        self.assertEqual(issuer.intermediates, (lower, ours, crossed))

    def test_the_key_must_be_the_certificate_s(self) -> None:
        self.assertEqual(self.refusal(pem(MADE.certificate), KEY), "issuer: the private key is not the certificate's")

    def test_it_must_be_an_authority(self) -> None:
        expected = "issuer: the certificate is no certificate authority (CA:TRUE, keyCertSign)"
        self.assertEqual(self.refusal(pem(leaf_with(None, "web")), KEY), expected)
        self.assertEqual(self.refusal(pem(signed(KEY, usage=key_usage(digital_signature=True))), KEY), expected)

    def test_it_must_verify_against_the_anchors_now(self) -> None:
        cert, key = pem(MADE.certificate), MADE.key
        _, other = make_root(SCOPE, NOW)
        self.assertIn("unable to get", self.refusal(cert, key, TrustBundle((other,))))
        self.assertIn("has expired", self.refusal(cert, key, now=NOW + 91 * DAY))
        self.assertIn("not yet valid", self.refusal(cert, key, now=NOW - DAY))

    def test_it_must_not_be_below_an_issuer_of_leaves_only(self) -> None:
        below = signed(KEY, MADE.key, MADE.certificate, path_length=0)  # type: ignore[arg-type]
        self.assertEqual(
            self.refusal(pem(below, MADE.certificate), KEY),
            "issuer: CN=identity.meshtx.cluster.local allows no further authorities below it (path length)",
        )

    def test_it_must_not_be_signed_by_a_leaf(self) -> None:
        leaf_key = ec.generate_private_key(ec.SECP256R1())
        middle = signed(leaf_key, usage=key_usage(digital_signature=True), common_name="leaf")
        below = signed(KEY, leaf_key, middle)
        self.assertIn("does not verify", self.refusal(pem(below, middle), KEY))

    def test_time_and_anchors_are_checked_again_on_demand(self) -> None:
        MADE.check(TRUST, NOW)
        self.assertRaises(CredentialsError, MADE.check, TRUST, NOW + 91 * DAY)
        self.assertRaises(CredentialsError, MADE.check, TrustBundle((make_root(SCOPE, NOW)[1],)), NOW)
