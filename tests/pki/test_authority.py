"""The profile of a leaf."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.trial.unittest import SynchronousTestCase

from meshtx.pki.authority import Authority, AuthorityError, IssuedChain
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.chain import verify_chain
from meshtx.pki.csr import CsrNotAllowed, make_csr, parse_csr
from meshtx.pki.issuer import Issuer, key_usage, make_issuer, make_root
from meshtx.pki.name import Name
from meshtx.pki.peer_name import peer_name
from tests.pki.made import KEY, LONG, NOW, SCOPE, VOTING, WEB

ROOT_KEY, ROOT = make_root(SCOPE, NOW)
ISSUER = make_issuer(ROOT_KEY, ROOT, SCOPE, NOW)
HOUR = timedelta(hours=1)


def issue(name: Name = WEB, issuer: Issuer = ISSUER, now: datetime = NOW, **settings: timedelta) -> IssuedChain:
    return Authority(issuer, **settings).issue(parse_csr(make_csr(KEY, name)), name, now)


class IssueTests(SynchronousTestCase):
    def extension(self, leaf: x509.Certificate, kind: type[x509.ExtensionType]) -> tuple[bool, x509.ExtensionType]:
        found = leaf.extensions.get_extension_for_class(kind)  # type: ignore[type-var]
        return found.critical, found.value

    def test_the_leaf_names_the_workload_and_carries_its_key(self) -> None:
        leaf = issue().leaf
        self.assertEqual((peer_name(leaf), leaf.public_key()), (WEB, KEY.public_key()))

    def test_it_starts_five_minutes_back_and_lives_a_day(self) -> None:
        chain = issue()
        self.assertEqual(
            (chain.leaf.not_valid_before_utc, chain.leaf.not_valid_after_utc, chain.not_after),
            (NOW - timedelta(minutes=5), NOW + 24 * HOUR, NOW + 24 * HOUR),
        )

    def test_lifetime_and_start_are_settings(self) -> None:
        leaf = issue(lifetime=HOUR, backdate=HOUR / 2).leaf
        self.assertEqual((leaf.not_valid_before_utc, leaf.not_valid_after_utc), (NOW - HOUR / 2, NOW + HOUR))

    def test_it_is_an_end_entity_for_both_roles(self) -> None:
        leaf = issue().leaf
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        self.assertEqual(
            [self.extension(leaf, each) for each in (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)],
            [
                (True, x509.BasicConstraints(ca=False, path_length=None)),
                (True, key_usage(digital_signature=True, key_encipherment=True)),
                (False, x509.ExtendedKeyUsage(both)),
            ],
        )
        self.assertEqual(len(leaf.extensions), 6)

    def test_a_short_name_is_also_the_common_name(self) -> None:
        leaf = issue().leaf
        self.assertEqual(leaf.subject, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(WEB))]))
        names = x509.SubjectAlternativeName([x509.DNSName(str(WEB))])
        self.assertEqual(self.extension(leaf, x509.SubjectAlternativeName), (False, names))

    def test_a_long_name_is_in_a_critical_alternative_name_only(self) -> None:
        leaf = issue(LONG).leaf
        self.assertEqual(leaf.subject, x509.Name([]))
        names = x509.SubjectAlternativeName([x509.DNSName(str(LONG))])
        self.assertEqual(self.extension(leaf, x509.SubjectAlternativeName), (True, names))
        verify_chain(leaf, (ISSUER.certificate,), TrustBundle((ROOT,)), NOW)

    def test_the_longest_common_name_has_64_characters(self) -> None:
        fits = SCOPE.name("n" * (64 - len(str(SCOPE.name("n", "web"))) + 1), "web")
        longer = SCOPE.name(fits.namespace + "n", "web")
        self.assertEqual((len(str(fits)), len(issue(fits).leaf.subject)), (64, 1))
        self.assertEqual((len(str(longer)), len(issue(longer).leaf.subject)), (65, 0))

    def test_key_identifiers_lead_to_the_issuer(self) -> None:
        leaf = issue().leaf
        own = ISSUER.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        self.assertEqual(
            [self.extension(leaf, each) for each in (x509.AuthorityKeyIdentifier, x509.SubjectKeyIdentifier)],
            [
                (False, x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)),
                (False, x509.SubjectKeyIdentifier.from_public_key(KEY.public_key())),
            ],
        )

    def test_serial_numbers_are_random(self) -> None:
        serials = {issue().leaf.serial_number for _ in range(10)}
        self.assertEqual((len(serials), max(serials) < 2**128), (10, True))

    def test_it_is_signed_with_ecdsa_and_sha256(self) -> None:
        leaf = issue().leaf
        self.assertIsInstance(leaf.signature_hash_algorithm, SHA256)
        self.assertIsInstance(leaf.signature_algorithm_parameters, ec.ECDSA)

    def test_the_chain_verifies_and_leaves_the_root_out(self) -> None:
        chain = issue()
        self.assertEqual(chain.intermediates, (ISSUER.certificate,))
        self.assertEqual(
            verify_chain(chain.leaf, chain.intermediates, TrustBundle((ROOT,)), NOW),
            (chain.leaf, ISSUER.certificate, ROOT),
        )
        self.assertEqual(
            [x509.load_der_x509_certificate(der) for der in chain.ders()], [chain.leaf, *chain.intermediates]
        )

    def test_a_leaf_never_outlives_any_certificate_above_it(self) -> None:
        last = ISSUER.not_after
        self.assertEqual(issue(now=last - HOUR).not_after, last)
        _, root = make_root(SCOPE, NOW, 2 * HOUR)
        longer = make_issuer(ROOT_KEY, ROOT, SCOPE, NOW)
        self.assertEqual(issue(issuer=Issuer(longer.key, (longer.certificate, root))).not_after, NOW + 2 * HOUR)

    def test_an_expired_issuer_issues_nothing(self) -> None:
        error = self.assertRaises(AuthorityError, issue, now=ISSUER.not_after)
        self.assertIn("the issuer's chain expired at", str(error))

    def test_a_key_that_cannot_sign_is_an_error_of_ours(self) -> None:
        key = ed25519.Ed25519PrivateKey.generate()
        error = self.assertRaises(AuthorityError, issue, issuer=Issuer(key, ISSUER.chain))  # type: ignore[arg-type]
        self.assertIn("the issuer's key cannot sign", str(error))

    def test_a_request_for_another_name_is_refused(self) -> None:
        request = parse_csr(make_csr(KEY, VOTING))
        self.assertRaises(CsrNotAllowed, Authority(ISSUER).issue, request, WEB, NOW)

    def test_an_rsa_issuer_works(self) -> None:
        key = rsa.generate_private_key(65537, 2048)
        root = (
            x509.CertificateBuilder()
            .subject_name(ROOT.subject)
            .issuer_name(ROOT.subject)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(NOW)
            .not_valid_after(NOW + 48 * HOUR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, SHA256())
        )
        leaf = issue(issuer=Issuer(key, (root,))).leaf
        self.assertEqual(verify_chain(leaf, (), TrustBundle((root,)), NOW), (leaf, root))
