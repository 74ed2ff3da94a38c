"""Keeps key and certificate over a restart of the program, in memory: on no disk, but that which a machine swaps to.

A restarted sidecar with a certificate that still verifies serves at once, with or without the identity
service. The folder must be on a tmpfs or ramfs: a key on a disk outlives its machine.

    tls.crt  tls.key (0600)  ca.crt        in the kubelet's layout, see `meshtx.files`

A folder has one owner: the running process holds a lock on it (flock(2)) until it has stopped, its connections drained.
The kernel releases the lock of a process that ends in any other way, so none is ever stale. A successor that starts
sooner is refused at once and does not wait: its supervisor starts it again.
"""

from __future__ import annotations

import fcntl
import os
from datetime import datetime
from pathlib import Path

from meshtx.errors import ConfigError, CredentialsError, said_by_system
from meshtx.files import read_file, remove_old_generations, write_folder
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.name import Name

IN_MEMORY = {"tmpfs", "ramfs"}
MOUNTS = Path("/proc/self/mountinfo")

_CERTIFICATE, _KEY, _ANCHORS = "tls.crt", "tls.key", "ca.crt"


class KeyFolder:
    """The folder, checked when made.

    :param mounts: what Linux says of this process's mounts (proc(5), mountinfo).
    :raises ConfigError: it is not there, or may be on a disk.
    """

    def __init__(self, path: Path, mounts: Path = MOUNTS) -> None:
        self.path = path
        self._lock: int | None = None
        kind = _file_system(path, mounts)
        if kind not in IN_MEMORY:
            raise ConfigError(
                str(path), f"is on {kind}, where a private key must not be", "name a folder on a tmpfs, or leave it out"
            )

    def lock(self) -> None:
        """Make this process the folder's only user, and remove what a killed one has left half written.

        :raises ConfigError: another process is, or the folder cannot be locked.
        """
        try:
            lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                raise
        except BlockingIOError:
            raise ConfigError(
                str(self.path),
                "another process keeps its key there",
                "give each program a folder of its own, or stop the other one",
            ) from None
        except OSError as error:
            raise ConfigError(str(self.path), said_by_system(error), "name a folder that this user may read") from error
        self._lock = lock
        remove_old_generations(self.path)

    def unlock(self) -> None:
        """Leave the folder to the next process."""
        if self._lock is not None:
            lock, self._lock = self._lock, None
            os.close(lock)

    def load(self, name: Name, trust: TrustBundle, now: datetime) -> Credentials | None:
        """Return what was stored for this name, ``None`` where there is nothing.

        :raises CredentialsError: what is there cannot be used now.
        """
        if not (self.path / _KEY).exists():
            return None
        try:
            certificate, key = (read_file(self.path / each) for each in (_CERTIFICATE, _KEY))
        except ConfigError as error:
            raise CredentialsError(str(error)) from error
        names = str(self.path / _CERTIFICATE), str(self.path / _KEY)
        credentials = Credentials.from_pem(certificate, key, names[0], key_what=names[1])
        credentials.check(name, trust, now)
        return credentials

    def store(self, credentials: Credentials, trust: TrustBundle) -> None:
        """Replace what is there.

        :raises ConfigError: it cannot be written.
        """
        files = {_CERTIFICATE: credentials.chain_pem(), _KEY: credentials.key_pem(), _ANCHORS: trust.to_pem()}
        write_folder(self.path, files, private={_KEY})


def _file_system(path: Path, mounts: Path) -> str:
    """Return the type of the file system that a folder is on."""
    try:
        device = path.stat().st_dev
        if not path.is_dir():
            raise ConfigError(str(path), "is no folder", "name a folder on a tmpfs")
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}".lower()
        raise ConfigError(str(path), problem, "name a folder on a tmpfs that is there, or leave it out") from error
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        left, _, right = line.partition(" - ")
        if left.split()[2] == wanted:
            return right.split()[0]
    return "an unknown file system"
