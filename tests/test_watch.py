"""A value follows its files; what is not good changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import ConfigError, CredentialsError
from meshtx.files import read_file
from meshtx.watch import INTERVAL, Contents, FileWatch, Reload


class FileWatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.path.write_text("1")
        self.seen: list[int] = []
        self.looks = 0
        self.reloads: list[Reload] = []
        self.offset = 0
        self.watch = FileWatch(
            "number",
            read=lambda: {self.path: read_file(self.path)},
            build=self.build,
            changed=self.changed,
            clock=self.clock,
            looked=self.looked,
            reloaded=self.reloads.append,
        )

    def build(self, contents: Contents) -> int:
        try:
            return int(contents[self.path]) + self.offset
        except ValueError as error:
            raise CredentialsError(f"{contents[self.path]!r} is no number") from error

    def changed(self, value: int) -> None:
        self.seen.append(value)
        if value == 13:
            raise RuntimeError("unlucky")

    def looked(self) -> None:
        self.looks += 1

    def start(self) -> None:
        self.assertEqual(self.watch.load(), 1)
        self.watch.startService()
        self.addCleanup(self.watch.stopService)

    def write(self, text: str) -> None:
        self.path.write_text(text)
        self.clock.advance(INTERVAL)

    def test_a_change_is_seen_at_the_next_look_and_once(self) -> None:
        self.start()
        self.path.write_text("2")
        self.clock.advance(INTERVAL - 0.1)
        self.assertEqual(self.seen, [])
        self.clock.advance(0.1)
        self.clock.pump([INTERVAL] * 3)
        self.assertEqual((self.seen, self.looks, self.reloads), ([2], 5, [Reload.OK]))

    def test_a_file_replaced_with_the_same_times_is_seen(self) -> None:
        self.start()
        before = self.path.stat()
        self.path.write_text("7")
        os.utime(self.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.seen, [7])

    def test_what_has_gone_from_one_file_to_another_is_seen(self) -> None:
        contents = {Path("a"): b"12", Path("b"): b"3"}
        seen: list[Contents] = []
        watch = FileWatch(
            "pair", read=lambda: dict(contents), build=lambda read: read, changed=seen.append, clock=self.clock
        )
        watch.load()
        contents[Path("a")], contents[Path("b")] = b"1", b"23"
        watch.look()
        watch.look()
        self.assertEqual(seen, [contents])

    def test_a_bad_file_keeps_the_value_and_says_why(self) -> None:
        self.start()
        self.write("one")
        self.assertEqual((self.seen, self.watch.reload_error), ([], "b'one' is no number"))
        self.write("3")
        self.assertEqual((self.seen, self.watch.reload_error), ([3], None))

    def test_a_missing_file_keeps_the_value_and_says_why(self) -> None:
        self.start()
        self.path.unlink()
        self.clock.advance(INTERVAL)
        self.assertIn("no such file", self.watch.reload_error or "")
        self.write("1")
        self.assertEqual((self.seen, self.watch.reload_error), ([], None))

    def test_time_alone_may_mend_what_was_not_good(self) -> None:
        self.start()
        self.offset = 10
        self.write("x")
        self.build = lambda _: 5  # type: ignore[method-assign]
        self.watch._build = self.build
        self.clock.advance(INTERVAL)
        self.assertEqual(self.seen, [5])

    def test_what_is_rejected_is_counted_once_for_each_reason(self) -> None:
        self.start()
        self.write("one")
        self.clock.pump([INTERVAL] * 3)
        self.write("two")
        self.write("1")
        self.clock.pump([INTERVAL] * 3)
        self.assertEqual((self.seen, self.reloads), ([], [Reload.REJECTED, Reload.REJECTED, Reload.OK]))

    def test_the_first_value_is_no_reload(self) -> None:
        with capturedLogs() as events:
            self.watch.look()
        self.assertEqual((self.seen, self.reloads, events), ([1], [], []))

    def test_a_defect_does_not_end_the_looking(self) -> None:
        self.start()
        self.write("13")
        self.assertEqual(self.watch.reload_error, "internal error: RuntimeError")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.write("14")
        self.assertEqual((self.seen, self.watch.reload_error), ([13, 14], None))

    def test_at_the_start_a_bad_file_is_an_error(self) -> None:
        self.path.write_text("one")
        error = self.assertRaises(ConfigError, self.watch.load)
        self.assertEqual(str(error), "number: b'one' is no number; mend the file and start again")
        self.path.unlink()
        self.assertRaises(ConfigError, self.watch.load)

    def test_a_stopped_watch_leaves_nothing_behind(self) -> None:
        self.watch.startService()
        self.watch.stopService()
        self.watch.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
