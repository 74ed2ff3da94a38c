"""A key survives a restart in memory, and never on a disk."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshtx.errors import ConfigError, CredentialsError
from meshtx.identity.key_folder import KeyFolder
from tests.identity.made import Mesh
from tests.pki.made import NOW, VOTING, WEB

LINE = "36 28 {device} / /x rw,nosuid - {kind} {kind} rw\n"
LOCKS = """
import fcntl, os, sys, time
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(600)
"""


class KeyFolderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.mesh = Mesh()

    def on(self, kind: str) -> KeyFolder:
        """Return the folder as if it were on a file system of this kind."""
        mounts = Path(self.mktemp())
        device = self.path.stat().st_dev
        mounts.write_text(
            LINE.format(device="99:99", kind="tmpfs" if kind == "ext4" else "ext4")
            + LINE.format(device=f"{os.major(device)}:{os.minor(device)}", kind=kind)
        )
        return KeyFolder(self.path, mounts)

    def test_memory_is_taken(self) -> None:
        for kind in ("tmpfs", "ramfs"):
            self.assertEqual(self.on(kind).path, self.path)

    def test_a_disk_is_refused(self) -> None:
        for kind in ("ext4", "xfs", "overlay", "nfs4"):
            error = self.assertRaises(ConfigError, self.on, kind)
            self.assertEqual(
                str(error),
                f"{self.path}: is on {kind}, where a private key must not be; "
                "name a folder on a tmpfs, or leave it out",
            )

    def test_what_cannot_be_told_is_refused(self) -> None:
        empty = Path(self.mktemp())
        empty.write_text("")
        error = self.assertRaises(ConfigError, KeyFolder, self.path, empty)
        self.assertIn("is on an unknown file system", str(error))
        error = self.assertRaises(ConfigError, KeyFolder, self.path, Path("none"))
        self.assertEqual(error.problem, "none: no such file or directory")
        error = self.assertRaises(ConfigError, KeyFolder, self.path / "none")
        self.assertIn("no such file or directory", error.problem)
        error = self.assertRaises(ConfigError, KeyFolder, empty)
        self.assertEqual(error.problem, "is no folder")

    def test_a_real_disk_and_real_memory_are_told_apart(self) -> None:
        if not Path("/dev/shm").is_dir():
            raise SkipTest("no /dev/shm")
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            self.assertEqual(KeyFolder(Path(folder)).path, Path(folder))
        self.assertRaises(ConfigError, KeyFolder, Path("/proc/self"))

    def test_what_was_stored_is_loaded_and_the_key_is_private(self) -> None:
        folder, credentials = self.on("tmpfs"), self.mesh.credentials()
        folder.store(credentials, self.mesh.trust)
        loaded = folder.load(WEB, self.mesh.trust, NOW)
        assert loaded is not None
        self.assertEqual((loaded.chain, loaded.key_pem()), (credentials.chain, credentials.key_pem()))
        self.assertEqual(stat.S_IMODE((self.path / "tls.key").stat().st_mode), 0o600)

    def test_a_second_process_is_refused_until_the_first_one_ends(self) -> None:
        first, second = self.on("tmpfs"), self.on("tmpfs")
        first.lock()
        error = self.assertRaises(ConfigError, second.lock)
        self.assertEqual(
            str(error),
            f"{self.path}: another process keeps its key there; "
            "give each program a folder of its own, or stop the other one",
        )
        first.unlock()
        second.lock()
        second.unlock()

    def test_a_killed_process_leaves_no_lock(self) -> None:
        other = subprocess.Popen([sys.executable, "-c", LOCKS, str(self.path)], stdout=subprocess.PIPE)
        assert other.stdout
        with other.stdout:
            other.stdout.readline()
            self.assertRaises(ConfigError, self.on("tmpfs").lock)
            other.kill()
            other.wait()
        folder = self.on("tmpfs")
        folder.lock()
        folder.unlock()

    def test_what_a_killed_process_left_half_written_is_removed(self) -> None:
        folder = self.on("tmpfs")
        folder.store(self.mesh.credentials(), self.mesh.trust)
        present = sorted(each.name for each in self.path.iterdir())
        (self.path / "..0123456789abcdef").mkdir()
        (self.path / "..0123456789abcdef/tls.key").touch()
        folder.lock()
        folder.unlock()
        self.assertEqual(sorted(each.name for each in self.path.iterdir()), present)

    def test_an_empty_folder_holds_nothing(self) -> None:
        self.assertIsNone(self.on("tmpfs").load(WEB, self.mesh.trust, NOW))

    def test_what_a_peer_would_refuse_is_not_loaded(self) -> None:
        folder = self.on("tmpfs")
        folder.store(self.mesh.credentials(), self.mesh.trust)
        self.assertRaises(CredentialsError, folder.load, VOTING, self.mesh.trust, NOW)
        self.assertRaises(CredentialsError, folder.load, WEB, Mesh().trust, NOW)
        self.assertRaises(CredentialsError, folder.load, WEB, self.mesh.trust, NOW.replace(year=2027))
        (self.path / "tls.crt").unlink()
        self.assertRaises(CredentialsError, folder.load, WEB, self.mesh.trust, NOW)
