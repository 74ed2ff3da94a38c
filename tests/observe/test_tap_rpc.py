from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from meshtx.observe.flow import ResponseEnd
from meshtx.observe.metrics import Metrics
from meshtx.observe.sparing import BURST
from meshtx.observe.tap import BATCH, GATHER, Finished, FlowOpened, TapEvent, TapHub
from meshtx.observe.tap_match import TapMatch
from meshtx.observe.tap_messages import MAX_EVENT
from meshtx.observe.tap_rpc import TapService
from meshtx.pki.name import Name
from meshtx.rpc.messages import tap_pb2
from meshtx.rpc.methods import TAP_OBSERVE
from meshtx.rpc.status import RpcError, Status
from tests.observe.cases import EMOJI, WEB, a_flow, a_request, series


class FakeCall:
    """A caller that takes as many messages as it is let."""

    def __init__(self, peer: Name | None) -> None:
        self.peer = peer
        self.sent: list[tap_pb2.TapEvent] = []
        self.batches: list[int] = []
        self.full: Deferred[None] | None = None

    def ready(self) -> Deferred[None]:
        return self.full or succeed(None)

    def send(self, message: tap_pb2.TapEvent) -> None:
        self.sent.append(message)

    def send_encoded(self, messages: Sequence[bytes]) -> None:
        self.batches.append(len(messages))
        self.sent += map(tap_pb2.TapEvent.FromString, messages)


class TapServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.hub = TapHub(self.clock, self.metrics, limit=2)

    def observe(
        self,
        peer: Name | None = EMOJI,
        request: tap_pb2.ObserveRequest | None = None,
        allowed: Collection[Name] = (EMOJI,),
    ) -> Deferred[None]:
        self.call = FakeCall(peer)
        handler = TapService(self.hub, allowed).handlers()[TAP_OBSERVE]
        running = ensureDeferred(handler(request or tap_pb2.ObserveRequest(), self.call))
        self.addCleanup(self.end, running)
        return running

    def end(self, running: Deferred[None]) -> None:
        """Cancel it here: what is left to the garbage collector fails in a later test."""
        running.addErrback(lambda _failure: None)
        running.cancel()

    def assertRefused(self, status: Status, *args: object, **kwargs: object) -> None:
        error = self.failureResultOf(self.observe(*args, **kwargs), RpcError).value
        self.assertIs(error.status, status)
        self.assertEqual(
            series(self.metrics, "meshtx_tap_refused_total"),
            [f'meshtx_tap_refused_total{{status="{status.name}"}} 1.0'],
        )
        self.assertEqual(self.call.sent, [])

    def test_who_is_not_listed_is_refused(self) -> None:
        self.assertRefused(Status.PERMISSION_DENIED, WEB)
        self.assertEqual(self.hub.subscriptions, ())

    def test_an_empty_list_lets_nobody_in(self) -> None:
        self.assertRefused(Status.PERMISSION_DENIED, allowed=())

    def test_who_has_no_name_is_refused(self) -> None:
        self.assertRefused(Status.UNAUTHENTICATED, None)

    def test_refusals_do_not_fill_the_log(self) -> None:
        lines: list[object] = []
        globalLogPublisher.addObserver(lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, lines.append)
        observe = TapService(self.hub, ()).observe
        for _ in range(1000):
            self.failureResultOf(ensureDeferred(observe(tap_pb2.ObserveRequest(), FakeCall(WEB))), RpcError)
        self.assertEqual(len(lines), BURST)

    def test_a_filter_that_cannot_be_read_is_refused(self) -> None:
        self.assertRefused(Status.INVALID_ARGUMENT, request=tap_pb2.ObserveRequest(match=tap_pb2.Match(peer="nobody")))

    def test_one_tap_too_many_is_refused(self) -> None:
        self.observe()
        self.observe()
        self.assertRefused(Status.RESOURCE_EXHAUSTED)

    def test_the_first_message_says_that_the_tap_is_open(self) -> None:
        self.observe()
        self.assertEqual(self.call.sent, [tap_pb2.TapEvent()])
        self.assertEqual(len(self.hub.subscriptions), 1)

    def test_events_follow_with_headers_only_if_asked_for(self) -> None:
        for headers, count in ((False, 0), (True, 1)):
            self.observe(request=tap_pb2.ObserveRequest(headers=headers))
            self.hub.subscriptions[-1].offer(TapEvent(0.0, a_flow(), a_request()))
            self.clock.advance(0)
            self.assertEqual(len(self.call.sent[1].request.headers), count)

    def test_the_filters_are_the_callers(self) -> None:
        self.observe(request=tap_pb2.ObserveRequest(match=tap_pb2.Match(path_prefix="/api")))
        self.assertEqual(self.hub.subscriptions[0].match, TapMatch(path_prefix="/api"))

    def test_a_caller_that_takes_nothing_is_sent_nothing(self) -> None:
        self.observe()
        self.call.full = full = Deferred()
        for number in range(3):
            self.hub.subscriptions[0].offer(TapEvent(0.0, a_flow(number=number), FlowOpened()))
        self.clock.advance(0)
        self.assertEqual(self.call.sent, [tap_pb2.TapEvent()])
        self.call.full = None
        full.callback(None)
        self.clock.advance(0)
        self.assertEqual([each.flow.id for each in self.call.sent[1:]], [0, 1, 2])

    def test_what_waits_is_sent_together(self) -> None:
        self.observe()
        for number in range(BATCH + 3):
            self.hub.subscriptions[0].offer(TapEvent(0.0, a_flow(number=number), FlowOpened()))
        self.clock.advance(0)
        self.assertEqual(self.call.batches, [BATCH, 3])
        self.assertEqual([each.flow.id for each in self.call.sent[1:]], list(range(BATCH + 3)))

    def test_headers_of_answers_are_read_for_who_asks_for_them(self) -> None:
        for headers in (False, True):
            self.observe(request=tap_pb2.ObserveRequest(headers=headers))
            self.assertIs(self.hub.subscriptions[-1].headers, headers)

    def test_a_caller_that_goes_frees_its_place(self) -> None:
        running = self.observe()
        running.cancel()
        self.failureResultOf(running)
        self.assertEqual(self.hub.subscriptions, ())

    def test_a_proxy_that_stops_says_so(self) -> None:
        running = self.observe()
        self.hub.close()
        self.assertIs(self.failureResultOf(running, RpcError).value.status, Status.UNAVAILABLE)

    def test_an_event_that_no_message_can_hold_is_left_out_and_logged(self) -> None:
        for what in (
            Finished(ResponseEnd(0, -1), 0.0, 0.0),
            replace(a_request(), method=None),
            replace(a_request(), headers=(("content-length", 7),)),
            replace(a_request(), path="/" * MAX_EVENT),
        ):
            self.observe(request=tap_pb2.ObserveRequest(headers=True))
            self.hub.subscriptions[0].offer(TapEvent(0.0, a_flow(), what))
            self.hub.subscriptions[0].offer(TapEvent(0.0, a_flow(), FlowOpened()))
            self.clock.advance(GATHER)
            self.assertEqual([each.WhichOneof("event") for each in self.call.sent], [None, "flow_opened"])
            self.assertEqual(len(self.flushLoggedErrors()), 1)
            self.hub.subscriptions[0].close()

    def test_events_that_no_message_can_hold_do_not_fill_the_log(self) -> None:
        self.observe()
        for _ in range(BURST + 5):
            self.hub.subscriptions[0].offer(TapEvent(0.0, a_flow(), Finished(ResponseEnd(0, -1), 0.0, 0.0)))
        self.clock.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), BURST)
