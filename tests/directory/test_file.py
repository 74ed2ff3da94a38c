"""The directory in a file: it follows the file, and a bad one changes nothing."""

from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from meshtx.directory.file import FileDirectory
from meshtx.directory.target import PortFacts
from meshtx.errors import ConfigError
from meshtx.interfaces import IDirectory
from meshtx.watch import Reload
from meshtx.wire.address import Address

WEB = Address.parse("10.1.0.2:80")


def document(authority: str) -> str:
    return f'[[workload]]\naddresses = ["10.1.0.2"]\nauthority = "{authority}"\n'


class FileDirectoryTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_text(document("first"))
        self.clock = Clock()
        self.reloads: list[Reload] = []
        self.directory = FileDirectory(self.path, self.clock, interval=1.0, reloaded=self.reloads.append)
        self.directory.startService()
        self.addCleanup(self.directory.stopService)
        self.changes = 0

    def changed(self) -> None:
        self.changes += 1

    def authority(self) -> str:
        return self.successResultOf(self.directory.find(WEB)).authority

    def looks(self, times: int = 2) -> None:
        self.clock.pump([1.0] * times)

    def test_it_answers_at_once(self) -> None:
        verifyObject(IDirectory, self.directory)
        self.assertEqual((self.directory.ready, self.authority()), (True, "first"))
        self.assertEqual(self.directory.own_port(WEB), PortFacts())

    def test_a_change_is_told_once(self) -> None:
        self.directory.subscribe(self.changed)
        self.looks()
        self.path.write_text(document("second-longer"))
        self.looks(5)
        self.assertEqual((self.authority(), self.changes, self.reloads), ("second-longer", 1, [Reload.OK]))

    def test_a_file_put_in_its_place_is_another_file(self) -> None:
        self.looks()
        other = self.path.with_suffix(".new")
        other.write_text(document("other"))
        other.replace(self.path)
        self.looks()
        self.assertEqual(self.authority(), "other")

    def test_a_file_that_is_still_being_written_is_not_read(self) -> None:
        self.looks()
        for part in ("a", "bb", "ccc"):
            self.path.write_text(document(part))
            self.looks(1)
            self.assertEqual(self.authority(), "first")
        self.looks(1)
        self.assertEqual(self.authority(), "ccc")

    def test_what_was_written_while_it_was_made_is_seen(self) -> None:
        """The first read may have met half a file, with the time stamp of the whole one."""
        self.path.write_text(document("third"))
        self.looks()
        self.assertEqual(self.authority(), "third")

    def test_a_touched_file_is_no_change(self) -> None:
        self.directory.subscribe(self.changed)
        self.looks()
        self.path.touch()
        self.looks()
        self.assertEqual((self.changes, self.reloads), (0, []))

    def test_bad_content_keeps_the_old_and_says_why(self) -> None:
        self.directory.subscribe(self.changed)
        for content in (b'[[workload]]\nidentity = "x"', b"[", b"\xff"):
            self.path.write_bytes(content)
            with capturedLogs() as events:
                self.looks(5)
            (said,) = map(formatEvent, events)
            self.assertTrue(said.startswith(f"directory in {self.path}: the last good one stays in use: "), said)
            self.assertEqual((self.authority(), self.changes), ("first", 0))
        self.assertEqual(self.reloads, [Reload.REJECTED] * 3)

    def test_a_file_that_has_gone_keeps_the_old_until_it_is_back(self) -> None:
        self.path.unlink()
        with capturedLogs() as events:
            self.looks()
        problem = f"{self.path}: no such file or directory; name a directory file that can be read"
        self.assertEqual(
            [formatEvent(event) for event in events],
            [f"directory in {self.path}: the last good one stays in use: {problem}"],
        )
        self.assertEqual(self.authority(), "first")
        self.path.write_text(document("back"))
        self.looks()
        self.assertEqual((self.authority(), self.reloads), ("back", [Reload.REJECTED, Reload.OK]))

    def test_good_content_again_ends_the_error_even_if_it_is_the_old(self) -> None:
        self.path.write_text("[")
        self.looks()
        self.path.write_text(document("first"))
        self.looks()
        self.assertEqual(self.reloads, [Reload.REJECTED, Reload.OK])

    def test_who_has_left_is_not_called(self) -> None:
        leave = self.directory.subscribe(self.changed)
        self.directory.subscribe(self.changed)
        leave()
        leave()
        self.path.write_text(document("second"))
        self.looks()
        self.assertEqual(self.changes, 1)

    def test_a_subscriber_that_fails_does_not_end_the_watch(self) -> None:
        unsubscribe = self.directory.subscribe(lambda: 1 / 0)
        self.path.write_text(document("second"))
        self.looks()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        unsubscribe()
        self.path.write_text(document("third"))
        self.looks()
        self.assertEqual(self.authority(), "third")

    def test_once_stopped_it_follows_no_more(self) -> None:
        directory = FileDirectory(self.path, self.clock)
        directory.startService()
        before = len(self.clock.getDelayedCalls())
        directory.stopService()
        self.assertEqual(len(self.clock.getDelayedCalls()), before - 1)

    def test_without_a_file_there_is_no_directory(self) -> None:
        error = self.assertRaises(ConfigError, FileDirectory, Path("/nowhere/mesh.toml"), self.clock)
        self.assertEqual(
            str(error), "/nowhere/mesh.toml: no such file or directory; name a directory file that can be read"
        )
