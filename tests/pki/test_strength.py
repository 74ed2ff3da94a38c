"""Which authorities are refused as too weak: those that a handshake refuses."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import CredentialsError
from meshtx.net.contexts import Contexts
from meshtx.net.rehearsal import rehearse
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.chain import verify_chain
from meshtx.pki.credentials import Credentials
from meshtx.pki.strength import check_strength
from tests.net.certificates import WEB, Ca, make_ca, make_leaf, now

RSA_SHA256, RSA_SHA1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
"""Object identifiers of signature algorithms (RFC 8017, appendix A.2.4), of one length."""

STRONG = make_ca("strong", key=rsa.generate_private_key(65537, 2048))
HINT = "which TLS handshakes refuse as too weak; make one with an ECDSA P-256 key, or RSA of 2048 bits or more"


def signed_with_sha1(certificate: x509.Certificate, signer: Ca) -> x509.Certificate:
    """Return a certificate with its signature made anew with SHA-1, which the library makes no certificates with."""
    assert isinstance(signer.key, rsa.RSAPrivateKey)
    body = certificate.tbs_certificate_bytes
    weak = body.replace(RSA_SHA256, RSA_SHA1)
    der = certificate.public_bytes(Encoding.DER).replace(body, weak).replace(RSA_SHA256, RSA_SHA1)
    signature = signer.key.sign(weak, padding.PKCS1v15(), SHA1())  # the weakness that is tested
    return x509.load_der_x509_certificate(der.removesuffix(certificate.signature) + signature)


def sha1_issuer() -> Ca:
    made = make_ca("issuer", issuer=STRONG)
    weak = signed_with_sha1(made.certificate, STRONG)
    return Ca(made.key, weak, (weak,))


class StrengthTests(SynchronousTestCase):
    def test_a_weak_anchor_is_refused_where_the_bundle_is_read(self) -> None:
        weak = make_ca("root", key=rsa.generate_private_key(65537, 1024))
        error = self.assertRaises(CredentialsError, TrustBundle.from_pem, STRONG.pem + weak.pem, "ca.crt")
        self.assertIn(f"ca.crt: certificate 2 (CN=root): has an RSA key of 1024 bits, {HINT}", str(error))

    def test_a_weak_issuer_is_refused_where_its_chain_is_verified(self) -> None:
        for issuer, weakness in (
            (make_ca("issuer", issuer=STRONG, key=rsa.generate_private_key(65537, 1024)), "has an RSA key of 1024"),
            (make_ca("issuer", issuer=STRONG, key=ec.generate_private_key(ec.SECP192R1())), "has an ECDSA key of 192"),
            (sha1_issuer(), "is signed with SHA1"),
        ):
            chain = make_leaf(issuer).chain
            error = self.assertRaises(CredentialsError, verify_chain, chain[0], chain[1:], STRONG.trust, now())
            self.assertIn(f"certificate: CN=issuer: {weakness}", str(error))

    def test_the_signature_of_an_anchor_itself_counts_for_nothing(self) -> None:
        check_strength(signed_with_sha1(STRONG.certificate, STRONG), "root", anchor=True)

    def test_the_verdict_is_that_of_a_handshake(self) -> None:
        keys: list[ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = [
            *(rsa.generate_private_key(65537, bits) for bits in (1024, 1536, 2048)),
            *(ec.generate_private_key(curve) for curve in (ec.SECP192R1(), ec.SECP224R1(), ec.SECP384R1())),
        ]
        paths = [(STRONG, sha1_issuer())]
        for key in keys:
            root = make_ca("root", key=key)
            paths += [(root, make_ca("issuer", issuer=root)), (STRONG, make_ca("issuer", issuer=STRONG, key=key))]
        for root, issuer in paths:
            trust, credentials = TrustBundle((root.certificate,)), make_leaf(issuer)
            self.assertEqual(accepts(credentials.chain, trust), shakes_hands(credentials, trust), root)


def accepts(chain: tuple[x509.Certificate, ...], trust: TrustBundle) -> bool:
    try:
        verify_chain(chain[0], chain[1:], trust, now())
    except CredentialsError:
        return False
    return True


def shakes_hands(credentials: Credentials, trust: TrustBundle) -> bool:
    return rehearse(Contexts(credentials, trust), WEB, ()) is None
