"""The webhook's HTTP side: what is answered, what is refused, and what nobody may make it hold."""

from __future__ import annotations

import json
import sys
import tempfile
from base64 import b64decode
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import HTTPChannel

from meshtx.errors import MeshtxError
from meshtx.kube import webhook_site
from meshtx.kube.admission import Review, allowed
from meshtx.kube.injector import Result
from meshtx.kube.webhook_site import GRACE, IDLE, MAX_ANSWER, MAX_BODY, WebhookSite, read_size
from meshtx.observe.sparing import BURST, WINDOW

REVIEW = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {
        "uid": "u",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": "shop",
        "object": {},
    },
}
BODY = json.dumps(REVIEW).encode()
HELD = len(BODY) + read_size(BODY)
"""Bytes until it is answered."""


def size_of(value: object) -> int:
    """Return the bytes of a JSON value, but of keys, of which there is one of each."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sys.getsizeof(value) + sum(map(size_of, parts))


class Transport(StringTransport):
    """Knows how to abort, as ours do."""

    aborted = False
    channel: HTTPChannel

    def abortConnection(self) -> None:
        if not self.aborted:
            self.aborted = True
            self.channel.connectionLost(Failure(ConnectionAborted()))


class SiteCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.results: list[Result] = []
        self.waiting: list[Deferred[bytes]] = []
        self.cancelled: list[object] = []
        paths = {"/pods": self.answer, "/later": self.later, "/broken": self.broken}
        self.site = WebhookSite(paths, reactor=self.clock, answered=self.results.append)

    async def answer(self, review: Review) -> bytes:
        return allowed(review, {"a": 1})

    async def later(self, review: Review) -> bytes:
        del review
        waiting: Deferred[bytes] = Deferred(self.cancelled.append)
        self.waiting.append(waiting)
        return await waiting

    async def broken(self, review: Review) -> bytes:
        raise MeshtxError("no anchors")

    def connect(self) -> Transport:
        channel = self.site.buildProtocol(None)
        transport = Transport()
        transport.channel = channel
        transport.protocol = channel
        channel.makeConnection(transport)
        return transport

    def ask(self, path: str, body: bytes = BODY, method: str = "POST", **headers: str) -> Transport:
        """Send a request on a new connection."""
        transport = self.connect()
        self.send(transport, path, body, method, **headers)
        return transport

    def send(self, transport: Transport, path: str, body: bytes = BODY, method: str = "POST", **headers: str) -> None:
        lines = {"Host": "x", "Content_Length": str(len(body)), **headers}
        head = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in lines.items() if text)
        transport.channel.dataReceived(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)

    def status(self, transport: Transport) -> int:
        return int(transport.value().split()[1])


class AnswerTests(SiteCase):
    def test_a_review_is_answered(self) -> None:
        transport = self.ask("/pods?timeout=10s")
        head, _, body = transport.value().partition(b"\r\n\r\n")
        self.assertEqual(self.status(transport), 200)
        self.assertIn(b"Content-Type: application/json", head)
        self.assertNotIn(b"Server:", head)
        response: dict[str, Any] = json.loads(body.split(b"\r\n")[1])["response"]
        self.assertEqual(json.loads(b64decode(response["patch"])), [{"op": "add", "path": "/a", "value": 1}])
        self.assertEqual(self.site.held, 0)

    def test_trouble_of_ours_is_500_and_logged(self) -> None:
        transport = self.ask("/broken")
        self.assertEqual((self.status(transport), self.results), (500, [Result.FAILED]))
        self.assertNotIn(b"anchors", transport.value())
        self.assertEqual(len(self.flushLoggedErrors(MeshtxError)), 1)

    def test_of_much_trouble_some_is_logged(self) -> None:
        for _ in range(BURST + 5):
            self.assertEqual(self.status(self.ask("/broken")), 500)
        self.assertEqual(len(self.flushLoggedErrors(MeshtxError)), BURST)
        self.clock.advance(WINDOW)
        with capturedLogs() as events:
            self.ask("/broken")
        self.assertIn("and 5 more before it", formatEvent(events[0]))
        self.flushLoggedErrors(MeshtxError)

    def test_what_is_no_review_is_400(self) -> None:
        self.assertEqual(self.status(self.ask("/pods", b"{}")), 400)
        self.assertEqual(self.results, [Result.MALFORMED])

    def test_other_paths_and_methods(self) -> None:
        self.assertEqual(self.status(self.ask("/other")), 404)
        self.assertEqual(self.status(self.ask("/pods", b"", "GET")), 405)

    def test_who_does_not_wait_for_the_answer_ends_the_work(self) -> None:
        transport = self.ask("/later")
        transport.abortConnection()
        self.assertEqual((self.cancelled, self.results, self.site.held), (self.waiting, [], 0))


class BoundTests(SiteCase):
    def test_a_long_body_is_refused_by_its_length(self) -> None:
        transport = self.ask("/pods", b"", Content_Length=str(MAX_BODY + 1))
        self.assertEqual(self.status(transport), 413)
        self.assertTrue(transport.disconnecting)

    def test_one_without_a_length_is_refused_when_it_gets_too_long(self) -> None:
        self.patch(webhook_site, "MAX_BODY", 10)
        transport = self.ask("/pods", b"8\r\n12345678\r\n", Content_Length="", Transfer_Encoding="chunked")
        self.assertEqual((transport.value(), self.site.held), (b"", 8))
        transport.channel.dataReceived(b"8\r\n12345678\r\n0\r\n\r\n")
        self.assertEqual((self.status(transport), self.results), (413, []))
        transport.abortConnection()
        self.assertEqual(self.site.held, 0)

    def test_all_bodies_together_are_bounded_and_who_sends_longest_makes_room(self) -> None:
        self.patch(webhook_site, "MAX_HELD", 2 * len(BODY) + HELD)
        held = [self.ask("/pods", BODY[:-1], Content_Length=str(len(BODY))) for _ in range(3)]
        self.assertEqual(self.status(self.ask("/pods")), 200)
        self.assertEqual([each.aborted for each in held], [True, False, False])
        self.assertEqual(self.site.held, 2 * len(BODY) - 2)
        held[2].channel.dataReceived(BODY[-1:])
        self.assertEqual(self.status(held[2]), 200)

    def test_where_nobody_else_is_sending_there_is_no_room(self) -> None:
        self.patch(webhook_site, "MAX_HELD", HELD)
        busy = self.ask("/later")
        refused = self.ask("/pods")
        self.assertEqual(self.status(refused), 503)
        for each in (refused, busy):
            each.abortConnection()
        self.assertEqual(self.status(self.ask("/pods")), 200)

    def test_what_is_read_from_a_body_counts_until_it_is_answered(self) -> None:
        busy = self.ask("/later")
        self.assertEqual(self.site.held, HELD)
        self.waiting[0].callback(b"{}")
        self.assertEqual((self.status(busy), self.site.held), (200, 0))

    def test_what_would_be_too_much_once_it_is_read_is_refused_unread(self) -> None:
        """The connection stays until its client closes it, and takes no room meanwhile."""
        body = b"[" + b"{}," * 1_000_000 + b"{}]"
        refused = self.ask("/pods", body)
        self.assertEqual((self.status(refused), self.results, self.site.held), (413, [], 0))

    def test_what_is_read_takes_no_more_than_is_counted(self) -> None:
        texts = ("aa", "\u0100", "\U0001f600", "\U0001f600" + "a" * 99)
        values = [[[[[]]]], [{}], {}, {"a": {"a": {"a": {}}}}, {"a": 1}, 1.5, 99999, *texts]
        for value in [*(json.dumps(each, ensure_ascii=False).encode() + b"," for each in values), b'"\\u0100",']:
            body = b"[" + value * (20_000 // len(value)) + b"{}]"
            self.assertLessEqual(size_of(json.loads(body)), read_size(body), value)

    def test_a_long_answer_is_none(self) -> None:
        """It would be held for whoever does not read it; only who asks makes it long."""
        self.assertEqual(self.status(self.ask("/pods", BODY.replace(b'"u"', b'"%s"' % (b"u" * MAX_ANSWER)))), 400)
        self.assertEqual(self.results, [Result.MALFORMED])

    def test_a_body_is_never_put_on_a_disk(self) -> None:
        self.patch(webhook_site, "MAX_BODY", 10_000_000)
        self.patch(tempfile, "TemporaryFile", None)
        self.assertEqual(self.status(self.ask("/pods", BODY + b" " * 200_000)), 200)

    def test_one_connection_too_many_costs_the_one_that_was_silent_longest(self) -> None:
        self.patch(self.site.connections, "_limit", 2)
        first, second, third = (self.connect() for _ in range(3))
        self.assertEqual([each.aborted for each in (first, second, third)], [True, False, False])

    def test_one_connection_may_ask_again_and_again(self) -> None:
        transport = self.connect()
        for _ in range(3):
            self.send(transport, "/pods")
        self.assertEqual((transport.value().count(b"200 OK"), transport.disconnecting), (3, False))

    def test_of_many_questions_that_come_together_one_is_answered(self) -> None:
        """Else thousands would be, in one turn of the reactor, and their answers be held."""
        together, before = self.ask("/pods", BODY * 2, Content_Length=str(len(BODY))), self.ask("/later")
        self.send(before, "/pods")
        self.waiting[0].callback(b"{}")
        for transport in (together, before):
            self.send(transport, "/pods")
            self.assertEqual((transport.value().count(b"200 OK"), transport.disconnecting), (1, True))

    def test_a_silent_connection_ends(self) -> None:
        transport = self.connect()
        self.clock.advance(IDLE)
        self.assertTrue(transport.disconnecting)


class StopTests(SiteCase):
    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.site.stop())

    def test_what_is_being_answered_is_answered_first(self) -> None:
        idle, busy = self.ask("/pods"), self.ask("/later")
        stopped = self.stop()
        self.clock.advance(0)
        self.assertNoResult(stopped)
        self.waiting[0].callback(b"{}")
        self.clock.pump([0, 0, 0])
        self.assertEqual(self.status(busy), 200)
        self.successResultOf(stopped)
        self.assertEqual((idle.aborted, busy.aborted), (True, True))

    def test_before_that_each_connection_ends_with_its_next_answer(self) -> None:
        kept = self.ask("/pods")
        self.assertFalse(kept.disconnecting)
        self.site.closing = True
        ended = self.ask("/pods")
        self.assertEqual(self.status(ended), 200)
        self.assertIn(b"\r\nConnection: close\r\n", ended.value())
        self.assertTrue(ended.disconnecting)

    def test_but_not_for_ever(self) -> None:
        busy = self.ask("/later")
        stopped = self.stop()
        self.clock.advance(GRACE)
        self.clock.pump([0, 0, 0])
        self.successResultOf(stopped)
        self.assertTrue(busy.aborted)
