from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import NoReturn

from twisted.trial.unittest import SynchronousTestCase

from meshtx.interfaces import Detection
from meshtx.observe.budget import CONNECTION, Budget
from meshtx.observe.flow import ResponseEnd, Seen
from meshtx.observe.watcher import FIRST_BYTES, MAX_SERVER_BYTES, Detached, Watcher
from meshtx.wire.http_events import TooCostly
from tests.observe.cases import LineDetector, a_flow, a_request


class WatcherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cpu = 0.0
        self.budget = Budget(lambda: 0.0, lambda: self.cpu)

    def watch(self, *detectors: LineDetector) -> Watcher:
        self.seen: list[Seen] = []
        self.ends: list[tuple[str, Detached]] = []
        self.failed: list[tuple[str, object]] = []
        self.detectors = detectors or (LineDetector(),)
        return Watcher(
            self.detectors,
            SimpleNamespace(flow=a_flow(), detached=lambda *args: self.ends.append(args)),
            self.seen.extend,
            lambda name: self.failed.append((name, sys.exception())),
            self.budget,
        )

    def test_an_observer_is_fed_from_the_first_byte_on(self) -> None:
        watcher = self.watch()
        watcher.server_data(b"hello")
        watcher.client_data(b"?/a")
        watcher.client_data(b"?/b")
        watcher.server_data(b"!200")
        observer = self.detectors[0].made[0]
        self.assertEqual((observer.client, observer.server), (b"?/a?/b", b"hello!200"))
        self.assertEqual(self.seen[:2], [a_request(0, path="/a"), a_request(1, path="/b")])
        self.assertEqual(self.ends, [])

    def test_what_no_detector_knows_is_not_watched_any_more(self) -> None:
        watcher = self.watch()
        watcher.client_data(b"GET")
        watcher.client_data(b"?/a")
        watcher.server_data(b"!200")
        self.assertEqual(self.detectors[0].asked, [b"GET"])
        self.assertEqual(self.ends, [("", Detached.NOT_RECOGNISED)])
        self.assertEqual(self.seen, [])

    def test_the_first_detector_that_says_yes_has_it(self) -> None:
        first, second = LineDetector(lambda _: Detection.NO), LineDetector()
        self.watch(first, second, LineDetector()).client_data(b"?/a")
        self.assertEqual([len(each.made) for each in self.detectors], [0, 1, 0])

    def test_an_undecided_detector_is_asked_again_and_one_that_said_no_is_not(self) -> None:
        undecided = LineDetector(lambda first: Detection.YES if len(first) >= 3 else Detection.MORE)
        no = LineDetector(lambda _: Detection.NO)
        watcher = self.watch(no, undecided)
        for byte in (b"?", b"/", b"a"):
            watcher.client_data(byte)
        self.assertEqual(no.asked, [b"?"])
        self.assertEqual(undecided.asked, [b"?", b"?/", b"?/a"])
        self.assertEqual(undecided.made[0].client, b"?/a")

    def test_a_detector_has_64_bytes_to_decide(self) -> None:
        undecided = LineDetector(lambda _: Detection.MORE)
        watcher = self.watch(undecided)
        watcher.client_data(b"a" * (FIRST_BYTES - 1))
        self.assertEqual(self.ends, [])
        watcher.client_data(b"b" * 1000)
        self.assertEqual(self.ends, [("", Detached.NOT_RECOGNISED)])
        self.assertEqual([len(each) for each in undecided.asked], [FIRST_BYTES - 1, FIRST_BYTES])

    def test_of_a_server_that_speaks_first_a_bounded_part_is_kept(self) -> None:
        watcher = self.watch()
        watcher.server_data(b"a" * MAX_SERVER_BYTES)
        self.assertEqual(self.ends, [])
        watcher.server_data(b"a")
        self.assertEqual(self.ends, [("", Detached.NOT_RECOGNISED)])
        watcher.client_data(b"?/a")
        self.assertEqual(self.detectors[0].asked, [])

    def test_an_observer_that_gives_up_hears_nothing_more(self) -> None:
        watcher = self.watch()
        watcher.client_data(b"?/ax")
        watcher.client_data(b"?/b")
        watcher.ended(orderly=True)
        self.assertEqual(self.detectors[0].made[0].client, b"?/ax")
        self.assertEqual(self.seen, [a_request(path="/ax")])
        self.assertEqual(self.ends, [("line", Detached.GAVE_UP)])

    def test_an_observer_that_raises_is_let_go_of(self) -> None:
        watcher = self.watch()
        watcher.client_data(b"?/a")
        watcher.client_data(b"boom")
        watcher.client_data(b"?/b")
        self.assertEqual([(name, type(error)) for name, error in self.failed], [("line", ZeroDivisionError)])
        self.assertEqual(self.ends, [("line", Detached.FAILED)])
        self.assertEqual(self.seen, [a_request(path="/a")])

    def test_whatever_one_raises_stays_with_it(self) -> None:
        def quitting(*_: object) -> NoReturn:
            raise SystemExit

        for part in ("client_data", "server_data", "ended"):
            watcher = self.watch()
            watcher.client_data(b"?/a")
            setattr(self.detectors[0].made[0], part, quitting)
            watcher.client_data(b"?/b")
            watcher.server_data(b"!200")
            watcher.ended(orderly=True)
            self.assertEqual([(name, type(error)) for name, error in self.failed], [("line", SystemExit)], part)
            self.assertEqual(self.ends, [("line", Detached.FAILED)])
        for part in ("detect", "observer"):
            watcher = self.watch()
            setattr(self.detectors[0], part, quitting)
            watcher.client_data(b"?/a")
            self.assertEqual([(name, type(error)) for name, error in self.failed], [("line", SystemExit)], part)

    def test_a_detector_that_raises_leaves_the_others_their_chance(self) -> None:
        def broken(_first: bytes) -> Detection:
            raise ZeroDivisionError

        self.watch(LineDetector(broken), LineDetector()).client_data(b"?/a")
        self.assertEqual(len(self.failed), 1)
        self.assertEqual(self.seen, [a_request(path="/a")])

    def test_a_detector_that_can_make_no_observer_is_let_go_of(self) -> None:
        class Broken(LineDetector):
            def observer(self, flow: object) -> object:
                raise ZeroDivisionError

        self.watch(Broken()).client_data(b"?/a")
        self.assertEqual(len(self.failed), 1)
        self.assertEqual(self.ends, [("line", Detached.FAILED)])

    def test_an_answer_that_is_no_detection_is_the_detectors_failure(self) -> None:
        self.watch(LineDetector(lambda _: True), LineDetector()).client_data(b"?/a")
        self.assertEqual([(name, type(error)) for name, error in self.failed], [("line", ValueError)])
        self.assertEqual(self.seen, [a_request(path="/a")])

    def test_a_detector_that_makes_no_observer_is_asked_once(self) -> None:
        class Forgetful(LineDetector):
            def observer(self, flow: object) -> None:
                pass

        forgetful = Forgetful()
        self.watch(forgetful).client_data(b"?/a")
        self.assertEqual(forgetful.asked, [b"?/a"])
        self.assertEqual([(name, type(error)) for name, error in self.failed], [("line", TypeError)])
        self.assertEqual(self.ends, [("line", Detached.FAILED)])

    def test_what_is_reported_wrongly_is_the_observers_failure(self) -> None:
        watcher = self.watch()
        watcher.client_data(b"?/a")
        self.detectors[0].made[0].server_data = lambda _data: 7
        watcher.server_data(b"!200")
        self.assertEqual(self.ends, [("line", Detached.FAILED)])

    def test_an_observer_that_works_too_long_is_let_go_of(self) -> None:
        watcher = self.watch()
        watcher.client_data(b"?/a")
        observer = self.detectors[0].made[0]
        look = observer.server_data
        holds, _ = CONNECTION

        def work(data: bytes) -> list[Seen]:
            self.cpu += 0.4 * holds * 1e-6
            return look(data)

        observer.server_data = work
        for _ in range(5):
            watcher.server_data(b"h")
        self.assertEqual(observer.server, b"hhh")
        self.assertEqual(self.ends, [("line", Detached.BUDGET)])

    def test_a_parser_that_gives_up_for_its_work_is_told_apart(self) -> None:
        watcher = self.watch()
        watcher.client_data(b"?/a")
        observer = self.detectors[0].made[0]
        observer.client_data = lambda _data: setattr(observer, "detached", True) or [TooCostly("too much")]
        watcher.client_data(b"?/b")
        self.assertEqual(self.seen[1:], [TooCostly("too much")])
        self.assertEqual(self.ends, [("line", Detached.BUDGET)])

    def test_the_end_of_the_connection_ends_what_is_open(self) -> None:
        for orderly in (True, False):
            watcher = self.watch()
            watcher.client_data(b"?/a")
            watcher.ended(orderly=orderly)
            self.assertEqual(self.seen[1:], [ResponseEnd(0, 0, reset=-1)])
            self.assertIs(self.detectors[0].made[0].orderly, orderly)
            self.assertEqual(self.ends, [("line", Detached.NOT_RECOGNISED)])
