"""Reading and writing the small files that keys, certificates and tokens live in.

A file appears whole or not at all. A folder of files that belong together is swapped as the kubelet
swaps a mounted Secret: the files are links through ``..data`` to a folder of one generation, and one
rename moves ``..data`` to the next.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from meshtx.errors import ConfigError, said_by_system, unreadable

MAX_LENGTH = 1024 * 1024
"""Bytes that are read from one file: a bundle of 500 anchors has half."""
DATA = "..data"
_GENERATION = re.compile(r"\.\.[0-9a-f]{16}")


def read_file(path: Path, hint: str = "name a file that this user can read", limit: int = MAX_LENGTH) -> bytes:
    """Return the whole file, not empty.

    :param limit: bytes.
    :raises ConfigError: it is missing, unreadable, empty or longer.
    """
    data = _read(path, hint, limit)
    if not data:
        raise ConfigError(str(path), "the file is empty", hint)
    return data


def read_text(path: Path, hint: str, limit: int = MAX_LENGTH) -> str:
    """Return the whole text of a file in UTF-8, without the byte order mark that some editors write; it may be empty.

    :param limit: bytes.
    :raises ConfigError: it is missing, unreadable, longer or in no UTF-8.
    """
    try:
        return _read(path, hint, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), str(error), "write it in UTF-8") from error


def _read(path: Path, hint: str, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise unreadable(str(path), path, error, hint) from error
    if len(data) > limit:
        raise ConfigError(str(path), f"the file is longer than {limit} bytes", hint)
    return data


def write_file(path: Path, data: bytes, *, private: bool, owner: int | None = None) -> None:
    """Replace a file at once, or that to which a link leads; what was there before stays until then.

    :param private: only the owner may read it.
    :param owner: the user who gets it; without, it is ours. Only root may give files away.
    :raises ConfigError: it cannot be written, or is a device, a pipe or the like, which nobody wants replaced.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f"..{target.name}.{secrets.token_hex(4)}")
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ConfigError(str(path), "is no file", "name one, or the place for one")
        try:
            _create(temporary, data, private=private, owner=owner)
            temporary.replace(target)
            _sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        given = owner is not None and error.errno == errno.EPERM  # of fchown(2)
        hint = "only root may give it away" if given else "name a place that this user can write to"
        raise ConfigError(str(path), said_by_system(error), hint) from error


def write_folder(folder: Path, files: Mapping[str, bytes], private: Collection[str]) -> None:
    """Replace all these files of a folder at once; it is made if it is not there.

    :param private: the names of those that only the owner may read.
    :raises ConfigError: it cannot be written.
    """
    try:
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
        _swap(folder, files, private)
    except OSError as error:
        raise ConfigError(str(folder), said_by_system(error), "name a folder that this user can write to") from error


def _swap(folder: Path, files: Mapping[str, bytes], private: Collection[str]) -> None:
    data = folder / DATA
    before = _generation(data)
    generation = folder / f"..{secrets.token_hex(8)}"
    generation.mkdir(mode=0o700)
    try:
        for name, content in files.items():
            _create(generation / name, content, private=name in private)
        _sync_folder(generation)
        _link(data, generation.name)
    except OSError:
        shutil.rmtree(generation, ignore_errors=True)  # a key is in it, and where there is no room it takes some
        raise
    for name in files:
        if not (folder / name).is_symlink():
            _link(folder / name, f"{DATA}/{name}")
    _sync_folder(folder)
    if before is not None:
        shutil.rmtree(before, ignore_errors=True)


def remove_old_generations(folder: Path) -> None:
    """Remove what a killed writer has left in a folder of `write_folder`. No other may write there meanwhile."""
    present = _generation(folder / DATA)
    for each in folder.iterdir():
        if _GENERATION.fullmatch(each.name) and each != present and each.is_dir() and not each.is_symlink():
            shutil.rmtree(each, ignore_errors=True)


def _generation(data: Path) -> Path | None:
    """Return the folder that `DATA` leads to if it is one of ours: what others have put there, nobody removes."""
    if not data.is_symlink():
        return None
    name = str(data.readlink())
    folder = data.parent / name
    return folder if _GENERATION.fullmatch(name) and folder.is_dir() and not folder.is_symlink() else None


def _create(path: Path, data: bytes, *, private: bool, owner: int | None = None) -> None:
    mode = 0o600 if private else 0o644
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        os.fchmod(file.fileno(), mode)  # the umask must not decide
        if owner is not None:
            os.fchown(file.fileno(), owner, -1)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _link(path: Path, target: str) -> None:
    temporary = path.with_name(f"..{path.name}.{secrets.token_hex(4)}")
    temporary.symlink_to(target)
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems cannot; the rename itself is what counts
            os.fsync(handle)
    finally:
        os.close(handle)
