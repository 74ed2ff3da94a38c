"""Which private keys are taken, and in which forms."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import CredentialsError
from meshtx.pki.keys import is_p256, key_to_pem, new_key, public_to_pem, read_issuer_key, read_key
from tests.pki.made import KEY

RSA = rsa.generate_private_key(65537, 2048)
PKCS8, OLD = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL
CURVE = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, form: PrivateFormat = OLD) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


class ReadKeyTests(SynchronousTestCase):
    def refusal(self, text: str | bytes) -> str:
        return str(self.assertRaises(CredentialsError, read_issuer_key, text, "key"))

    def test_a_new_key_is_on_p256(self) -> None:
        self.assertTrue(is_p256(new_key()))
        self.assertNotEqual(key_to_pem(new_key()), key_to_pem(new_key()))

    def test_every_common_form_is_read(self) -> None:
        for text in (pem(KEY, PKCS8), pem(KEY), CURVE + pem(KEY), key_to_pem(KEY), f"# mine\n\n{pem(KEY)}\n"):
            self.assertEqual(key_to_pem(read_key(text, "key")), key_to_pem(KEY))
        for text in (pem(RSA, PKCS8), pem(RSA)):
            self.assertEqual(key_to_pem(read_issuer_key(text, "key")), key_to_pem(RSA))

    def test_a_workload_takes_no_rsa_key(self) -> None:
        error = self.assertRaises(CredentialsError, read_key, pem(RSA), "key")
        self.assertEqual(str(error), "key: an RSA key; a workload's key must be ECDSA P-256")

    def test_other_keys_are_refused(self) -> None:
        small = rsa.generate_private_key(65537, 1024)
        p384 = ec.generate_private_key(ec.SECP384R1())
        edwards = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PKCS8, NoEncryption())
        for text in (pem(small), pem(p384), edwards):
            self.assertEqual(
                self.refusal(text), "key: must be an ECDSA key on P-256, or an issuer's RSA key of 2048 bits or more"
            )

    def test_an_encrypted_key_is_named_so(self) -> None:
        for form in (PKCS8, OLD):
            text = KEY.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))
            self.assertEqual(self.refusal(text), "key: the key is encrypted; store it without a password")

    def test_exactly_one_key_block_is_wanted(self) -> None:
        self.assertEqual(
            self.refusal(pem(KEY) + pem(KEY)),
            "key: must hold one PRIVATE KEY block, holds EC PRIVATE KEY, EC PRIVATE KEY",
        )
        self.assertEqual(self.refusal(CURVE), "key: must hold one PRIVATE KEY block, holds none")
        self.assertEqual(
            self.refusal(public_to_pem(KEY.public_key())), "key: must hold one PRIVATE KEY block, holds PUBLIC KEY"
        )

    def test_a_broken_key_does_not_show_its_content(self) -> None:
        text = pem(KEY).replace(pem(KEY).splitlines()[1], "A" * 64)
        self.assertEqual(self.refusal(text), "key: the private key cannot be read")
