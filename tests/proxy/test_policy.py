"""Every mode, for every kind of peer."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshtx.observe.flow import Mtls, NoTls, NoTlsReason, Refusal
from meshtx.proxy.policy import Denied, Mode, Permit, Policy, decide
from tests.pki.made import VOTING, WEB

PEER = Mtls(WEB, "meshtx/1")


class DecideTests(SynchronousTestCase):
    def test_everybody(self) -> None:
        policy = Policy(Mode.ALL_UNAUTHENTICATED)
        for peer in (PEER, *map(NoTls, NoTlsReason)):
            self.assertEqual(decide(policy, peer, 80), Permit(80, "all-unauthenticated"))

    def test_whoever_proved_a_name(self) -> None:
        policy = Policy(Mode.ALL_AUTHENTICATED)
        self.assertEqual(decide(policy, PEER, 80), Permit(80, "all-authenticated"))

    def test_listed_names(self) -> None:
        policy = Policy(Mode.LISTED, frozenset({str(WEB)}))
        self.assertEqual(decide(policy, PEER, 80), Permit(80, "listed"))
        self.assertEqual(
            decide(policy, Mtls(VOTING, "meshtx/1"), 80), Denied(Refusal.NO_RULE, f"{VOTING} is not listed")
        )

    def test_an_empty_list_lets_nobody_in(self) -> None:
        self.assertEqual(decide(Policy(Mode.LISTED), PEER, 80), Denied(Refusal.NO_RULE, f"{WEB} is not listed"))

    def test_a_list_is_not_read_in_another_mode(self) -> None:
        policy = Policy(Mode.ALL_AUTHENTICATED, frozenset({str(VOTING)}))
        self.assertEqual(decide(policy, PEER, 80), Permit(80, "all-authenticated"))

    def test_who_proved_nothing_is_told_why_that_was(self) -> None:
        for mode in (Mode.ALL_AUTHENTICATED, Mode.LISTED):
            for reason in NoTlsReason:
                detail = f"policy {mode.value}, and the peer proved no name: {reason.value}"
                self.assertEqual(
                    decide(Policy(mode, frozenset({str(WEB)})), NoTls(reason), 80), Denied(Refusal.NO_RULE, detail)
                )
