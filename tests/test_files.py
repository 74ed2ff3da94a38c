"""Files appear whole or not at all, and are private where they must be."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import ConfigError
from meshtx.files import read_file, read_text, write_file, write_folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class ReadFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def problem(self, path: Path, **settings: int) -> str:
        return self.assertRaises(ConfigError, read_file, path, "mend it", **settings).problem

    def test_the_whole_file_is_read(self) -> None:
        self.path.write_bytes(b"hello\n")
        self.assertEqual(read_file(self.path), b"hello\n")
        self.assertEqual(read_file(self.path, limit=6), b"hello\n")

    def test_each_problem_is_said_in_words(self) -> None:
        self.assertEqual(self.problem(self.path), "no such file or directory")
        self.path.write_bytes(b"")
        self.assertEqual(self.problem(self.path), "the file is empty")
        self.path.write_bytes(b"hello")
        self.assertEqual(self.problem(self.path, limit=4), "the file is longer than 4 bytes")
        self.assertEqual(self.problem(self.path.parent), "is a directory")

    def test_an_error_names_the_file_and_what_to_do(self) -> None:
        error = self.assertRaises(ConfigError, read_file, self.path, "mend it")
        self.assertEqual(str(error), f"{self.path}: no such file or directory; mend it")


class ReadTextTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def problem(self, **settings: int) -> str:
        return str(self.assertRaises(ConfigError, read_text, self.path, "mend it", **settings))

    def test_text_may_be_empty(self) -> None:
        for text in ("", "née\n"):
            self.path.write_text(text, "utf-8")
            self.assertEqual(read_text(self.path, "mend it"), text)

    def test_each_problem_is_one_sentence(self) -> None:
        self.assertEqual(self.problem(), f"{self.path}: no such file or directory; mend it")
        self.path.write_bytes(b"abc\xff")
        self.assertRegex(self.problem(), "byte 0xff in position 3.*; write it in UTF-8$")
        self.assertEqual(self.problem(limit=3), f"{self.path}: the file is longer than 3 bytes; mend it")


class WriteFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.addCleanup(os.umask, os.umask(0o000))

    def test_a_private_file_is_its_owner_s_whatever_the_umask(self) -> None:
        write_file(self.folder / "key", b"secret", private=True)
        write_file(self.folder / "crt", b"public", private=False)
        os.umask(0o077)
        write_file(self.folder / "crt2", b"public", private=False)
        self.assertEqual([mode(self.folder / each) for each in ("key", "crt", "crt2")], [0o600, 0o644, 0o644])

    def test_an_open_file_becomes_private_when_it_is_replaced(self) -> None:
        path = self.folder / "key"
        path.write_bytes(b"old")
        path.chmod(0o644)
        write_file(path, b"new", private=True)
        self.assertEqual((path.read_bytes(), mode(path)), (b"new", 0o600))

    def test_a_reader_of_the_old_file_keeps_it_whole(self) -> None:
        path = self.folder / "crt"
        write_file(path, b"old" * 1000, private=False)
        with path.open("rb") as reader:
            write_file(path, b"new", private=False)
            self.assertEqual(reader.read(), b"old" * 1000)

    def test_where_a_link_leads_to_is_replaced_and_the_link_stays(self) -> None:
        link = self.folder / "link"
        link.symlink_to("key")
        write_file(link, b"new", private=True)
        self.assertEqual((link.is_symlink(), (self.folder / "key").read_bytes()), (True, b"new"))

    def test_what_is_no_file_is_not_replaced(self) -> None:
        """As root one would replace /dev/stdout."""
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        error = self.assertRaises(ConfigError, write_file, pipe, b"new", private=True)
        self.assertEqual((error.problem, pipe.is_fifo()), ("is no file", True))

    def test_nothing_else_is_left_behind(self) -> None:
        write_file(self.folder / "crt", b"x", private=False)
        self.assertRaises(ConfigError, write_file, self.folder / "none" / "crt", b"x", private=False)
        (self.folder / "folder").mkdir()
        self.assertRaises(ConfigError, write_file, self.folder / "folder", b"x", private=False)
        self.assertEqual(sorted(each.name for each in self.folder.iterdir()), ["crt", "folder"])


class WriteFolderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def write(self, text: str) -> None:
        write_folder(self.folder, {"tls.crt": text.encode(), "tls.key": text.upper().encode()}, private={"tls.key"})

    def contents(self) -> list[str]:
        return [(self.folder / each).read_text() for each in ("tls.crt", "tls.key")]

    def test_the_folder_is_made_for_its_owner(self) -> None:
        self.write("one")
        self.assertEqual(self.contents(), ["one", "ONE"])
        self.assertEqual(
            [mode(self.folder), mode(self.folder / "tls.crt"), mode(self.folder / "tls.key")], [0o700, 0o644, 0o600]
        )

    def test_a_generation_is_replaced_at_once_by_one_link(self) -> None:
        self.write("one")
        before = (self.folder / "..data").readlink()
        links = [(self.folder / each).lstat().st_ino for each in ("tls.crt", "tls.key")]
        self.write("two")
        self.assertEqual(self.contents(), ["two", "TWO"])
        self.assertNotEqual((self.folder / "..data").readlink(), before)
        self.assertEqual([(self.folder / each).lstat().st_ino for each in ("tls.crt", "tls.key")], links)

    def test_the_old_generation_is_gone(self) -> None:
        self.write("one")
        self.write("two")
        names = [each.name for each in self.folder.iterdir()]
        self.assertEqual(len(names), 4, names)

    def test_what_cannot_be_written_leaves_nothing_behind_and_the_old_in_use(self) -> None:
        """Each try would leave a key, and where there is no room take some of what is left."""
        self.write("one")
        before = sorted(each.name for each in self.folder.iterdir())

        def full(_handle: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with patch("os.fsync", full):
            error = self.assertRaises(ConfigError, self.write, "two")
        self.assertEqual(error.problem, "no space left on device")
        self.assertEqual(sorted(each.name for each in self.folder.iterdir()), before)
        self.assertEqual(self.contents(), ["one", "ONE"])

    def test_a_folder_in_the_place_of_the_link_leaves_nothing_behind(self) -> None:
        (self.folder / "..data").mkdir(parents=True)
        self.assertEqual(self.assertRaises(ConfigError, self.write, "one").problem, "is a directory")
        self.assertEqual([each.name for each in self.folder.iterdir()], ["..data"])

    def test_what_others_have_linked_to_is_not_removed(self) -> None:
        """In a folder that others write to, such as /dev/shm, the link may be anybody's."""
        victim, beside = Path(self.mktemp()), self.folder / "kept"
        for each in (victim, beside):
            each.mkdir(parents=True)
            (each / "file").write_text("of somebody")
        for target in (str(victim.absolute()), f"../{victim.name}", "kept", "."):
            (self.folder / "..data").symlink_to(target)
            self.write("one")
            self.assertEqual(self.contents(), ["one", "ONE"])
            self.assertTrue((victim / "file").exists() and (beside / "file").exists(), target)
            (self.folder / "..data").unlink()

    def test_plain_files_of_before_become_links(self) -> None:
        self.folder.mkdir()
        (self.folder / "tls.crt").write_text("by hand")
        self.write("one")
        self.assertEqual(self.contents(), ["one", "ONE"])
        self.assertTrue((self.folder / "tls.crt").is_symlink())

    def test_a_folder_that_cannot_be_made_is_an_error(self) -> None:
        error = self.assertRaises(ConfigError, write_folder, self.folder / "a" / "b", {"x": b"x"}, private=())
        self.assertEqual(error.problem, "no such file or directory")
