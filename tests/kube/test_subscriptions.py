"""Who wants to know what, without a directory around it: what is left of who has gone, and what is told once."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.subscriptions import Session, Subscriptions
from meshtx.rpc.messages.directory_pb2 import Answer, Table, Update
from meshtx.wire.address import Address
from tests.kube.objects import SCOPE

WEB, OTHER, THIRD, FOURTH = (Address.parse(f"10.1.0.{number}:80") for number in range(1, 5))
OWN = ip_address("10.1.0.9")
MANY = 1000
SURE, NOT_SURE = lambda _: True, lambda _: False


class SubscriptionsCase(SynchronousTestCase):
    """Answers are as long as each other, and three are kept."""

    def setUp(self) -> None:
        self.word = "first"
        self.subscriptions = Subscriptions(
            self.answer,
            lambda _: Table(),
            most_sessions=MANY,
            most_asked=MANY,
            most=MANY,
            most_addresses=MANY,
            most_kept=3 * len(Update(answer=self.answer(WEB)).SerializeToString()),
        )

    def answer(self, address: Address) -> Answer:
        return Answer(authority=f"{address} {self.word}")

    def session(self, *known: Address, is_sure: Callable[[Address], bool] = SURE) -> Session:
        """Return a session that has begun and been told all."""
        session = Session(str(len(self.subscriptions.sessions)), SCOPE.name("shop", "web"), [OWN])
        self.subscriptions.open(session)
        self.subscriptions.begin(session, known, is_sure)
        self.told(session)
        return session

    def told(self, session: Session) -> list[str]:
        """Return the authorities of the answers that it is told now."""
        updates = [Update.FromString(each) for each in self.subscriptions.take(session, 1 << 20)]
        return [each.answer.authority for each in updates if each.HasField("answer")]


class KeptTests(SubscriptionsCase):
    """How much memory there is, nothing else tells."""

    def kept(self) -> list[Address]:
        return [asked.address for asked in self.subscriptions._kept]

    def test_what_is_used_again_is_kept_longest(self) -> None:
        session = self.session(WEB, OTHER, THIRD)
        self.subscriptions.ask(session, WEB)
        self.subscriptions.ask(session, FOURTH)
        self.assertEqual(self.kept(), [THIRD, WEB, FOURTH])

    def test_an_answer_that_is_made_again_counts_once(self) -> None:
        self.session(WEB)
        for _ in range(10):
            self.subscriptions.changed([WEB.ip])
            self.subscriptions.refresh(MANY)
        self.session(OTHER, THIRD)
        self.assertEqual(self.kept(), [WEB, OTHER, THIRD])


class WithheldTests(SubscriptionsCase):
    def test_it_is_told_once(self) -> None:
        session = self.session(WEB, is_sure=NOT_SURE)
        self.assertEqual(self.subscriptions.release(), [session])
        self.assertEqual(self.told(session), [f"{WEB} first"])
        self.assertEqual(self.subscriptions.release(), [])

    def test_nothing_is_told_of_what_was_forgotten_meanwhile(self) -> None:
        session = self.session(WEB, OTHER, is_sure=NOT_SURE)
        self.subscriptions.forget(session, [WEB])
        self.subscriptions.release()
        self.assertEqual(self.told(session), [f"{OTHER} first"])


class CloseTests(SubscriptionsCase):
    def test_whose_table_may_be_another_is_not_asked_of_who_has_gone(self) -> None:
        gone, there = self.session(), self.session()
        self.subscriptions.changed([OWN])
        self.subscriptions.close(gone)
        self.assertEqual(list(self.subscriptions._stale_tables), [there])
        self.subscriptions.refresh(MANY)
        self.subscriptions.changed([OWN])
        self.assertEqual(list(self.subscriptions._stale_tables), [there])

    def test_of_who_has_gone_nothing_is_left(self) -> None:
        before = self.sizes()
        session = self.session(WEB, OTHER, is_sure=NOT_SURE)
        self.subscriptions.close(session)
        self.assertEqual(self.sizes(), before)

    def sizes(self) -> dict[str, int]:
        """Return how much there is in each container, and what is counted."""
        counted = vars(self.subscriptions).items()
        return {name: each if isinstance(each, int) else len(each) for name, each in counted if not callable(each)}
