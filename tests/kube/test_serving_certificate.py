"""Generations, and the bundle that replicas share: who serves is believed, whatever the others do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder
from cryptography.x509.verification import Store as Anchors
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube import serving_certificate
from meshtx.kube.checks.webhook import LEFT
from meshtx.kube.serving_certificate import (
    BACKDATE,
    GRACE,
    LIFETIME,
    LONGEST,
    authorities_in,
    generate,
    kept,
    to_pem,
    wanted,
)

HOST = "meshtx-injector.meshtx.svc"
NOW = datetime(2026, 11, 25, tzinfo=UTC)
FIRST, SECOND = generate(HOST, NOW), generate(HOST, NOW)
MOMENT = timedelta(seconds=1)
MOST, NEAR = 16, 8
"""In these tests; as many as there are would take long to read, again and again."""
LONG_AGO = NOW - LIFETIME - GRACE
"""What began then is kept no longer."""

Authorities = list[x509.Certificate]


@cache
def authority(number: int, begun: datetime = NOW, lifetime: timedelta = LIFETIME) -> x509.Certificate:
    """Return one of as many as there are numbers."""
    return generate(f"{HOST}.{number}", begun, lifetime).authority


def foreign(number: int) -> x509.Certificate:
    """Return one that is valid for ten years, as no replica's is."""
    return authority(number, NOW, timedelta(days=3650))


AUTHORITIES = st.integers(0, 2 * MOST).map(authority)
GARBAGE = st.sampled_from(
    [
        "",
        "# a remark\n",
        "-----BEGIN CERTIFICATE-----\n",
        "-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        to_pem([FIRST.leaf]),
        "\N{REPLACEMENT CHARACTER}",
    ]
)
DROPPED = (
    GARBAGE
    | st.integers(0, 3).map(lambda number: to_pem([authority(number, LONG_AGO)]))
    | st.integers(0, 3).map(lambda number: to_pem([foreign(number)]))
)
KEPT = AUTHORITIES.map(lambda each: to_pem([each]))
PARTS = st.sampled_from([KEPT, KEPT, DROPPED]).flatmap(lambda kind: kind)
BUNDLES = st.integers(0, 2 * MOST).flatmap(lambda size: st.lists(PARTS, min_size=size, max_size=size)).map("".join)
OURS = st.lists(AUTHORITIES, min_size=1, max_size=2, unique=True)


def would_be(bundle: str, *ours: x509.Certificate) -> Authorities:
    return authorities_in(wanted(bundle, ours, NOW))


class GenerateTests(SynchronousTestCase):
    def test_the_leaf_verifies_for_the_name_that_the_api_server_calls(self) -> None:
        verifier = PolicyBuilder().store(Anchors([FIRST.authority])).time(NOW).build_server_verifier(x509.DNSName(HOST))
        self.assertEqual(verifier.verify(FIRST.leaf, []), [FIRST.leaf, FIRST.authority])

    def test_whose_clock_is_ahead_has_one_that_is_valid_already(self) -> None:
        """By the clock of who calls it."""
        ahead = generate(HOST, NOW + timedelta(hours=23))
        verifier = PolicyBuilder().store(Anchors([ahead.authority])).time(NOW).build_server_verifier(x509.DNSName(HOST))
        self.assertEqual(verifier.verify(ahead.leaf, []), [ahead.leaf, ahead.authority])

    def test_another_generations_authority_does_not_vouch_for_it(self) -> None:
        verifier = PolicyBuilder().store(Anchors([SECOND.authority])).time(NOW)
        with self.assertRaises(x509.verification.VerificationError):
            verifier.build_server_verifier(x509.DNSName(HOST)).verify(FIRST.leaf, [])

    def test_two_of_the_same_moment_have_authorities_of_different_names(self) -> None:
        self.assertNotEqual(FIRST.authority.subject, SECOND.authority.subject)

    def test_as_much_is_left_when_the_next_one_is_due_as_a_check_wants_at_least(self) -> None:
        self.assertEqual(FIRST.not_after - FIRST.renew_at(), (LIFETIME + BACKDATE) / 3)
        self.assertGreater(FIRST.not_after - FIRST.renew_at(), LEFT)

    def test_no_key_is_shown(self) -> None:
        self.assertEqual(repr(FIRST), "Generation()")


class WantedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(serving_certificate, "MOST", MOST)
        self.patch(serving_certificate, "NEAR", NEAR)

    @given(BUNDLES, OURS)
    def test_ours_are_in_and_never_too_many(self, bundle: str, ours: Authorities) -> None:
        found = would_be(bundle, *ours)
        self.assertLessEqual(set(ours), set(found[-NEAR:]))
        self.assertLessEqual(len(found), MOST)

    @given(BUNDLES, OURS)
    def test_others_stay_as_far_as_there_is_room(self, bundle: str, ours: Authorities) -> None:
        before = [each for each in kept(authorities_in(bundle), NOW) if each not in ours]
        after = [each for each in would_be(bundle, *ours) if each not in ours]
        self.assertEqual(after, before[len(before) - len(after) :])
        self.assertEqual(len(after), min(len(before), MOST - len(ours)))

    @given(BUNDLES, OURS)
    def test_once_it_is_as_wanted_nothing_is_written(self, bundle: str, ours: Authorities) -> None:
        written = wanted(bundle, ours, NOW)
        self.assertEqual(wanted(written, ours, NOW), written)

    @example(to_pem([FIRST.leaf]), [FIRST.authority])
    @example(to_pem([authority(0, LONG_AGO)]), [FIRST.authority])
    @given(st.lists(DROPPED, max_size=9).map("".join), OURS)
    def test_nothing_else_stays(self, bundle: str, ours: Authorities) -> None:
        self.assertEqual(wanted(bundle, ours, NOW), to_pem(ours))

    @given(st.lists(DROPPED, max_size=5), st.integers(0, 5))
    def test_what_cannot_be_read_does_not_hide_what_can(self, garbage: list[str], place: int) -> None:
        garbage.insert(place, to_pem([SECOND.authority]))
        self.assertEqual(would_be("".join(garbage), FIRST.authority), [SECOND.authority, FIRST.authority])

    def test_ours_that_has_expired_is_left_out(self) -> None:
        self.assertEqual(would_be("", authority(0, LONG_AGO), FIRST.authority), [FIRST.authority])

    def test_others_stay_for_a_while_beyond_their_end(self) -> None:
        """Perhaps they have not ended: our clock is ahead."""
        others = [authority(0, LONG_AGO + MOMENT), authority(1, LONG_AGO)]
        self.assertEqual(would_be(to_pem(others), FIRST.authority), [others[0], FIRST.authority])

    def test_whose_clock_is_days_ahead_takes_nobody_away_who_serves(self) -> None:
        """They have more than two left when they renew, and stay for one more."""
        ahead = FIRST.renew_at() + timedelta(days=3)
        own = generate(HOST, ahead).authority
        self.assertEqual(authorities_in(wanted(to_pem([FIRST.authority]), [own], ahead)), [FIRST.authority, own])

    def test_somebody_elses_are_told_by_how_long_they_last(self) -> None:
        longest = LONGEST - BACKDATE
        others = [authority(0, NOW, longest), authority(1, NOW, longest + MOMENT)]
        self.assertEqual(would_be(to_pem(others), FIRST.authority), [others[0], FIRST.authority])

    def test_who_is_too_many_goes_from_the_front(self) -> None:
        full = to_pem(authority(number) for number in range(MOST))
        self.assertEqual(
            would_be(full, FIRST.authority), [*(authority(number) for number in range(1, MOST)), FIRST.authority]
        )

    def test_who_is_no_longer_near_the_back_goes_there(self) -> None:
        later = [authority(number) for number in range(NEAR)]
        near = [FIRST.authority, *later[1:]]
        self.assertEqual(would_be(to_pem(near), FIRST.authority), near)
        self.assertEqual(would_be(to_pem([FIRST.authority, *later]), FIRST.authority), [*later, FIRST.authority])

    @given(st.lists(st.integers(0, MOST - NEAR), max_size=5))
    def test_a_restart_loop_pushes_out_nobody_who_looks(self, restarts: list[int]) -> None:
        """So many come and go between two looks of one that runs."""
        bundle = wanted("", [FIRST.authority], NOW)
        number = 0
        for times in restarts:
            for _ in range(times):
                bundle = wanted(bundle, [authority(number)], NOW)
                number += 1
                self.assertIn(FIRST.authority, authorities_in(bundle))
            bundle = wanted(bundle, [FIRST.authority], NOW)

    @given(BUNDLES, st.integers(1, NEAR), st.data())
    def test_replicas_come_to_agree(self, bundle: str, replicas: int, draw: st.DataObject) -> None:
        """In whatever order they look, if there are NEAR at most: who went to the back has no more than the others
        behind it from then on, so each goes there once at most."""
        own = [[authority(number)] for number in range(replicas)]
        for _ in own:
            for ours in draw.draw(st.permutations(own)):
                bundle = wanted(bundle, ours, NOW)
        for ours in own:
            self.assertEqual(wanted(bundle, ours, NOW), bundle)

    def test_all_replicas_can_renew_at_once(self) -> None:
        both = [[authority(2 * number), authority(2 * number + 1)] for number in range(NEAR // 2)]
        bundle = ""
        for ours in both * 5:
            bundle = wanted(bundle, ours, NOW)
            self.assertLessEqual(set(ours), set(authorities_in(bundle)))
        self.assertEqual({wanted(bundle, ours, NOW) for ours in both}, {bundle})
        self.assertEqual(set(authorities_in(bundle)), {each for ours in both for each in ours})
