from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.observe.flow import Direction
from meshtx.observe.metrics import Metrics
from meshtx.observe.tap import BATCH, GATHER, FlowOpened, Lost, Subscription, TapClosed, TapEvent, TapFull, TapHub
from meshtx.observe.tap_match import TapMatch
from tests.observe.cases import EMOJI, a_flow, series


def event(number: int = 0) -> TapEvent:
    return TapEvent(1000.0, a_flow(number=number), FlowOpened())


class SubscriptionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.hub = TapHub(self.clock, self.metrics)
        self.subscription = self.hub.subscribe(TapMatch(), bound=3)

    def read(self, subscription: Subscription | None = None) -> list[TapEvent | Lost]:
        """All that is there to be read."""
        events: list[TapEvent | Lost] = []
        while True:
            reader = (subscription or self.subscription).next()
            if not reader.called:
                self.clock.advance(0)
            if not reader.called:
                reader.cancel()
                self.failureResultOf(reader, CancelledError)
                return events
            events.append(self.successResultOf(reader))

    def test_events_are_read_in_order(self) -> None:
        for number in range(3):
            self.subscription.offer(event(number))
        self.assertEqual(self.read(), [event(0), event(1), event(2)])

    def test_a_waiting_reader_is_woken_by_the_reactor_and_not_by_the_connection(self) -> None:
        reader = self.subscription.next()
        self.subscription.offer(event())
        self.assertNoResult(reader)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(reader), event())

    def test_a_slow_reader_is_told_at_the_place_where_events_are_missing(self) -> None:
        for number in range(5):
            self.subscription.offer(event(number))
        self.assertEqual(self.successResultOf(self.subscription.next()), event(0))
        self.subscription.offer(event(5))
        self.assertEqual(self.read(), [event(1), event(2), Lost(2), event(5)])

    def test_a_loss_at_the_end_is_told_without_another_event(self) -> None:
        for number in range(4):
            self.subscription.offer(event(number))
        self.assertEqual(self.read(), [event(0), event(1), event(2), Lost(1)])

    def test_losses_are_counted(self) -> None:
        for number in range(5):
            self.subscription.offer(event(number))
        self.assertEqual(series(self.metrics, "meshtx_tap_lost_events_total"), ["meshtx_tap_lost_events_total 2.0"])

    def test_what_waits_is_bounded_whatever_is_offered(self) -> None:
        for number in range(10_000):
            self.subscription.offer(event(number))
            if number % 7 == 0:
                self.subscription.next()
        self.assertLessEqual(len(self.read()), 3 + 2)  # a Lost among them and one behind them

    def test_a_busy_tap_leaves_the_reactor_its_turns(self) -> None:
        subscription = self.hub.subscribe(TapMatch())
        for number in range(BATCH + 1):
            subscription.offer(event(number))
        for number in range(BATCH):
            self.assertEqual(self.successResultOf(subscription.next()), event(number))
        reader = subscription.next()
        self.assertNoResult(reader)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(reader), event(BATCH))

    def test_what_waits_is_taken_together(self) -> None:
        for number in range(3):
            self.subscription.offer(event(number))
        self.assertEqual(self.successResultOf(self.subscription.next()), event(0))
        self.assertEqual(self.subscription.rest(), [event(1), event(2)])
        self.assertEqual(self.subscription.rest(), [])

    def test_what_is_taken_together_is_bounded(self) -> None:
        subscription = self.hub.subscribe(TapMatch())
        for number in range(3 * BATCH):
            subscription.offer(event(number))
        for start in (0, BATCH, 2 * BATCH):
            reader = subscription.next()
            self.clock.advance(0)
            taken = [self.successResultOf(reader), *subscription.rest()]
            self.assertEqual(taken, [event(number) for number in range(start, start + BATCH)])

    def test_a_loss_is_taken_with_what_was_before_it(self) -> None:
        for number in range(5):
            self.subscription.offer(event(number))
        self.assertEqual(self.successResultOf(self.subscription.next()), event(0))
        self.assertEqual(self.subscription.rest(), [event(1), event(2), Lost(2)])

    def test_who_keeps_up_is_woken_for_what_comes_in_a_while_together(self) -> None:
        def offered(number: int) -> Deferred[TapEvent | Lost]:
            reader = self.subscription.next()
            self.subscription.offer(event(number))
            self.clock.advance(0)
            return reader

        self.assertEqual(self.successResultOf(offered(0)), event(0))
        reader = offered(1)
        self.assertNoResult(reader)
        self.subscription.offer(event(2))
        self.clock.advance(GATHER)
        self.assertEqual([self.successResultOf(reader), *self.subscription.rest()], [event(1), event(2)])

    def test_a_clock_that_is_set_back_makes_nobody_wait(self) -> None:
        self.clock.rightNow = 1000.0
        for number in range(2):
            reader = self.subscription.next()
            self.subscription.offer(event(number))
            self.clock.advance(GATHER)
            self.assertEqual(self.successResultOf(reader), event(number))
            self.clock.rightNow = 10.0

    def test_a_reader_that_gives_up_loses_nothing(self) -> None:
        reader = self.subscription.next()
        self.subscription.offer(event())
        reader.cancel()
        self.failureResultOf(reader, CancelledError)
        self.assertEqual(self.successResultOf(self.subscription.next()), event())
        waiting = self.subscription.next()
        self.clock.advance(0)
        self.assertNoResult(waiting)

    def test_closing_tells_the_reader_and_takes_nothing_more(self) -> None:
        reader = self.subscription.next()
        self.subscription.offer(event())
        self.subscription.close()
        self.subscription.close()
        self.failureResultOf(reader, TapClosed)
        self.subscription.offer(event())
        self.failureResultOf(self.subscription.next(), TapClosed)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.hub.subscriptions, ())


class TapHubTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.metrics = Metrics()
        self.hub = TapHub(Clock(), self.metrics, limit=2)

    def test_taps_are_bounded(self) -> None:
        first = self.hub.subscribe(TapMatch())
        self.hub.subscribe(TapMatch())
        self.assertRaises(TapFull, self.hub.subscribe, TapMatch())
        self.assertEqual(series(self.metrics, "meshtx_tap_subscribers"), ["meshtx_tap_subscribers 2.0"])
        first.close()
        self.hub.subscribe(TapMatch())

    def test_closing_the_hub_closes_every_tap(self) -> None:
        reader = self.hub.subscribe(TapMatch()).next()
        self.hub.close()
        self.failureResultOf(reader, TapClosed)
        self.assertEqual(series(self.metrics, "meshtx_tap_subscribers"), ["meshtx_tap_subscribers 0.0"])

    def test_the_requests_of_a_connection_may_go_to_those_whose_filters_it_meets(self) -> None:
        mine = self.hub.subscribe(TapMatch(path_prefix="/api", direction=Direction.IN))
        self.hub.subscribe(TapMatch(path_prefix="/api", peer=EMOJI))
        self.assertEqual(self.hub.of_connection(a_flow()), (mine,))
        self.assertEqual(self.hub.of_connection(a_flow(Direction.OUT)), ())

    def test_a_connection_without_requests_goes_to_those_who_do_not_filter_requests(self) -> None:
        mine = self.hub.subscribe(TapMatch(direction=Direction.IN))
        self.hub.subscribe(TapMatch(path_prefix="/"))
        self.assertEqual(self.hub.of_flow(a_flow()), (mine,))
        self.assertEqual(self.hub.of_flow(a_flow(Direction.OUT)), ())
