"""The keys of an issuer: which of a set are used, when they are fetched, and what a failure leaves."""

from __future__ import annotations

import json
from typing import Any

from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import ConfigError, CredentialsError
from meshtx.identity.jwks_keys import MAX_AGE, MAX_KEYS, RETRY, SPACING, TIMEOUT, JwksKeys, parse_keys
from meshtx.identity.validator import ValidatorUnavailable
from meshtx.watch import Reload
from tests.identity.signed_tokens import ED25519, P256, P384, RSA, key_set


class Parsing(SynchronousTestCase):
    def used(self, text: bytes) -> list[tuple[str | None, str]]:
        return [(each.key_id, each.algorithm) for each in parse_keys(text)]

    def problem(self, text: bytes) -> str:
        return str(self.assertRaises(CredentialsError, parse_keys, text))

    def test_each_key_has_one_algorithm(self) -> None:
        self.assertEqual(
            self.used(key_set(RSA, P256, P384, ED25519)),
            [("rsa", "RS256"), ("p256", "ES256"), ("p384", "ES384"), ("ed25519", "EdDSA")],
        )

    def test_a_key_need_not_have_an_id(self) -> None:
        entry = P256.as_dict(private=False)
        del entry["kid"]
        self.assertEqual(self.used(json.dumps({"keys": [entry]}).encode()), [(None, "ES256")])

    def test_keys_for_other_things_are_passed_over(self) -> None:
        good = P256.as_dict(private=False)
        others: list[Any] = [
            OctKey.generate_key(256).as_dict(),
            P384.as_dict(private=True),
            RSAKey.generate_key(1024).as_dict(private=False),
            ECKey.generate_key("P-521").as_dict(private=False),
            OKPKey.generate_key("X25519").as_dict(private=False),
            P384.as_dict(private=False) | {"use": "enc"},
            P384.as_dict(private=False) | {"key_ops": ["sign"]},
            P384.as_dict(private=False) | {"alg": "ES256"},
            RSA.as_dict(private=False) | {"alg": "RS512"},
            P384.as_dict(private=False) | {"kid": 7},
            P384.as_dict(private=False) | {"x": "AAAA"},
            {"kty": "AKP", "alg": "ML-DSA-44"},
            {"kty": "EC"},
            {"kty": []},
            "key",
            None,
        ]
        self.assertEqual(self.used(json.dumps({"keys": [*others, good]}).encode()), [("p256", "ES256")])
        self.assertEqual(
            self.problem(json.dumps({"keys": others}).encode()),
            "it holds no public key for signatures with RS256, ES256, ES384, EdDSA",
        )
        self.flushWarnings()

    def test_what_is_no_set(self) -> None:
        for text in (b"", b"hello", b"[]", b"{}", b"7", b"\xff", b"[" * 100_000, b'"keys"'):
            self.assertEqual(self.problem(text), 'it is no JSON Web Key Set: {"keys": [...]}', text[:10])
        for keys in ({}, "x", [None] * (MAX_KEYS + 1)):
            self.assertEqual(self.problem(json.dumps({"keys": keys}).encode()), "its 'keys' is no list of at most 100")


