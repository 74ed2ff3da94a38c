"""A watch against an API that answers as it is told, and a clock that moves as it is told."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.api_errors import ApiForbidden, ApiRefused, ApiUnavailable, Object
from meshtx.kube.watching import Change, Turn, Watched
from tests.kube.scripted_watch import (
    ScriptedApi,
    Stream,
    added,
    bookmark,
    deleted,
    end_of_list,
    error,
    item,
    modified,
    page,
)

PATH = "/api/v1/pods"
TROUBLE = ApiUnavailable("GET /api/v1/pods: connection lost")


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.api = ScriptedApi()
        self.clock = Clock()
        self.changes: list[Change[str]] = []
        self.turns: list[Turn] = []
        self.dice = 0.5
        self.watched = self.make()
        self.watched.startService()
        self.addCleanup(self.stop)

    def make(self, selector: str = "") -> Watched[str]:
        return Watched(
            self.api,
            PATH,
            self.keep,
            self.changed,
            self.clock,
            selector=selector,
            rng=lambda: self.dice,
            turned=self.turned,
        )

    def keep(self, found: Object) -> str | None:
        if found["label"] == "broken":
            raise ValueError(found["label"])
        return found["label"] or None

    def changed(self, change: Change[str]) -> None:
        self.changes.append(change)

    def turned(self, turn: Turn) -> None:
        self.turns.append(turn)

    def stop(self) -> None:
        if self.watched.running:
            self.watched.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def listed(self, *labels: str, version: int = 10) -> Stream:
        """Let the list come as a stream: objects a, b, c... with these labels."""
        stream = self.api.last
        stream.send(*(added(name, 1, label) for name, label in zip("abcdef", labels, strict=False)))
        stream.send(end_of_list(version))
        self.changes.clear()
        return stream

    def waits(self) -> float:
        """Return how long the watch waits now, and let it pass."""
        [call] = self.clock.getDelayedCalls()
        wait = call.getTime() - self.clock.seconds()
        self.clock.pump([wait])
        return wait


class TestTheList(Case):
    def test_it_comes_as_a_stream_that_goes_on_as_the_watch(self) -> None:
        self.assertEqual(
            self.api.last.query,
            {
                "path": PATH,
                "watch": True,
                "allowWatchBookmarks": True,
                "timeoutSeconds": 450,
                "sendInitialEvents": True,
                "resourceVersionMatch": "NotOlderThan",
            },
        )
        self.api.last.send(added("a", 3, "one"), added("b", 2, "two"))
        self.assertEqual((self.watched.synced, self.watched.store), (False, {"ns/a": "one", "ns/b": "two"}))
        self.api.last.send(end_of_list(5), modified("a", 6, "uno"))
        self.assertEqual((self.watched.synced, self.watched.store), (True, {"ns/a": "uno", "ns/b": "two"}))
        self.assertEqual(
            self.changes,
            [Change("ns/a", None, "one"), Change("ns/b", None, "two"), Change("ns/a", "one", "uno")],
        )
        self.assertEqual((self.turns, len(self.api.streams)), ([Turn.SYNCED], 1))

    def test_a_bookmark_of_another_kind_does_not_end_it(self) -> None:
        self.api.last.send(added("a", 3, "one"), bookmark(4))
        self.assertFalse(self.watched.synced)

    def test_who_waits_for_it_is_told_once_it_is_whole(self) -> None:
        first, other, gone = self.watched.first, self.watched.first, self.watched.first
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.api.last.send(added("a", 3, "one"))
        self.assertNoResult(first)
        self.api.last.send(end_of_list(5))
        self.assertEqual([self.successResultOf(each) for each in (first, other, self.watched.first)], [None] * 3)

    def test_a_server_that_has_no_such_stream_is_asked_for_pages(self) -> None:
        self.api.pages = [page(7, item("a", 1, "one"), more="next"), page(7, item("b", 2, "two"))]
        self.api.last.fail(ApiRefused("GET: 422 Invalid", 422, "Invalid"))
        self.assertEqual(
            self.api.lists, [{"path": PATH, "limit": 500}, {"path": PATH, "limit": 500, "continue": "next"}]
        )
        self.assertEqual((self.watched.synced, self.watched.store), (True, {"ns/a": "one", "ns/b": "two"}))
        self.assertEqual(self.api.last.query["resourceVersion"], "7")
        self.assertNotIn("sendInitialEvents", self.api.last.query)

    def test_a_server_that_says_so_in_an_event_is_asked_for_pages(self) -> None:
        """An etcd that is too old for it is noticed by the API server only then."""
        self.api.pages = [page(7)]
        self.api.last.send(error(500))
        self.assertEqual((self.watched.synced, self.api.last.query["resourceVersion"]), (True, "7"))

    def test_trouble_is_no_reason_for_pages(self) -> None:
        self.api.last.fail(TROUBLE)
        self.waits()
        self.assertEqual((self.api.lists, self.api.last.query["sendInitialEvents"]), ([], True))

    def test_a_lack_of_rights_is_no_reason_for_pages(self) -> None:
        self.api.last.fail(ApiForbidden("GET: 403 Forbidden", 403))
        self.assertEqual((self.api.lists, self.watched.problem), ([], "GET: 403 Forbidden"))

    def test_one_that_ends_before_it_is_whole_is_begun_anew(self) -> None:
        self.api.last.send(added("a", 3, "one"))
        self.api.last.end()
        self.assertFalse(self.watched.synced)
        self.waits()
        self.api.last.send(added("b", 3, "two"), end_of_list(9))
        self.assertEqual(self.watched.store, {"ns/b": "two"})

    def test_a_page_that_has_expired_begins_it_anew(self) -> None:
        gone = ApiRefused("GET: 410 Expired", 410, "Expired")
        self.api.pages = [page(7, item("a", 1, "one"), more="next"), gone]
        self.api.last.fail(ApiRefused("GET: 422 Invalid", 422))
        self.assertFalse(self.watched.synced)
        self.waits()
        self.listed("uno")
        self.assertEqual(self.watched.store, {"ns/a": "uno"})

    def test_a_selector_goes_with_every_request(self) -> None:
        watched = self.make("app=web")
        watched.startService()
        self.addCleanup(watched.stopService)
        self.api.pages = [page(7)]
        self.api.last.fail(ApiRefused("GET: 422 Invalid", 422))
        asked = [self.api.streams[1].query, self.api.lists[0], self.api.last.query]
        self.assertEqual([query["labelSelector"] for query in asked], ["app=web"] * 3)

    def test_what_is_no_list_is_trouble(self) -> None:
        self.api.pages = [{"items": ["x"], "metadata": {"resourceVersion": "3"}}]
        self.api.last.fail(ApiRefused("GET: 422 Invalid", 422))
        self.assertEqual(self.watched.problem, f"{PATH}: the answer is not a list of objects")


class TestTheWatch(Case):
    def setUp(self) -> None:
        super().setUp()
        self.stream = self.listed("one", "two")

    def test_changes_are_told_in_order(self) -> None:
        self.stream.send(modified("a", 11, "uno"), deleted("b", 12), added("c", 13, "tre"))
        self.assertEqual(
            self.changes,
            [Change("ns/a", "one", "uno"), Change("ns/b", "two", None), Change("ns/c", None, "tre")],
        )
        self.assertEqual(self.watched.store, {"ns/a": "uno", "ns/c": "tre"})

    def test_what_changes_nothing_that_is_kept_is_not_told(self) -> None:
        self.stream.send(modified("a", 11, "one"))
        self.assertEqual(self.changes, [])

    def test_an_object_that_is_no_longer_kept_is_removed(self) -> None:
        self.stream.send(modified("a", 11, ""), modified("x", 12, ""))
        self.assertEqual((self.changes, self.watched.store), ([Change("ns/a", "one", None)], {"ns/b": "two"}))

    def test_a_clean_end_goes_on_at_once_from_the_last_version(self) -> None:
        self.clock.advance(450)
        self.stream.send(modified("a", 11, "uno"))
        self.stream.end()
        self.assertEqual((self.api.last.query["resourceVersion"], len(self.api.streams)), ("11", 2))
        self.assertEqual(self.turns, [Turn.SYNCED, Turn.ENDED])

    def test_a_bookmark_moves_the_version(self) -> None:
        self.stream.send(bookmark(99))
        self.stream.end()
        self.assertEqual(self.api.last.query["resourceVersion"], "99")

    def test_objects_of_no_namespace_have_their_name_alone(self) -> None:
        self.stream.send({"type": "ADDED", "object": {"metadata": {"name": "n", "resourceVersion": "3"}, "label": "x"}})
        self.assertEqual(self.changes, [Change("n", None, "x")])

    def test_managed_fields_are_not_kept(self) -> None:
        found: list[Object] = []
        watched = Watched(self.api, PATH, found.append, self.changed, self.clock)
        watched.startService()
        self.addCleanup(watched.stopService)
        self.api.last.send({"type": "ADDED", "object": item("a", 3, managedFields=[{"manager": "kubectl"}])})
        self.assertEqual(found, [item("a", 3)])

    def test_its_life_and_its_patience_are_the_servers_and_a_little_more(self) -> None:
        for dice, life in ((0.0, 300), (0.999, 599)):
            self.dice = dice
            self.stream.send(bookmark(11))
            self.stream.end()
            self.stream = self.api.last
            self.assertEqual((self.stream.query["timeoutSeconds"], self.stream.silence), (life, life + 30.0))

    def test_its_age_is_the_time_since_the_server_was_heard_of(self) -> None:
        self.clock.advance(40)
        self.assertEqual(self.watched.age(), 40.0)
        self.stream.send(bookmark(11))
        self.assertEqual(self.watched.age(), 0.0)
        self.assertEqual(self.make().age(), None)

    def test_a_listener_that_fails_does_not_end_it(self) -> None:
        self.watched._changed = lambda change: self.changes.append(change) or 1 // 0  # type: ignore[func-returns-value]
        self.stream.send(modified("a", 11, "uno"), modified("b", 12, "due"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual((len(self.changes), self.watched.store), (2, {"ns/a": "uno", "ns/b": "due"}))

    def test_an_object_that_cannot_be_read_stays_as_it_was(self) -> None:
        self.stream.send(modified("a", 11, "broken"), modified("b", 12, "due"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.watched.store, {"ns/a": "one", "ns/b": "due"})

    def test_who_stops_it_cancels_the_request_and_keeps_the_store(self) -> None:
        self.watched.stopService()
        self.assertEqual((self.stream.cancelled, len(self.watched.store)), (True, 2))

    def test_one_that_is_started_again_goes_on_where_it_was(self) -> None:
        self.watched.stopService()
        self.watched.startService()
        self.assertEqual((self.api.last.query["resourceVersion"], self.watched.synced), ("10", True))


class TestTrouble(Case):
    def setUp(self) -> None:
        super().setUp()
        self.listed("one", "two", "three")

    def test_the_watch_goes_on_from_the_last_version_and_the_store_stays(self) -> None:
        self.api.last.send(modified("a", 11, "uno"))
        self.api.last.fail(TROUBLE)
        self.assertEqual(len(self.watched.store), 3)
        self.waits()
        self.assertEqual((self.api.last.query["resourceVersion"], len(self.watched.store)), ("11", 3))
        self.assertEqual(self.turns, [Turn.SYNCED, Turn.FAILED])

    def test_waits_grow_to_half_a_minute_with_full_jitter(self) -> None:
        waits = []
        for _ in range(8):
            self.api.last.fail(TROUBLE)
            waits.append(self.waits())
        for wait, most in zip(waits, (0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0), strict=True):
            self.assertAlmostEqual(wait, most / 2)
        self.dice = 0.0
        self.api.last.fail(TROUBLE)
        self.assertEqual(self.waits(), 0.0)

    def test_an_event_makes_the_next_wait_short_again(self) -> None:
        for _ in range(4):
            self.api.last.fail(TROUBLE)
            self.waits()
        self.api.last.send(bookmark(11))
        self.api.last.fail(TROUBLE)
        self.assertAlmostEqual(self.waits(), 0.4)

    def test_half_a_minute_that_goes_well_makes_the_next_wait_short_again(self) -> None:
        for _ in range(4):
            self.api.last.fail(TROUBLE)
            self.waits()
        self.clock.advance(30)
        self.api.last.fail(TROUBLE)
        self.assertAlmostEqual(self.waits(), 0.4)

    def test_the_server_may_say_how_long_to_wait(self) -> None:
        self.api.last.fail(ApiUnavailable("GET: 429", 429, 7.0))
        self.assertAlmostEqual(self.waits(), 7.4)

    def test_the_server_may_say_so_in_an_event(self) -> None:
        self.api.last.send(error(429, retryAfterSeconds=5))
        self.assertAlmostEqual(self.waits(), 5.4)

    def test_a_watch_that_ends_at_once_and_brings_nothing_is_trouble(self) -> None:
        self.api.last.send(bookmark(11))
        self.api.last.end()
        self.api.last.end()
        self.assertEqual(self.turns, [Turn.SYNCED, Turn.ENDED, Turn.FAILED])
        self.waits()
        self.clock.advance(1.5)
        self.api.last.end()
        self.assertEqual(self.turns[3:], [Turn.ENDED])

    def test_what_no_api_server_sends_is_trouble(self) -> None:
        for line in (
            b"<html>",
            b"[]",
            b"{}",
            b'{"type":"ADDED","object":[]}',
            b'{"type":"NEWS","object":{"metadata":{"name":"a","resourceVersion":"11"}}}',
            b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}',
            b'{"type":"ADDED","object":{"metadata":{"name":7,"resourceVersion":"11"}}}',
            b'{"type":"ADDED","object":{"metadata":{"resourceVersion":11,"name":"a"}}}',
            b'{"type":"BOOKMARK","object":{"metadata":[]}}',
        ):
            self.api.last.send_line(line)
            self.assertIsNotNone(self.watched.problem, line)
            self.waits()
            self.assertEqual((self.api.last.query["resourceVersion"], len(self.watched.store)), ("10", 3))

    def test_a_defect_of_ours_is_logged_and_the_watch_goes_on(self) -> None:
        self.api.last.fail(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.waits()
        self.assertEqual((self.api.last.query["resourceVersion"], self.watched.problem), ("10", None))

    def test_the_problem_is_over_once_the_server_takes_the_request(self) -> None:
        self.api.last.fail(TROUBLE)
        self.assertEqual(self.watched.problem, str(TROUBLE))
        self.waits()
        self.assertIsNone(self.watched.problem)

    def test_who_stops_it_while_it_waits_leaves_nothing_behind(self) -> None:
        self.api.last.fail(TROUBLE)
        self.watched.stopService()
        self.assertEqual((self.clock.getDelayedCalls(), len(self.api.streams)), ([], 1))


class TestTooOld(Case):
    """The version from which to go on is too old: HTTP 410, or an event that says so."""

    def setUp(self) -> None:
        super().setUp()
        self.listed("one", "two", "three")

    def assert_it_is_listed_again_with_a_diff(self) -> None:
        self.assertEqual((len(self.watched.store), self.turns), (3, [Turn.SYNCED, Turn.EXPIRED]))
        self.waits()
        self.assertEqual(self.api.last.query["sendInitialEvents"], True)
        self.assertNotIn("resourceVersion", self.api.last.query)
        self.api.last.send(added("a", 1, "one"), added("c", 50, "tre"), added("d", 51, "four"))
        self.assertEqual(self.watched.store["ns/b"], "two")
        self.api.last.send(end_of_list(60))
        self.assertEqual(
            self.changes,
            [Change("ns/c", "three", "tre"), Change("ns/d", None, "four"), Change("ns/b", "two", None)],
        )
        self.assertEqual(self.watched.store, {"ns/a": "one", "ns/c": "tre", "ns/d": "four"})
        self.api.last.end()
        self.assertEqual(self.api.last.query["resourceVersion"], "60")

    def test_an_event_says_so(self) -> None:
        self.api.last.send(error(410))
        self.assert_it_is_listed_again_with_a_diff()

    def test_the_answer_says_so(self) -> None:
        self.api.last.fail(TROUBLE)
        self.waits()
        self.turns.remove(Turn.FAILED)
        self.api.last.fail(ApiRefused("GET: 410 Gone", 410, "Gone"))
        self.assert_it_is_listed_again_with_a_diff()

    def test_pages_are_compared_alike(self) -> None:
        self.api.last.send(error(410))
        self.waits()
        self.api.pages = [page(60, item("a", 1, "one"), item("c", 50, "tre"))]
        self.api.last.fail(ApiRefused("GET: 422 Invalid", 422))
        self.assertEqual(self.changes, [Change("ns/c", "three", "tre"), Change("ns/b", "two", None)])

    def test_one_that_cannot_be_read_is_not_taken_for_one_that_is_gone(self) -> None:
        self.api.last.send(error(410))
        self.waits()
        self.api.last.send(added("a", 1, "broken"), end_of_list(60))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.watched.store, {"ns/a": "one"})

    def test_a_server_that_always_says_so_is_not_asked_without_end(self) -> None:
        waits = []
        for _ in range(3):
            self.api.last.send(error(410))
            waits.append(self.waits())
            self.listed("one")
        self.assertEqual([round(wait, 3) for wait in waits], [0.4, 0.8, 1.6])
