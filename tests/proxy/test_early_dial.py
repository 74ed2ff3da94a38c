"""One early dial, while it is being made: on transports in memory and a clock that stands still."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from meshtx.net.dial import DialFailed, DialFailure
from meshtx.observe.metrics import Metrics
from meshtx.proxy.early import EarlyDial, EarlyDials
from meshtx.proxy.ends import End
from meshtx.proxy.speakers import Speaker
from meshtx.wire.address import Address


def refused() -> DialFailed:
    """Return a new one: an exception keeps what it came through in memory."""
    return DialFailed(Address.parse("10.0.0.1:80"), DialFailure.REFUSED, "refused")


class EarlyDialTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.metrics, self.clock = Metrics(), Clock()
        self.dials = EarlyDials(self.metrics)
        self.cancelled: list[object] = []
        self.dialled: Deferred[None] = Deferred(self.cancelled.append)
        self.ends: list[End] = []
        self.told: list[object] = []
        self.early = EarlyDial(self.dials, 80, self.connect, lambda: self.told.append("heard"), self.told.append)

    def tearDown(self) -> None:
        self.early.give_up()
        self.ends.clear()
        self.told.clear()

    def connect(self, far: End) -> Deferred[None]:
        return ensureDeferred(self._connect(far))

    async def _connect(self, far: End) -> None:
        self.ends.append(far)
        await self.dialled

    def count(self, result: str) -> float | None:
        return self.metrics.registry.get_sample_value("meshtx_early_dials_total", {"result": result})

    def test_the_client_goes_while_it_is_made(self) -> None:
        self.early.wait(self.clock, may_be_meshed=False)
        self.assertEqual((len(self.ends), self.dials.open), (1, 1))
        self.early.give_up()
        self.early.give_up()
        self.assertEqual((self.dials.open, self.count("unused"), self.told), (0, 1, []))
        self.assertEqual(self.cancelled, [self.dialled])

    def test_the_client_goes_before(self) -> None:
        self.early.wait(self.clock)
        self.early.give_up()
        self.assertEqual((self.clock.getDelayedCalls(), self.ends, self.count("unused")), ([], [], None))

    def test_it_fails_while_its_client_is_silent(self) -> None:
        self.early.wait(self.clock, may_be_meshed=False)
        self.dialled.errback(refused())
        self.assertEqual([type(each) for each in self.told], [DialFailed])
        self.assertEqual((self.dials.open, self.count("failed")), (0, 1))

    def test_it_fails_after_it_was_taken(self) -> None:
        self.early.wait(self.clock, may_be_meshed=False)
        taken = ensureDeferred(self.early.take(unspoken=False))
        self.assertNoResult(taken)
        self.dialled.errback(refused())
        self.failureResultOf(taken, DialFailed)
        self.assertEqual((self.told, self.dials.open, self.count("used")), ([], 0, 1))

    def test_whoever_has_taken_it_gives_up(self) -> None:
        self.early.wait(self.clock, may_be_meshed=False)
        taken = ensureDeferred(self.early.take(unspoken=True))
        taken.cancel()
        self.failureResultOf(taken, CancelledError)
        self.assertEqual(self.cancelled, [self.dialled])
        self.assertEqual(self.told, [])

    def test_what_is_hushed_while_it_is_made_is_not_read(self) -> None:
        self.early.wait(self.clock, may_be_meshed=False)
        self.early.hush()
        transport = StringTransport()
        self.ends[0].makeConnection(transport)
        self.assertEqual(transport.producerState, "paused")

    def test_for_a_proved_name_what_has_spoken_already_is_of_no_use(self) -> None:
        """Its words are for a peer that proved nothing: they came through the pause."""
        self.early.wait(self.clock, may_be_meshed=False)
        transport = StringTransport()
        self.ends[0].makeConnection(transport)
        self.dialled.callback(None)
        self.assertEqual(transport.producerState, "producing")
        self.early.hush()
        self.ends[0].dataReceived(b"220 ready")
        self.assertIsNone(self.successResultOf(ensureDeferred(self.early.take(unspoken=True))))
        self.assertEqual((transport.disconnected, self.told, self.count("unused")), (True, [], 1))

    def test_a_client_that_answers_was_not_the_first(self) -> None:
        self.early.wait(self.clock, may_be_meshed=False)
        self.ends[0].makeConnection(StringTransport())
        self.ends[0].dataReceived(b"220 ready")
        self.early.client_spoke()
        self.assertEqual((self.told, self.dials.speakers.of(80)), (["heard"], Speaker.SERVER_FIRST))
