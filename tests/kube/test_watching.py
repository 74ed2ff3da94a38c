"""A watch that goes well: lists, events, versions."""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from meshtx.kube.api_errors import ApiForbidden, ApiRefused, Object
from meshtx.kube.watching import GONE, Change, Turn, Watched
from tests.kube.scripted_watch import (
    END,
    added,
    bookmark,
    deleted,
    end_of_list,
    error,
    item,
    modified,
    page,
)
from tests.kube.watch_case import PATH, TROUBLE, WatchedCase


class TestTheList(WatchedCase):
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

    def test_an_object_that_says_what_the_last_bookmark_does_does_not_end_it(self) -> None:
        """Whoever may write an annotation would else have all that comes behind it be unknown."""
        self.listed("one", "two")
        self.api.last.send(error(GONE))
        self.waits()
        self.api.last.send({"type": "ADDED", "object": {**item("a", 3, annotations=END), "label": "one"}})
        self.assertEqual(self.watched.store, {"ns/a": "one", "ns/b": "two"})
        self.api.last.send(end_of_list(20))
        self.assertEqual(self.watched.store, {"ns/a": "one"})

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


class TestTheWatch(WatchedCase):
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
