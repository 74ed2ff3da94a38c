"""The steps of the webhook's certificate: nobody is served what they do not believe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder
from cryptography.x509.verification import Store as Anchors
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import CredentialsError
from meshtx.kube import serving_certificate as certificate
from meshtx.kube.serving_certificate import (
    LIFETIME,
    PRUNE,
    SWITCH,
    Announce,
    Generation,
    Kept,
    Step,
    Store,
    from_data,
    generate,
    next_step,
    to_data,
)

HOST = "meshtx-injector.meshtx.svc"
NOW = datetime(2026, 11, 25, tzinfo=UTC)
FIRST, SECOND = generate(HOST, NOW), generate(HOST, NOW + LIFETIME / 2)


def step(kept: Kept, *bundles: str, now: datetime = NOW, still: float = 0.0) -> Step:
    return next_step(kept, frozenset(bundles), HOST, now, still)


class GenerateTests(SynchronousTestCase):
    def test_the_leaf_verifies_for_the_name_that_the_api_server_calls(self) -> None:
        verifier = PolicyBuilder().store(Anchors([FIRST.authority])).time(NOW).build_server_verifier(x509.DNSName(HOST))
        self.assertEqual(verifier.verify(FIRST.leaf, []), [FIRST.leaf, FIRST.authority])

    def test_another_generations_authority_does_not_vouch_for_it(self) -> None:
        verifier = PolicyBuilder().store(Anchors([SECOND.authority])).time(NOW)
        with self.assertRaises(x509.verification.VerificationError):
            verifier.build_server_verifier(x509.DNSName(HOST)).verify(FIRST.leaf, [])

    def test_thirty_days_are_left_when_the_next_one_is_due(self) -> None:
        self.assertGreaterEqual(FIRST.not_after - FIRST.renew_at(), timedelta(days=30))

    def test_no_key_is_shown(self) -> None:
        self.assertEqual(repr(FIRST), "Generation()")


class StepTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.made: list[Generation] = []

        def generate(host: str, now: datetime) -> Generation:
            self.assertEqual(host, HOST)
            return SECOND

        self.patch(certificate, "generate", generate)

    def test_an_empty_secret_gets_the_first(self) -> None:
        self.assertEqual(step(Kept(), ""), Store(Kept(SECOND)))

    def test_what_is_served_must_be_believed_by_every_entry(self) -> None:
        bundle = Kept(FIRST).bundle()
        for bundles in (("",), (bundle, ""), (bundle, "other"), (Kept(SECOND).bundle(),)):
            self.assertEqual(step(Kept(FIRST), *bundles), Announce(bundle))
        self.assertIsNone(step(Kept(FIRST), bundle))

    def test_the_next_one_is_due_when_a_third_of_the_time_is_left(self) -> None:
        bundle = Kept(FIRST).bundle()
        self.assertIsNone(step(Kept(FIRST), bundle, now=FIRST.renew_at() - timedelta(seconds=1)))
        self.assertEqual(step(Kept(FIRST), bundle, now=FIRST.renew_at()), Store(Kept(FIRST, next=SECOND)))

    def test_it_is_announced_beside_the_present_one_before_it_is_served(self) -> None:
        kept = Kept(FIRST, next=SECOND)
        both = kept.bundle()
        self.assertEqual(both, Kept(FIRST).bundle() + Kept(SECOND).bundle())
        self.assertEqual(step(kept, Kept(FIRST).bundle(), still=SWITCH * 9), Announce(both))
        self.assertIsNone(step(kept, both, still=SWITCH - 1))
        self.assertEqual(step(kept, both, still=SWITCH), Store(Kept(SECOND, previous=FIRST.authority)))

    def test_the_one_before_is_believed_until_all_replicas_have_switched(self) -> None:
        kept = Kept(SECOND, previous=FIRST.authority)
        self.assertEqual(step(kept, Kept(FIRST, next=SECOND).bundle(), still=PRUNE), Announce(kept.bundle()))
        self.assertIsNone(step(kept, kept.bundle(), still=PRUNE - 1))
        self.assertEqual(step(kept, kept.bundle(), still=PRUNE), Store(Kept(SECOND)))

    def test_an_expired_one_is_replaced_at_once(self) -> None:
        end = FIRST.not_after
        self.assertEqual(step(Kept(FIRST), Kept(FIRST).bundle(), now=end), Store(Kept(SECOND)))
        prepared = Kept(FIRST, next=SECOND)
        self.assertEqual(step(prepared, prepared.bundle(), now=end), Store(Kept(SECOND)))
        self.assertEqual(step(prepared, "", now=SECOND.not_after), Store(Kept(SECOND)))


class DataTests(SynchronousTestCase):
    def test_what_is_written_is_read(self) -> None:
        for kept in (Kept(), Kept(FIRST), Kept(FIRST, SECOND), Kept(SECOND, previous=FIRST.authority)):
            data = to_data(kept)
            self.assertEqual(to_data(from_data(data)), data)
            self.assertEqual(from_data(data).believed, kept.believed)

    def test_a_secret_of_kubernetes_tls_with_empty_keys_is_empty(self) -> None:
        self.assertEqual(from_data({"tls.crt": "", "tls.key": "", "ca.crt": ""}), Kept())

    def test_anything_else_is_an_error(self) -> None:
        good, other = to_data(Kept(FIRST)), to_data(Kept(SECOND))
        for data in (
            {**good, "tls.key": other["tls.key"]},
            {**good, "tls.crt": "!"},
            {**good, "ca.crt": ""},
            {**good, "tls.crt": good["tls.key"]},
            {**good, "previous-ca.crt": good["tls.key"]},
            {**good, "ca.crt": to_data(Kept(FIRST))["ca.crt"] + "AA"},
        ):
            self.assertRaises(CredentialsError, from_data, data)
