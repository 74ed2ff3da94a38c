"""Which tokens an issuer's published keys prove, and which answer the others get."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from meshtx.errors import PeerError
from meshtx.identity.jwks import JwksValidator
from meshtx.identity.jwks_keys import SPACING, JwksKeys
from meshtx.identity.validator import TokenMalformed, TokenRejected, ValidatorUnavailable
from meshtx.interfaces import ITokenValidator
from meshtx.pki.name import MeshScope
from tests.identity.signed_tokens import ED25519, ISSUER, MISSING, NOW, P256, P384, RSA, key_set, token

SCOPE = MeshScope()
WEB = SCOPE.name("shop", "web")
ALL = key_set(RSA, P256, P384, ED25519)
NOT_OURS = "the token is not signed by a key of its issuer's set"
NO_JWT = "the token is no signed JWT"


class JwksCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.set: Any = ALL
        self.fetched = 0
        self.clock = Clock()
        self.keys = JwksKeys("here", self.fetch, self.clock)
        self.keys.startService()
        self.addCleanup(self.keys.stopService)
        self.validator = JwksValidator(self.keys, ISSUER)

    def fetch(self) -> Any:
        self.fetched += 1
        if isinstance(self.set, Exception):
            raise self.set
        return self.set

    def refused(self, token: bytes, kind: type[Exception] = TokenRejected, now: float = NOW) -> str:
        return str(self.failureResultOf(self.validator.validate(token, SCOPE, now), kind).value)

    def taken(self, token: bytes, now: float = NOW) -> None:
        self.assertEqual(self.successResultOf(self.validator.validate(token, SCOPE, now)), WEB)


class Signatures(JwksCase):
    def test_it_is_a_validator(self) -> None:
        verifyObject(ITokenValidator, self.validator)

    def test_each_algorithm_that_is_allowed(self) -> None:
        for key, algorithm in ((RSA, "RS256"), (P256, "ES256"), (P384, "ES384"), (ED25519, "EdDSA")):
            self.taken(token(key, algorithm))
            self.taken(token(key, algorithm, {"kid": MISSING}))
            self.taken(token(key, algorithm) + b"\n")

    def test_a_set_that_names_the_algorithms(self) -> None:
        for key, algorithm in ((RSA, "RS256"), (ED25519, "EdDSA")):
            self.set = key_set(key, alg=algorithm, use="sig")
            self.setUp2()
            self.taken(token(key, algorithm))

    def setUp2(self) -> None:
        """Fetch what is published now."""
        self.clock.advance(SPACING)
        self.keys._begin()

    def test_no_other_algorithm_is_taken_whatever_the_token_says(self) -> None:
        secret = OctKey.import_key(ALL, {"kid": "p256"})  # what everybody may read
        head = part({"alg": "HS256", "kid": "p256"}) + b"." + token().split(b".")[1]
        forged = head + b"." + encoded(hmac.digest(ALL, head, "sha256"))
        said = "the token is not signed with one of RS256, ES256, ES384, EdDSA"
        for other in (
            forged,
            token(secret, "HS512"),
            token(RSA, "RS512"),
            token(RSA, "PS256"),
            part({"alg": "none"}) + b"." + token().split(b".")[1] + b".",
            part({"alg": ["RS256"]}) + b"." + token().split(b".")[1] + b".AAAA",
        ):
            self.assertEqual(self.refused(other), said)

    def test_an_algorithm_that_is_not_its_keys_is_not_taken(self) -> None:
        claims = token().split(b".")[1]
        for algorithm, key in (("ES256", "rsa"), ("RS256", "p256"), ("ES384", "p256"), ("EdDSA", "p384")):
            self.clock.advance(SPACING)
            head = part({"alg": algorithm, "kid": key})
            self.assertEqual(self.refused(b".".join([head, claims, b"AAAA"])), NOT_OURS)

    def test_another_key_of_the_same_id(self) -> None:
        self.assertEqual(self.refused(token(ECKey.generate_key("P-256", {"kid": "p256"}))), NOT_OURS)
        self.assertEqual(self.refused(token(OKPKey.generate_key("Ed25519", {"kid": "ed25519"}), "EdDSA")), NOT_OURS)

    def test_changed_claims(self) -> None:
        head, _, signature = token().split(b".")
        forged = token(sub="system:serviceaccount:shop:admin").split(b".")[1]
        self.assertEqual(self.refused(b".".join([head, forged, signature])), NOT_OURS)
        self.assertEqual(self.refused(b".".join([head, forged, b""])), NOT_OURS)

    def test_a_header_with_more_than_the_standard_has(self) -> None:
        self.taken(token(header={"nonce": "1"}))

    def test_a_header_that_must_be_understood_and_is_not(self) -> None:
        crit = part({"alg": "ES256", "kid": "p256", "crit": ["x"], "x": 1})
        self.assertEqual(self.refused(crit + b"." + b".".join(token().split(b".")[1:]), TokenMalformed), NO_JWT)
        unencoded = part({"alg": "ES256", "kid": "p256", "b64": False, "crit": ["b64"]})
        self.refused(unencoded + b"." + b".".join(token().split(b".")[1:]), PeerError)

    def test_what_is_no_token_is_malformed(self) -> None:
        for text in (b"", b"hello", b"a.b", b"a.b.c", b"\xff\xfe", token() + b".x", part({}) + b".e30.AAAA"):
            self.assertEqual(self.refused(text, TokenMalformed), NO_JWT, text)
        brackets = base64.urlsafe_b64encode(b"[" * 300).rstrip(b"=")
        self.assertEqual(self.refused(brackets + b".e30.AAAA", TokenMalformed), NO_JWT)
        for payload in (b"[]", b"hello", b'"x"', b"[" * 9000):
            signed = jws.serialize_compact({"alg": "ES256"}, payload, P256).encode()
            self.assertEqual(self.refused(signed, TokenMalformed), NO_JWT)
        self.assertEqual(self.refused(token(header={"kid": MISSING}) * 100, TokenMalformed)[:14], "the token has ")

    def test_nothing_of_a_token_is_in_a_refusal(self) -> None:
        other = token(ECKey.generate_key("P-256", {"kid": "secret-id"}))
        said = self.refused(other)
        for piece in (*other.decode().split("."), "secret-id"):
            self.assertNotIn(piece, said)


class Claims(JwksCase):
    def test_the_issuer_must_be_the_one(self) -> None:
        for issuer in (MISSING, None, "", ISSUER + "/", [ISSUER]):
            self.assertEqual(self.refused(token(iss=issuer)), "the token's issuer is not 'https://issuer.example'")

    def test_the_audience_must_be_among_them(self) -> None:
        self.taken(token(aud="identity.l5d.io"))
        for audience in (MISSING, "", [], "other", ["other"], "identity.l5d.io.evil", {"identity.l5d.io": 1}, None):
            self.assertEqual(self.refused(token(aud=audience)), "the token's audience is not 'identity.l5d.io'")

    def test_another_audience_by_configuration(self) -> None:
        self.validator = JwksValidator(self.keys, ISSUER, "vault")
        self.taken(token(aud="vault"))
        self.assertEqual(self.refused(token()), "the token's audience is not 'vault'")

    def test_the_end_must_be_there_and_not_past(self) -> None:
        self.taken(token(), NOW + 3599)
        self.assertEqual(self.refused(token(), now=NOW + 3600), "the token has expired")
        for end in (MISSING, None, "1800000000", True, float("inf")):
            self.assertEqual(self.refused(token(exp=end)), "the token's 'exp' is missing or no time")

    def test_the_beginning_may_be_missing_but_not_ahead_by_more_than_a_minute(self) -> None:
        self.taken(token(iat=MISSING, nbf=MISSING))
        self.taken(token(), NOW - 60)
        for name in ("iat", "nbf"):
            self.assertEqual(self.refused(token(**{name: NOW + 61})), "the token is not valid yet")
            self.assertEqual(self.refused(token(**{name: "now"})), f"the token's {name!r} is missing or no time")

    def test_an_odd_subject_is_malformed(self) -> None:
        for subject in (MISSING, 7, "web", "system:node:shop:web", "system:serviceaccount:shop:web.v2"):
            self.assertIn("subject", self.refused(token(sub=subject), TokenMalformed))


class UnknownKeys(JwksCase):
    new = ECKey.generate_key("P-256", {"kid": "new"})

    def test_a_key_that_was_published_after_the_last_fetch_is_fetched(self) -> None:
        self.clock.advance(SPACING)
        self.set = key_set(P256, self.new)
        self.taken(token(self.new))
        self.taken(token(self.new))
        self.assertEqual(self.fetched, 2)

    def test_tokens_with_unknown_keys_cost_one_fetch_a_while(self) -> None:
        self.clock.advance(SPACING)
        for _ in range(50):
            self.assertEqual(self.refused(token(self.new)), NOT_OURS)
        self.assertEqual(self.fetched, 2)
        self.clock.advance(SPACING)
        self.assertEqual(self.refused(token(self.new)), NOT_OURS)
        self.assertEqual(self.fetched, 3)

    def test_many_wait_for_one_fetch_and_one_that_goes_does_not_end_it(self) -> None:
        self.clock.advance(SPACING)
        self.set = Deferred()
        asked = [self.validator.validate(token(self.new), SCOPE, NOW) for _ in range(3)]
        asked[0].cancel()
        self.failureResultOf(asked[0])
        self.set.callback(key_set(self.new))
        self.assertEqual([self.successResultOf(each) for each in asked[1:]], [WEB, WEB])
        self.assertEqual(self.fetched, 2)

    def test_while_the_set_cannot_be_had_an_unknown_key_is_not_a_no(self) -> None:
        self.clock.advance(SPACING)
        self.set = ValidatorUnavailable("it is away")
        for _ in range(2):
            said = self.refused(token(self.new), ValidatorUnavailable)
            self.assertEqual(said, "the token keys cannot be had: it is away")
        self.taken(token())


def encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def part(value: object) -> bytes:
    return encoded(json.dumps(value).encode())
