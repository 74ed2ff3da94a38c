"""The bearer token of requests to the API. No log and no repr shows it."""

from __future__ import annotations

from pathlib import Path

from meshtx.errors import ConfigError, said_by_system
from meshtx.files import read_text

MAX_LENGTH = 64 * 1024
"""Bytes of a token file."""
_HINT = "mount the service account token, or name another token file"


class TokenSource:
    """A token, or the file that it stands in and that the kubelet replaces.

    :param file: read when it has changed since it was read last.
    :param token: what is used without a file; ``None`` sends none.
    """

    def __init__(self, file: Path | None, token: str | None) -> None:
        self._file = file
        self._token = token
        self._stamp: tuple[int, ...] = ()

    def read(self) -> str | None:
        """Return the token as it is now.

        :raises ConfigError: the file cannot be read, or does not hold a token.
        """
        if self._file is None:
            return self._token
        stamp = _stamp(self._file)
        if stamp != self._stamp:
            self._token = _token(self._file)
            self._stamp = stamp
        return self._token


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except OSError as error:
        raise ConfigError(str(file), said_by_system(error), _HINT) from error
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _token(file: Path) -> str:
    token = read_text(file, _HINT, MAX_LENGTH).strip()
    if not token.isascii() or not token.isprintable() or " " in token or not token:
        raise ConfigError(str(file), "the file does not hold a token", _HINT)
    return token
