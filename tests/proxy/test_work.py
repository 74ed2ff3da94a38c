"""One connection's way, and the judgement of what goes wrong on it."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from meshtx.net.dial import DialFailed, DialFailure
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.legs import LegMalformed, LegRefused, LegReset
from meshtx.net.origdst import AlreadyGone, NoOriginalDestination
from meshtx.observe.flow import Direction, Refusal
from meshtx.observe.flows import Flows
from meshtx.observe.metrics import Metrics
from meshtx.observe.tap import TapHub
from meshtx.proxy.ends import End, Live
from meshtx.proxy.work import Refused, Work, refusal
from meshtx.wire.address import Address

HERE, THERE = Address.parse("10.0.0.1:1"), Address.parse("10.0.0.2:80")


class RefusalTests(SynchronousTestCase):
    def test_each_error_has_its_reason(self) -> None:
        def told(error: BaseException) -> tuple[str, str] | None:
            refused = refusal(error)
            return refused and (refused.reason.value, refused.detail)

        failed = DialFailed(THERE, DialFailure.REFUSED, "refused")
        self.assertEqual(told(Refused(Refusal.LOOP, "itself")), ("loop", "itself"))
        self.assertEqual(told(failed), ("connect_failed", "connecting to 10.0.0.2:80: refused"))
        self.assertEqual(told(TlsError(TlsFailure.EXPIRED, "long ago")), ("certificate_expired", "long ago"))
        self.assertEqual(told(LegRefused("no_rule")), ("refused_by_peer", "no_rule"))
        self.assertEqual(told(LegMalformed("frame")), ("protocol_error", "frame"))
        self.assertEqual(told(NoOriginalDestination("none")), ("no_original_destination", "none"))
        self.assertEqual([told(LegReset()), told(ZeroDivisionError())], [None, None])

    def test_it_says_both(self) -> None:
        self.assertEqual(str(Refused(Refusal.LOOP, "itself")), "loop: itself")


class WorkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.live, self.metrics = Live(), Metrics()
        self.closed: list[str] = []
        clock = Clock()
        flows = Flows(clock, self.metrics, TapHub(clock, self.metrics), [])
        self.work = Work(self.live, flows.open(Direction.OUT, HERE, THERE), self.closed.append)
        self.cancelled: list[object] = []
        self.waiting: Deferred[None] = Deferred(self.cancelled.append)

    async def steps(self) -> None:
        await self.waiting

    def outcome(self) -> tuple[dict[str, float], list[str], int]:
        """Return what was refused, how the client's side was closed, and what is still served."""
        [refused] = [each for each in self.metrics.registry.collect() if each.name == "tcp_refused"]
        reasons = {each.labels["reason"]: each.value for each in refused.samples if each.name == "tcp_refused_total"}
        return reasons, self.closed, len(self.live)

    def test_what_the_steps_raise_is_the_refusal(self) -> None:
        self.work.start(self.steps())
        self.waiting.errback(TlsError(TlsFailure.WRONG_NAME, "somebody else"))
        self.assertEqual(self.outcome(), ({"name_mismatch": 1}, ["name_mismatch"], 0))

    def test_a_defect_is_logged_and_a_refusal(self) -> None:
        self.work.start(self.steps())
        self.waiting.errback(ZeroDivisionError())
        self.assertEqual(self.outcome(), ({"internal": 1}, ["internal"], 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_defect_before_the_steps_too(self) -> None:
        self.work.attempt(lambda: 1 // 0)  # type: ignore[arg-type,return-value]
        self.assertEqual(self.outcome(), ({"internal": 1}, ["internal"], 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_one_that_had_gone_before_it_came_is_nobodys_news(self) -> None:
        """Health checks of balancers connect and reset at once."""

        def step() -> None:
            raise AlreadyGone("the connection is gone")

        self.work.attempt(step)
        refused, closed, served = self.outcome()
        self.assertEqual((refused, len(closed), served), ({}, 1, 0))

    def test_steps_that_are_cancelled_by_somebody_else_are_a_defect(self) -> None:
        self.work.start(self.steps())
        self.waiting.cancel()
        self.assertEqual(self.outcome(), ({"internal": 1}, ["internal"], 0))
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)

    def test_the_client_goes_before_the_steps(self) -> None:
        self.work.client_gone()
        self.work.client_gone()
        self.assertEqual(self.outcome(), ({}, [], 0))
        self.assertEqual(
            self.metrics.registry.get_sample_value("meshtx_silent_connections_total", _OUT | {"source": "direct"}), 1
        )

    def test_the_client_goes_in_the_steps(self) -> None:
        self.work.start(self.steps())
        self.work.client_gone()
        self.assertEqual((self.outcome(), len(self.cancelled)), (({}, [], 0), 1))

    def test_a_stop_in_the_steps(self) -> None:
        self.work.start(self.steps())
        self.work.abort()
        self.assertEqual((self.outcome(), len(self.cancelled)), (({"stopping": 1}, ["stopping"], 0), 1))

    def test_the_client_goes_after_a_refusal(self) -> None:
        """As it does each time: the refusal has closed its side."""
        self.work.start(self.steps())
        self.waiting.errback(Refused(Refusal.LOOP, "itself"))
        self.work.client_gone()
        self.assertEqual(self.outcome(), ({"loop": 1}, ["loop"], 0))

    def test_it_is_closed_once_and_by_the_way_that_is_known_last(self) -> None:
        other: list[str] = []
        self.work.closes_by(other.append)
        self.work.refuse(Refusal.LOOP, "itself")
        self.work.refuse(Refusal.LOOP, "itself")
        self.assertEqual((self.outcome(), other), (({"loop": 1}, [], 0), ["loop"]))

    def test_what_is_dropped_is_not_told(self) -> None:
        self.work.drop()
        self.work.client_gone()
        self.assertEqual(self.outcome(), ({}, [], 0))
        self.assertIsNone(
            self.metrics.registry.get_sample_value("meshtx_silent_connections_total", _OUT | {"source": "direct"})
        )

    def test_after_the_join_the_relay_has_the_word(self) -> None:
        near, far = End(), End()
        for end in (near, far):
            end.makeConnection(StringTransport())
        near.gone = self.work.client_gone
        self.work.relay(near, far)
        self.work.client_gone()
        self.assertEqual((self.outcome(), near.gone), (({}, [], 1), None))
        self.work.abort()
        self.assertEqual(self.outcome(), ({}, ["stopping"], 1))


_OUT = {"direction": "outbound"}
