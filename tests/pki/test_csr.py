"""What the authority believes of a signing request."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID, NameOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.pki.csr import CsrMalformed, CsrNotAllowed, CsrRequest, make_csr, parse_csr
from tests.pki.made import KEY, LONG, SCOPE, VOTING, WEB, raw_names


def csr(
    sans: Sequence[x509.GeneralName] | bytes | None,
    common_names: Sequence[str] = (),
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = KEY,
) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in common_names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if isinstance(sans, bytes):
        extension = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, sans)
        builder = builder.add_extension(extension, critical=False)
    elif sans is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


DNS = [x509.DNSName(str(WEB))]


class ParseTests(SynchronousTestCase):
    def malformed(self, der: bytes) -> str:
        return str(self.assertRaises(CsrMalformed, parse_csr, der))

    def test_ours_parses_and_asks_for_its_name(self) -> None:
        for name, common_names in ((WEB, (str(WEB),)), (LONG, ())):
            request = parse_csr(make_csr(KEY, name))
            self.assertEqual(request, CsrRequest(KEY.public_key(), (str(name),), (), common_names))
            request.check(str(name))

    def test_a_long_name_has_an_empty_subject_and_a_critical_san(self) -> None:
        made = x509.load_der_x509_csr(make_csr(KEY, LONG))
        self.assertEqual(made.subject, x509.Name([]))
        self.assertTrue(made.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical)

    def test_a_name_of_64_characters_is_the_last_that_is_a_subject(self) -> None:
        short = SCOPE.name("x", "web")
        for length, has_subject in ((64, True), (65, False)):
            name = SCOPE.name("x" * (1 + length - len(str(short))), "web")
            self.assertEqual(parse_csr(make_csr(KEY, name)).common_names, (str(name),) if has_subject else ())

    def test_garbage_is_malformed(self) -> None:
        whole = make_csr(KEY, WEB)
        for der in (b"", b"hello", whole[:-1], whole + b"\0", b"-----BEGIN CERTIFICATE REQUEST-----\n"):
            self.assertIn("cannot be read", self.malformed(der))

    def test_a_long_request_is_not_even_parsed(self) -> None:
        self.assertEqual(self.malformed(b"0" * 16385), "the request has 16385 bytes, at most 16384")
        self.assertIn("cannot be read", self.malformed(b"0" * 16384))

    @given(st.binary(max_size=300), st.integers(0, 280))
    def test_random_bytes_never_raise_anything_else(self, noise: bytes, at: int) -> None:
        whole = make_csr(KEY, WEB)
        for der in (noise, whole[:at] + noise[:3] + whole[at + 3 :]):
            with contextlib.suppress(CsrMalformed):
                parse_csr(der)

    def test_without_proof_of_possession_it_is_malformed(self) -> None:
        def point(key: ec.EllipticCurvePrivateKey) -> bytes:
            return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

        mine = ec.generate_private_key(ec.SECP256R1())  # asks for a certificate for the victim's key
        stolen = make_csr(mine, WEB).replace(point(mine), point(KEY))
        self.assertEqual(self.malformed(stolen), "the request is not signed by its own key")

    def test_a_changed_name_breaks_the_signature(self) -> None:
        changed = make_csr(KEY, WEB).replace(b"web.", b"bad.")
        self.assertEqual(self.malformed(changed), "the request is not signed by its own key")

    def test_other_keys_are_malformed(self) -> None:
        for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
            self.assertEqual(self.malformed(csr(DNS, key=key)), "the request's key is not ECDSA P-256")

    def test_names_that_cannot_be_read_are_malformed(self) -> None:
        for san in (b"\x30\x50ab", raw_names((0x87, b"\1\2\3\4\5"))):
            self.assertIn("cannot be read", self.malformed(csr(san)))


class CheckTests(SynchronousTestCase):
    def refusal(self, der: bytes, identity: str = str(WEB)) -> str:
        return str(self.assertRaises(CsrNotAllowed, parse_csr(der).check, identity))

    def test_the_common_name_may_be_absent_empty_or_equal(self) -> None:
        parse_csr(csr(DNS)).check(str(WEB))
        parse_csr(csr(DNS, [str(WEB)])).check(str(WEB))
        CsrRequest(KEY.public_key(), (str(WEB),), (), ("",)).check(str(WEB))

    def test_another_common_name_is_refused(self) -> None:
        for names in ([str(VOTING)], [str(WEB), str(VOTING)], [str(WEB).upper()]):
            self.assertIn("common name", self.refusal(csr(DNS, [each[:64] for each in names])))

    def test_exactly_one_dns_name_is_allowed(self) -> None:
        self.assertIn("has 0 DNS names", self.refusal(csr(None)))
        self.assertIn("has 0 DNS names", self.refusal(csr(None, [str(WEB)])))
        self.assertIn("has 0 DNS names", self.refusal(csr(raw_names())))
        self.assertIn("has 2 DNS names", self.refusal(csr([*DNS, *DNS])))
        self.assertIn("has 2 DNS names", self.refusal(csr([*DNS, x509.DNSName(str(VOTING))])))

    def test_the_dns_name_must_be_the_identity_to_the_letter(self) -> None:
        for text in (str(VOTING), str(WEB).upper(), f"{WEB}.", "*." + str(WEB)):
            self.assertIn("is not the identity asked for", self.refusal(csr([x509.DNSName(text)])))

    def test_an_identity_that_is_no_name_is_compared_as_text(self) -> None:
        parse_csr(csr([x509.DNSName("example.test")])).check("example.test")

    def test_every_other_kind_of_name_is_refused(self) -> None:
        for name, kind in (
            (x509.RFC822Name("a@b.test"), "RFC822Name"),
            (x509.IPAddress(ip_address("10.0.0.1")), "IPAddress"),
            (x509.UniformResourceIdentifier(WEB.spiffe), "UniformResourceIdentifier"),
            (x509.DirectoryName(x509.Name([])), "DirectoryName"),
        ):
            expected = f"the request asks for {kind}; only a DNS name is allowed"
            self.assertEqual(self.refusal(csr([*DNS, name])), expected)
        x400 = csr(raw_names((0x82, str(WEB).encode()), (0xA3, b"")))
        self.assertEqual(
            self.refusal(x400), "the request asks for a name of an unknown kind; only a DNS name is allowed"
        )


class ExtraWishesTests(SynchronousTestCase):
    def test_a_request_carries_nothing_but_key_and_names(self) -> None:
        der = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "admins")]))
            .add_extension(x509.SubjectAlternativeName(DNS), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(KEY, SHA256())
            .public_bytes(Encoding.DER)
        )
        self.assertEqual(parse_csr(der), CsrRequest(KEY.public_key(), (str(WEB),)))
