"""Which tokens prove a name, and which answer the others get."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws, jwt
from joserfc.jwk import ECKey
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from meshtx.errors import CredentialsError
from meshtx.identity.local_tokens import MAX_LIFETIME, LocalValidator, mint
from meshtx.identity.validator import TokenMalformed, TokenRejected
from meshtx.interfaces import ITokenValidator
from meshtx.pki.keys import key_to_pem, new_key, public_to_pem
from meshtx.pki.name import InvalidName, MeshScope

KEY = new_key()
PUBLIC = public_to_pem(KEY.public_key())
SCOPE = MeshScope()
NOW = 1_800_000_000.0
CLAIMS = {
    "iss": "meshtx",
    "aud": "identity.l5d.io",
    "sub": "system:serviceaccount:shop:web",
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 3600,
}
MISSING = object()


def signed(key: ec.EllipticCurvePrivateKey = KEY, **changes: object) -> bytes:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not MISSING}
    return jwt.encode({"alg": "ES256"}, claims, ECKey.import_key(key)).encode()


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


class MintTests(SynchronousTestCase):
    def test_a_token_says_who_for_whom_and_how_long(self) -> None:
        token = jwt.decode(mint(KEY, "shop", "web", NOW + 0.7), ECKey.import_key(KEY.public_key()), ["ES256"])
        self.assertEqual((token.header, token.claims), ({"alg": "ES256", "typ": "JWT"}, CLAIMS))

    def test_what_could_not_be_a_name_gets_none(self) -> None:
        for namespace, account in (("shop", "web.v2"), ("Shop", "web"), ("", "web"), ("shop:x", "web")):
            self.assertRaises(InvalidName, mint, KEY, namespace, account, NOW)

    def test_the_lifetime_is_bounded(self) -> None:
        for lifetime in (timedelta(0), timedelta(seconds=-5), MAX_LIFETIME + timedelta(seconds=1)):
            self.assertRaises(ValueError, mint, KEY, "shop", "web", NOW, lifetime)
        mint(KEY, "shop", "web", NOW, MAX_LIFETIME)


class ValidateTests(SynchronousTestCase):
    validator = LocalValidator.from_pem(PUBLIC)

    def rejected(self, token: bytes, now: float = NOW) -> str:
        return str(self.assertRaises(TokenRejected, self.validator.validate, token, SCOPE, now))

    def malformed(self, token: bytes, now: float = NOW) -> str:
        return str(self.assertRaises(TokenMalformed, self.validator.validate, token, SCOPE, now))

    def test_it_is_a_validator_by_our_interface(self) -> None:
        verifyObject(ITokenValidator, self.validator)
        self.assertEqual(self.validator.name, "local")

    def test_a_minted_token_proves_the_name_in_the_validator_s_scope(self) -> None:
        scope = MeshScope("linkerd", "example.org")
        token = mint(KEY, "shop", "web", NOW).encode()
        self.assertEqual(self.validator.validate(token, scope, NOW), scope.name("shop", "web"))

    def test_a_line_feed_behind_is_no_part_of_it(self) -> None:
        self.assertEqual(self.validator.validate(signed() + b"\r\n", SCOPE, NOW), SCOPE.name("shop", "web"))

    def test_the_longest_lifetime_is_taken_and_no_longer_one(self) -> None:
        self.validator.validate(signed(exp=NOW + 86400), SCOPE, NOW)
        self.assertEqual(self.rejected(signed(exp=NOW + 86401)), "the token is valid for more than 24 h")
        self.assertEqual(self.rejected(signed(iat=NOW - 86400, exp=NOW + 1)), "the token is valid for more than 24 h")

    def test_an_expired_token_is_rejected(self) -> None:
        self.validator.validate(signed(), SCOPE, NOW + 3599)
        self.assertEqual(self.rejected(signed(), NOW + 3600), "the token has expired")

    def test_a_token_of_the_future_is_rejected_but_for_a_minute(self) -> None:
        self.validator.validate(signed(), SCOPE, NOW - 60)
        self.assertEqual(self.rejected(signed(), NOW - 61), "the token is not valid yet")
        self.assertEqual(self.rejected(signed(iat=NOW + 61)), "the token is not valid yet")

    def test_times_must_be_there_and_be_numbers(self) -> None:
        for name in ("iat", "nbf", "exp"):
            for value in (MISSING, None, "1800000000", True, [], float("inf"), float("nan")):
                self.assertEqual(self.rejected(signed(**{name: value})), f"the token's {name!r} is missing or no time")

    def test_the_audience_must_be_ours_alone(self) -> None:
        self.validator.validate(signed(aud=["identity.l5d.io"]), SCOPE, NOW)
        for audience in (MISSING, "", "other", [], ["identity.l5d.io", "other"], "identity.l5d.io.evil", 1):
            self.assertEqual(self.rejected(signed(aud=audience)), "the token's audience is not 'identity.l5d.io'")

    def test_the_issuer_must_be_ours(self) -> None:
        for issuer in (MISSING, "kubernetes/serviceaccount", "Meshtx"):
            self.assertEqual(self.rejected(signed(iss=issuer)), "the token's issuer is not 'meshtx'")

    def test_another_key_is_rejected(self) -> None:
        self.assertEqual(self.rejected(signed(new_key())), "the token is not signed by this mesh's token key")

    def test_changed_claims_are_rejected(self) -> None:
        head, _, tail = signed().decode().split(".")
        forged = ".".join([head, part({**CLAIMS, "sub": "system:serviceaccount:shop:admin"}), tail])
        self.assertEqual(self.rejected(forged.encode()), "the token is not signed by this mesh's token key")

    def test_no_other_algorithm_is_taken_whatever_the_token_says(self) -> None:
        signed_part = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(CLAIMS)}"
        mac = hmac.digest(PUBLIC, signed_part.encode(), "sha256")  # with the public key, known to everybody
        tokens = [
            f"{signed_part}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}",
            f"{part({'alg': 'none'})}.{part(CLAIMS)}.",
            f"{part({'alg': 'None'})}.{part(CLAIMS)}.",
            f"{part({'alg': 'ES384'})}.{part(CLAIMS)}.AAAA",
        ]
        for token in tokens:
            self.assertEqual(self.rejected(token.encode()), "the token is not signed with ES256")

    def test_a_token_without_a_signature_is_rejected(self) -> None:
        head, claims, _ = signed().decode().split(".")
        self.assertRaises(TokenRejected, self.validator.validate, f"{head}.{claims}.".encode(), SCOPE, NOW)

    def test_what_is_no_token_is_malformed(self) -> None:
        whole = signed()
        for token in (
            b"",
            b"hello",
            b"a.b",
            b"a.b.c",
            b"\xff\xfe",
            whole + b".x",
            whole.replace(b".", b"..", 1),
            f"{part([])}.{part(CLAIMS)}.AAAA".encode(),
            f"{part({})}.{part(CLAIMS)}.AAAA".encode(),
            part({"alg": "ES256"}).encode(),
        ):
            self.assertEqual(self.malformed(token), "the token is no signed JWT", token)

    def test_a_header_with_odd_critical_parameters_is_malformed_and_not_a_crash(self) -> None:
        """RFC 7515, section 4.1.11. Who has no token at all can send one."""
        for critical in (None, 1, "b64", {}, [[]], [{}], [1], ["unknown"]):
            token = f"{part({'alg': 'ES256', 'crit': critical})}.{part(CLAIMS)}.AAAA"
            self.assertEqual(self.malformed(token.encode()), "the token is no signed JWT", critical)

    def test_a_header_of_brackets_is_malformed_and_not_a_crash(self) -> None:
        header = base64.urlsafe_b64encode(b"[" * 12_000).rstrip(b"=")
        self.assertEqual(self.malformed(header + b".e30.AAAA"), "the token is no signed JWT")

    def test_a_signed_payload_that_is_no_object_is_malformed(self) -> None:
        for payload in (b"[]", b"hello", b'"x"'):
            token = jws.serialize_compact({"alg": "ES256"}, payload, ECKey.import_key(KEY))
            self.assertEqual(self.malformed(token.encode()), "the token is no signed JWT")

    def test_a_long_token_is_not_even_parsed(self) -> None:
        self.assertEqual(self.malformed(b"a" * 16385), "the token has 16385 bytes, at most 16384")

    def test_an_odd_subject_is_malformed(self) -> None:
        for subject in (
            MISSING,
            7,
            "",
            "web",
            "system:node:shop:web",
            "system:serviceaccount:shop",
            "system:serviceaccount:shop:web:x",
            "system:serviceaccount::web",
            "system:serviceaccount:shop:web.v2",
            "system:serviceaccount:Shop:web",
            "user:serviceaccount:shop:web",
        ):
            self.assertIn("subject", self.malformed(signed(sub=subject)))

    def test_nothing_of_a_token_is_in_a_refusal(self) -> None:
        token = signed(new_key())
        for piece in token.decode().split("."):
            self.assertNotIn(piece, self.rejected(token))


class KeysTests(SynchronousTestCase):
    def test_several_keys_may_sign(self) -> None:
        other = new_key()
        validator = LocalValidator.from_pem(PUBLIC + public_to_pem(other.public_key()))
        for key in (KEY, other):
            self.assertEqual(validator.validate(signed(key), SCOPE, NOW), SCOPE.name("shop", "web"))

    def test_what_is_no_public_key_on_p256_is_refused(self) -> None:
        small = rsa.generate_private_key(65537, 2048).public_key()
        for text, problem in (
            (key_to_pem(KEY), "token key: holds PRIVATE KEY; only PUBLIC KEY blocks belong here"),
            (
                small.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
                "token key: must be an ECDSA key on P-256",
            ),
            (
                public_to_pem(ec.generate_private_key(ec.SECP384R1()).public_key()),
                "token key: must be an ECDSA key on P-256",
            ),
            (
                b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
                "token key: the public key cannot be read",
            ),
        ):
            error = self.assertRaises(CredentialsError, LocalValidator.from_pem, text)
            self.assertEqual(str(error), problem)
