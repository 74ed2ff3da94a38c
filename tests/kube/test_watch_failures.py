"""A watch that fails: waits, versions that are too old, and what no API server sends."""

from __future__ import annotations

from meshtx.kube.api_errors import ApiRefused, ApiUnavailable
from meshtx.kube.watching import SHORT, Change, Turn
from tests.kube.scripted_watch import (
    added,
    bookmark,
    end_of_list,
    error,
    item,
    modified,
    page,
)
from tests.kube.watch_case import TROUBLE, WatchedCase


class TestTrouble(WatchedCase):
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

    def test_who_knows_better_ends_a_wait(self) -> None:
        self.api.last.fail(TROUBLE)
        self.watched.hurry()
        self.clock.advance(0)
        self.assertEqual(len(self.api.streams), 2)
        self.watched.hurry()  # it does not wait
        self.clock.advance(SHORT)
        self.assertEqual((len(self.api.streams), self.clock.getDelayedCalls()), (2, []))

    def test_nobody_ends_a_wait_that_the_server_has_asked_for(self) -> None:
        self.api.last.fail(ApiUnavailable("GET: 429", 429, 7.0))
        self.watched.hurry()
        self.assertAlmostEqual(self.waits(), 7.4)

    def test_a_wait_is_ended_once_until_the_server_brings_something(self) -> None:
        self.api.last.fail(TROUBLE)
        self.watched.hurry()
        self.clock.advance(0)
        self.api.last.fail(TROUBLE)
        self.watched.hurry()
        self.clock.advance(0)
        self.assertEqual(len(self.api.streams), 2)
        self.waits()
        self.api.last.send(bookmark(11))
        self.api.last.fail(TROUBLE)
        self.watched.hurry()
        self.clock.advance(0)
        self.assertEqual(len(self.api.streams), 4)

    def test_who_asks_is_told_when_the_server_brings_something_again(self) -> None:
        """That it takes a request is not enough: a server in trouble may do so and end it at once."""
        self.api.last.send(bookmark(11))
        self.assertEqual(self.recovered, 0)
        self.api.last.fail(TROUBLE)
        self.waits()
        self.api.last.send(error(500))
        self.waits()
        self.assertEqual(self.recovered, 0)
        self.api.last.send(bookmark(12), bookmark(13))
        self.assertEqual(self.recovered, 1)

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
        self.clock.advance(SHORT)
        self.assertEqual((self.api.last.query["resourceVersion"], self.watched.problem), ("10", None))

    def test_listing_again_it_is_over_once_the_list_is_complete(self) -> None:
        self.api.last.send(error(410))
        self.waits()
        self.api.last.send(added("one", 1))
        self.clock.advance(SHORT)
        self.assertIsNotNone(self.watched.problem)
        self.api.last.send(end_of_list(12))
        self.assertIsNone(self.watched.problem)

    def test_the_problem_is_over_once_what_was_missed_has_come(self) -> None:
        """Until then what is not in the store may be there: it would be taken for something unmeshed."""
        self.api.last.fail(TROUBLE)
        self.waits()
        self.api.last.send(added("new", 11))
        self.clock.advance(SHORT * 0.9)
        self.assertEqual(self.watched.problem, str(TROUBLE))
        self.clock.advance(SHORT * 0.1)
        self.assertIsNone(self.watched.problem)

    def test_the_problem_is_not_over_if_the_watch_ends_meanwhile(self) -> None:
        self.api.last.fail(TROUBLE)
        self.waits()
        self.api.last.fail(TROUBLE)
        self.clock.advance(SHORT)
        self.assertEqual(self.watched.problem, str(TROUBLE))

    def test_who_stops_it_while_it_waits_leaves_nothing_behind(self) -> None:
        self.api.last.fail(TROUBLE)
        self.watched.stopService()
        self.assertEqual((self.clock.getDelayedCalls(), len(self.api.streams)), ([], 1))


class TestTooOld(WatchedCase):
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