class Fetching(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.fetches: list[Deferred[bytes]] = []
        self.reloads: list[Reload] = []
        self.keys = JwksKeys("here", self.fetch, self.clock, reloaded=self.reloads.append)
        self.keys.startService()

    def fetch(self) -> Deferred[bytes]:
        self.fetches.append(Deferred())
        return self.fetches[-1]

    def answer(self, text: bytes | Exception) -> str:
        """End the fetch that is under way; return what is said of it."""
        with capturedLogs() as events:
            if isinstance(text, bytes):
                self.fetches[-1].callback(text)
            else:
                self.fetches[-1].errback(text)
        return "\n".join(map(formatEvent, events))

    def ids(self) -> list[str | None]:
        return [key.kid for key in self.keys.fitting(None, "ES256")]

    def test_at_the_start_and_then_by_age(self) -> None:
        self.assertEqual(self.keys.ready_reason(), "no token keys yet: not fetched")
        self.assertEqual(self.answer(key_set(P256)), "token keys from here: p256")
        self.assertEqual((self.keys.ready_reason(), self.ids()), (None, ["p256"]))
        self.clock.advance(MAX_AGE - 1)
        self.assertEqual(len(self.fetches), 1)
        self.clock.advance(1)
        self.assertEqual(self.answer(key_set(P256)), "")
        self.clock.advance(MAX_AGE)
        new = ECKey.generate_key("P-256", {"kid": "new"})
        self.assertEqual(self.answer(key_set(new)), "token keys from here: new")
        self.assertEqual((self.ids(), self.reloads), (["new"], [Reload.OK, Reload.OK]))

    def test_a_failure_keeps_the_old_ones_and_is_tried_again_soon(self) -> None:
        self.answer(key_set(P256))
        self.clock.advance(MAX_AGE)
        said = "token keys from here: those of before stay in use: x: gone; come back"
        self.assertEqual(self.answer(ConfigError("x", "gone", "come back")), said)
        self.clock.advance(RETRY[1])
        self.assertEqual(self.answer(ConfigError("x", "gone", "come back")), "")
        self.clock.advance(RETRY[1])
        self.assertIn("those of before stay in use: it is no JSON Web Key Set", self.answer(b"<html>"))
        self.clock.advance(RETRY[1])
        self.assertIn("those of before stay in use: it holds no public key", self.answer(b'{"keys": []}'))
        self.assertEqual((self.ids(), self.keys.ready_reason()), (["p256"], None))
        self.clock.advance(RETRY[1])
        self.assertEqual(self.answer(key_set(P256)), "token keys from here: p256")
        self.assertEqual(self.reloads, [Reload.OK, *[Reload.REJECTED] * 3, Reload.OK])

    def test_failures_are_tried_again_more_and_more_seldom(self) -> None:
        for pause in (1, 2, 4, 8, 15, 15):
            self.answer(ConfigError("x", "gone", "come back"))
            before = len(self.fetches)
            self.clock.advance(pause - 0.01)
            self.assertEqual(len(self.fetches), before)
            self.clock.advance(0.01)
            self.assertEqual(len(self.fetches), before + 1)
        self.answer(key_set(P256))
        self.clock.advance(MAX_AGE)
        self.answer(b"")
        self.clock.advance(RETRY[0])
        self.assertEqual(len(self.fetches), 9)

    def test_a_fetch_without_an_answer_ends(self) -> None:
        with capturedLogs() as events:
            self.clock.advance(TIMEOUT)
        said = "token keys from here: no token can be judged: no answer within 5 s"
        self.assertEqual([formatEvent(each) for each in events], [said])
        self.assertEqual(self.keys.ready_reason(), "no token keys yet: no answer within 5 s")

    def test_nobody_waits_for_what_could_not_be_had(self) -> None:
        """A server that takes connections and says nothing would keep everybody for as long as each fetch may take."""
        self.answer(key_set(P256))
        self.clock.advance(SPACING)
        self.failureResultOf(self.renewed_after(TIMEOUT), ValidatorUnavailable)
        for _ in range(3):
            self.clock.advance(SPACING)  # a fetch is under way
            self.failureResultOf(self.renewed_after(0), ValidatorUnavailable)
        self.answer(key_set(P256))
        self.successResultOf(self.renewed_after(0))

    def renewed_after(self, seconds: float) -> Deferred[None]:
        """Ask for new keys, and let time pass."""
        renewed = Deferred.fromCoroutine(self.keys.renew())
        self.clock.advance(seconds)
        return renewed

    def test_a_defect_does_not_end_the_fetching(self) -> None:
        self.answer(ZeroDivisionError())
        self.assertEqual(self.keys.ready_reason(), "no token keys yet: internal error: ZeroDivisionError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(RETRY[1])
        self.answer(key_set(P256))
        self.assertEqual(self.ids(), ["p256"])

    def test_who_waits_when_the_program_stops_is_told(self) -> None:
        waiting = Deferred.fromCoroutine(self.keys.renew())
        self.assertEqual(self.answer_of_stop(), "")
        error = self.failureResultOf(waiting, ValidatorUnavailable).value
        self.assertEqual(str(error), "the token keys cannot be had: the program stops")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def answer_of_stop(self) -> str:
        with capturedLogs() as events:
            self.keys.stopService()
        return "\n".join(map(formatEvent, events))
