"""What an operator put into a file is read whole or refused by name."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import CredentialsError
from meshtx.pki.keys import key_to_pem, new_key
from meshtx.pki.pem import read_blocks, read_certificate, read_certificates
from tests.pki.made import leaf_with

A, B = leaf_with(None, "a"), leaf_with(None, "b")
PEM_A, PEM_B = (each.public_bytes(Encoding.PEM).decode() for each in (A, B))


class ReadCertificatesTests(SynchronousTestCase):
    def refusal(self, text: str | bytes) -> str:
        return str(self.assertRaises(CredentialsError, read_certificates, text, "anchors"))

    def test_text_between_the_blocks_is_ignored(self) -> None:
        for text in (
            PEM_A + PEM_B,
            PEM_A.strip() + "\n" + PEM_B.strip(),
            f"\n\n# the old root of Zürich\n{PEM_A}\n\n\n# the new one\n{PEM_B}\n \n\n",
            f"Subject: CN=a\n{PEM_A}{PEM_B}".replace("\n", "\r\n"),
        ):
            self.assertEqual(read_certificates(text, "anchors"), (A, B))
            self.assertEqual(read_certificates(text.encode(), "anchors"), (A, B))

    def test_a_block_of_another_type_is_an_error_that_names_it(self) -> None:
        key = key_to_pem(new_key()).decode()
        self.assertEqual(
            self.refusal(PEM_A + key + PEM_B),
            "anchors: block 2 is PRIVATE KEY; only CERTIFICATE blocks belong here",
        )

    def test_nothing_is_an_error(self) -> None:
        for text in ("", "\n", "hello"):
            self.assertEqual(self.refusal(text), "anchors: holds no PEM block (-----BEGIN ...-----)")

    def test_an_unfinished_block_is_an_error(self) -> None:
        cut = PEM_B[: PEM_B.index("-----END")]
        self.assertEqual(self.refusal(PEM_A + cut), "anchors: an unfinished PEM block at '-----BEGIN CERTIFICATE-----'")
        self.assertIn("unfinished", self.refusal(cut + PEM_A))
        self.assertIn("unfinished", self.refusal(PEM_A + "-----END CERTIFICATE-----\n"))

    def test_broken_base64_is_an_error(self) -> None:
        self.assertEqual(
            self.refusal("-----BEGIN CERTIFICATE-----\nMII$\n-----END CERTIFICATE-----\n"),
            "anchors: the CERTIFICATE block is not base64",
        )

    def test_what_is_no_certificate_is_counted(self) -> None:
        other = PEM_B.replace(PEM_B.splitlines()[1], "A" * 64)
        self.assertIn("anchors: certificate 2: cannot be read", self.refusal(PEM_A + other))

    def test_a_broken_extension_is_found_here(self) -> None:
        der = leaf_with(b"\x30\x50ab").public_bytes(Encoding.DER)
        error = self.assertRaises(CredentialsError, read_certificate, der, "leaf")
        self.assertIn("leaf: cannot be read", str(error))

    def test_a_block_does_not_show_its_content(self) -> None:
        (block,) = read_blocks(key_to_pem(new_key()), "key")
        self.assertEqual(repr(block), "Block(label='PRIVATE KEY')")
