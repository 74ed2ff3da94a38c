"""A value made of files, made again when they change.

The files' contents are compared, not their times: they are small, and so no way of replacing them
(in place, by rename, by the kubelet's ``..data`` link) and no clock can hide a change. What cannot be
read or is not good keeps the last good value in use, if there was one, says so once, and is tried again
at each look: time alone may mend it.

A file that may be large, or whose half may look whole, is read only when it has another stamp than what
was read last, and has been still for a whole interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Generic, TypeVar

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from meshtx.errors import ConfigError, MeshtxError

INTERVAL = 5.0
"""Seconds between two looks."""

Contents = Mapping[Path, bytes]
T = TypeVar("T")


class Followed(StrEnum):
    """What a program makes of files that it follows: a label of the counter of reloads."""

    DIRECTORY = "directory"
    ISSUER = "issuer"
    CREDENTIALS = "credentials"
    """Certificate and key, and the trust anchors with them where they are a file too."""
    TRUST_ANCHORS = "trust_anchors"
    """Those that stand alone: the certificate comes from the identity service."""
    KEY_SET = "key_set"
    """The key set of the issuer of tokens."""


class Reload(StrEnum):
    """What came of files that are other ones than before: a label of the counter of reloads."""

    OK = "ok"
    """They are in use."""
    REJECTED = "rejected"
    """They are not, the last good ones are; counted once for each reason, however often it is tried again."""


_Stamp = tuple[int, ...]
"""Differs once a file is another or has other content; empty while there is none."""


class FileWatch(Service, Generic[T]):
    """Looks now and then while it runs.

    :param what: names the value in the log and in errors.
    :param read: returns the files' contents; raises `ConfigError`.
    :param build: makes the value of them; raises `MeshtxError`.
    :param changed: called with each new value that a look finds.
    :param looked: called after each look.
    :param reloaded: called with what came of a change, not for the first value.
    :param interval: seconds between two looks.
    :param still: the file that is read only when it has changed and is still.
    """

    log = Logger()

    def __init__(
        self,
        what: str,
        *,
        read: Callable[[], Contents],
        build: Callable[[Contents], T],
        changed: Callable[[T], None],
        clock: IReactorTime,
        looked: Callable[[], None] = lambda: None,
        reloaded: Callable[[Reload], None] = lambda _: None,
        interval: float = INTERVAL,
        still: Path | None = None,
    ) -> None:
        self.reload_error: str | None = None
        """Why the files as they are now are not in use, ``None`` where they are."""
        self._what = what
        self._read = read
        self._build = build
        self._changed = changed
        self._looked = looked
        self._reloaded = reloaded
        self._used = b""
        self._interval = interval
        self._still = still
        self._seen: _Stamp | None = None
        self._judged: _Stamp | None = None
        self._looks = LoopingCall(self.look)
        self._looks.clock = clock

    def load(self) -> T:
        """Return the value of the files as they are at the start.

        :raises ConfigError: they cannot be used.
        """
        contents = self._read()
        try:
            value = self._build(contents)
        except ConfigError:
            raise
        except MeshtxError as error:
            raise ConfigError(self._what, str(error), "mend the file and start again") from error
        self._used = _digest(contents)
        return value

    def look(self) -> None:
        """Take the files if they have changed; never raises."""
        try:
            if self._is_due():
                self._look()
            self._looked()
        except Exception as error:  # noqa: BLE001  # a defect must not end the looking: it would never be seen again
            self.log.failure("{what}: not loaded again", what=self._what)
            self._keep(f"internal error: {type(error).__name__}")

    def _is_due(self) -> bool:
        """Return whether there may be something new to read."""
        if self._still is None:
            return True
        stamp, before = _stamp(self._still), self._seen
        self._seen = stamp
        if stamp == before and stamp != self._judged:
            self._judged = stamp
            return True
        return False

    def _look(self) -> None:
        before = self._used
        try:
            contents = self._read()
            if _digest(contents) != before:
                self._take(contents)
        except MeshtxError as error:
            self._keep(str(error))
            return
        if self.reload_error or (before and self._used != before):
            self.log.info("{what} loaded again", what=self._what)
            self._reloaded(Reload.OK)
        self.reload_error = None

    def startService(self) -> None:
        """Look now and then."""
        super().startService()
        self._looks.start(self._interval, now=True).addErrback(
            lambda failure: self.log.failure("{what} is no longer watched", failure, what=self._what)
        )

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        if self._looks.running:
            self._looks.stop()

    def _take(self, contents: Contents) -> None:
        value = self._build(contents)
        self._used = _digest(contents)
        self._changed(value)

    def _keep(self, reason: str) -> None:
        before, self.reload_error = self.reload_error, reason
        if reason != before:
            kept = "the last good one stays in use" if self._used else "none is in use"
            self.log.warn("{what}: {kept}: {reason}", what=self._what, kept=kept, reason=reason)
            self._reloaded(Reload.REJECTED)


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size


def _digest(contents: Contents) -> bytes:
    """Stands for the contents, so that no copy of a key is kept."""
    digest = sha256()
    for path, data in contents.items():
        digest.update(f"{path}\0{len(data)}\0".encode("utf-8", "surrogateescape"))
        digest.update(data)
    return digest.digest()
