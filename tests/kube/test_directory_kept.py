"""Answers that are kept for whoever asks next: how much of them, and that nobody is told anything else without."""

from __future__ import annotations

from itertools import pairwise

from meshtx.kube import directory_service
from meshtx.kube.objects import ServicePort
from meshtx.kube.subscriptions import LONG
from tests.kube import test_directory_service as told
from tests.kube.objects import ELSEWHERE, SCOPE, endpoint, piece, pod, service
from tests.kube.test_directory_service import BATCH, TURN, WEB, DirectoryCase

PORTS = range(1000, 1010)
MANY = 100


class NothingKept(DirectoryCase):
    def setUp(self) -> None:
        self.patch(directory_service, "MAX_KEPT", 0)
        super().setUp()


class FollowTests(NothingKept, told.FollowTests):
    """What followers are told does not depend on what is kept."""


class FindTests(NothingKept, told.FindTests):
    """Nor does what they find."""


class NewerTests(NothingKept):
    def test_who_was_told_of_a_change_before_the_others_is_told_that_it_was_taken_back(self) -> None:
        self.know(pod())
        first, second = self.follower(WEB), self.follower()
        for each in (first, second):
            each.told()
        before = self.answer(WEB)
        self.service.changed(pod(), pod(account="other"))
        self.assertNotEqual(second.found(WEB), before.answer)
        self.change(pod(account="other"), pod())
        self.assertEqual(second.told(), [before])
        self.assertEqual(self.answer(WEB), before)


class LongTests(DirectoryCase):
    """A Service with many ports before many pods: each of its answers is long."""

    def setUp(self) -> None:
        self.patch(directory_service, "MAX_KEPT", 25 * LONG)
        super().setUp()
        pods = [pod(f"web-{number}", f"10.1.0.{number}") for number in range(1, MANY + 1)]
        ports = tuple(ServicePort(f"p{port}", port, port) for port in PORTS)
        self.places = [endpoint(f"10.1.0.{number}", f"web-{number}") for number in range(1, MANY + 1)]
        self.named = tuple((f"p{port}", port) for port in PORTS)
        self.know(*pods, service(ports=ports), piece(*self.places, ports=self.named))

    def test_of_long_answers_those_used_last_are_kept(self) -> None:
        follower = self.follower(*(f"10.96.0.1:{port}" for port in PORTS))
        self.assertGreater(sum(each.ByteSize() for each in follower.told()), 50 * LONG)
        kept = self.service._subscriptions._kept  # how much memory there is, nothing else tells
        self.assertEqual([asked.address.port for asked in kept], list(PORTS)[-len(kept) :])
        self.assertTrue(20 * LONG < sum(map(len, kept.values())) <= 25 * LONG)

    def test_what_nobody_asks_for_is_not_kept(self) -> None:
        follower = self.follower("10.96.0.1:1000")
        follower.leave()
        self.assertEqual((len(self.service._subscriptions._kept), self.service._subscriptions._kept_size), (0, 0))

    def test_a_long_answer_is_as_many_short_ones_in_a_turn(self) -> None:
        """Else a change behind a Service of thousands of endpoints keeps the directory from everything for seconds."""
        self.patch(directory_service, "A_TURN", 20)
        follower = self.follower(*(f"10.96.0.1:{port}" for port in PORTS))
        follower.told()
        length = self.answer("10.96.0.1:1000").ByteSize()
        self.assertTrue(6 * LONG < length < 9 * LONG)
        self.service.changed(piece(*self.places, ports=self.named), piece(*self.places[1:], ports=self.named))
        counts = []
        for seconds in (BATCH, TURN, TURN, TURN):
            self.clock.advance(seconds)
            counts.append(len(follower.call.sent) - 1)
        self.assertEqual({later - earlier for earlier, later in pairwise([0, *counts[:3]])}, {3})
        self.assertEqual(counts[-1], len(PORTS))

    def test_who_asks_for_little_does_not_wait_for_who_asks_for_much(self) -> None:
        """Else one namespace could have all others told of their pods minutes later."""
        self.patch(directory_service, "A_TURN", 1)
        many = self.follower(*(f"10.96.0.1:{port}" for port in PORTS), peer=SCOPE.name(ELSEWHERE, "web"))
        one = self.follower(WEB)
        for each in (many, one):
            each.told()
        self.service.changed(piece(*self.places, ports=self.named), piece(*self.places[1:], ports=self.named))
        self.service.changed(pod(), pod(account="other"))
        for seconds in (BATCH, TURN):
            self.clock.advance(seconds)
        self.assertEqual((len(many.told()), one.told()), (1, [self.answer(WEB)]))
        while self.clock.getDelayedCalls():
            self.clock.advance(TURN)
        self.assertEqual(len(many.told()), len(PORTS) - 1)
