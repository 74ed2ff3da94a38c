from __future__ import annotations

from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, inlineCallbacks
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from meshtx.net.dial import DialFailed
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.observe.tap import QUEUE_BOUND
from meshtx.observe.tap_lines import text_line
from meshtx.observe.tap_match import TapMatch
from meshtx.observe.tap_messages import match_message
from meshtx.pki.name import Name
from meshtx.rpc.messages.tap_pb2 import ObserveRequest, TapEvent
from meshtx.rpc.status import RpcError, Status
from meshtx.wire.address import Address
from tests.net.certificates import make_ca, make_leaf
from tests.observe.cases import EMOJI, WEB
from tests.observe.tap_case import EMPTY, Received, TapCase


class Silent(Protocol, Factory):
    """Takes a ClientHello and says nothing."""

    noisy = False

    def __init__(self) -> None:
        self.asked: Deferred[bytes] = Deferred()
        self.left: Deferred[None] = Deferred()

    def buildProtocol(self, _address: object) -> Protocol:
        return self

    def dataReceived(self, data: bytes) -> None:
        self.asked.callback(data)

    def connectionLost(self, _reason: Failure = connectionDone) -> None:
        self.left.callback(None)


class TapClientTests(TapCase):
    def setUp(self) -> None:
        super().setUp()
        self.received = Received()

    def observe(
        self,
        name: Name = WEB,
        match: TapMatch | None = None,
        on_event: Callable[[TapEvent], None] | None = None,
        **client: object,
    ) -> Deferred[None]:
        request = ObserveRequest(match=match_message(match or TapMatch()))
        taps = self.client(**client)
        return ensureDeferred(taps.observe(self.address, name, request, on_event or self.received.take))

    @inlineCallbacks
    def ended(self, tap: Deferred[None]):
        """End a tap from here."""
        tap.cancel()
        yield self.assertFailure(tap, CancelledError)

    @inlineCallbacks
    def test_a_request_is_seen_from_afar_as_linkerds_users_know_it(self):
        tap = self.observe()
        yield self.received.until(1)
        self.exchange()
        yield self.received.until(4)
        ends = "src=10.1.0.4:48210 dst=10.1.0.2:80 tls=true"
        self.assertEqual(self.received.events[0], EMPTY)
        lines = [text_line(event) for event in self.received.events[1:]]
        self.assertEqual(lines[0], f"req id=0:0 proxy=in  {ends} :method=GET :authority=web:80 :path=/api/list")
        self.assertRegex(lines[1], rf"^rsp id=0:0 proxy=in  {ends} :status=200 latency=\d+µs$")
        self.assertRegex(lines[2], rf"^end id=0:0 proxy=in  {ends} duration=\d+µs response-length=3B$")
        yield self.ended(tap)

    @inlineCallbacks
    def test_filters_go_to_the_proxy(self):
        tap = self.observe(match=TapMatch(path_prefix="/b"))
        yield self.received.until(1)
        self.exchange("/a")
        self.exchange("/b")
        yield self.received.until(4)
        self.assertEqual(self.received.events[1].request.path, "/b")
        yield self.ended(tap)

    @inlineCallbacks
    def test_who_takes_his_time_makes_the_proxy_lose_and_count(self):
        waiting: Deferred[None] = Deferred()

        def slowly(event: TapEvent) -> Deferred[None]:
            self.received.take(event)
            return waiting

        tap = self.observe(on_event=slowly)
        yield self.received.until(1)
        turns = 60
        for _ in range(turns):
            for _ in range(QUEUE_BOUND // 10):
                self.exchange()
            yield deferLater(reactor, 0.001)
        self.assertEqual(self.received.events, [EMPTY])
        waiting.callback(None)
        while not self.received.events[-1].HasField("lost"):
            yield self.received.until(len(self.received.events) + 1)
        lost = self.received.events[-1].lost.count
        self.assertGreater(lost, 0)
        self.assertLessEqual(lost, 3 * turns * QUEUE_BOUND // 10)
        yield self.ended(tap)

    @inlineCallbacks
    def test_a_burst_beyond_the_queue_is_told_as_lost(self):
        tap = self.observe()
        yield self.received.until(1)
        for _ in range(QUEUE_BOUND):
            self.exchange()
        yield self.received.until(QUEUE_BOUND + 2)
        self.assertEqual(self.received.events[-1].lost.count, 2 * QUEUE_BOUND)
        yield self.ended(tap)

    @inlineCallbacks
    def test_a_proxy_of_another_name_is_not_listened_to(self):
        error = yield self.assertFailure(self.observe(EMOJI), TlsError)
        self.assertIs(error.reason, TlsFailure.WRONG_NAME)
        self.assertEqual(self.received.events, [])

    @inlineCallbacks
    def test_who_is_not_listed_is_told_so(self):
        error = yield self.assertFailure(self.observe(credentials=make_leaf(self.ca, WEB)), RpcError)
        self.assertIs(error.status, Status.PERMISSION_DENIED)

    @inlineCallbacks
    def test_a_stranger_to_the_mesh_gets_nothing(self):
        yield self.assertFailure(self.observe(credentials=make_leaf(make_ca(), EMOJI)), RpcError, TlsError)
        self.assertEqual((self.received.events, self.hub.subscriptions), ([], ()))

    @inlineCallbacks
    def test_a_proxy_that_stops_ends_the_tap(self):
        tap = self.observe()
        yield self.received.until(1)
        self.hub.close()
        error = yield self.assertFailure(tap, RpcError)
        self.assertIs(error.status, Status.UNAVAILABLE)

    @inlineCallbacks
    def test_what_the_reader_raises_ends_the_tap(self):
        def enough(_event: TapEvent) -> None:
            raise ZeroDivisionError

        yield self.assertFailure(self.observe(on_event=enough), ZeroDivisionError)

    @inlineCallbacks
    def test_who_gives_up_in_the_handshake_hears_of_it_once(self):
        silent = Silent()
        listening = reactor.listenTCP(0, silent, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        self.address = Address.of("127.0.0.1", listening.getHost().port)
        tap = self.observe()
        yield silent.asked
        yield self.ended(tap)
        yield silent.left
        yield deferLater(reactor, 0)  # our end hears of it after that

    @inlineCallbacks
    def test_where_nobody_listens_there_is_no_tap(self):
        taps = self.client()
        address = type(self.address)(self.address.ip, 1)
        observing = ensureDeferred(taps.observe(address, WEB, ObserveRequest(), self.received.take))
        yield self.assertFailure(observing, DialFailed)
