"""OpenSSL's functions themselves, for the few calls that are made for each record, and each step of a handshake.

pyOpenSSL's public calls copy twice and raise an exception where there is nothing to read: three times the CPU time.
These names are private to it, so they are looked up once, and where one is missing `AVAILABLE` is false and the public
calls do it all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from OpenSSL import SSL

AVAILABLE = False
try:
    from OpenSSL import _util

    _ffi: Any = _util.ffi  # untyped there
    _lib: Any = _util.lib
    ssl_do_handshake: Any = _lib.SSL_do_handshake
    ssl_read: Any = _lib.SSL_read
    ssl_write: Any = _lib.SSL_write
    ssl_get_error: Any = _lib.SSL_get_error
    bio_read: Any = _lib.BIO_read
    bio_write: Any = _lib.BIO_write
    _clear_mode: Any = _lib.SSL_clear_mode
    _AUTO_RETRY: int = _lib.SSL_MODE_AUTO_RETRY
    WANT_READ: int = _lib.SSL_ERROR_WANT_READ
    WANT_WRITE: int = _lib.SSL_ERROR_WANT_WRITE

    SIZE = 2**18
    """Bytes of the buffer: more than a chunk of TCP, sealed."""

    BUFFER: Any = _ffi.new("char[]", SIZE)
    """One for all connections: every use copies out of it before anything else can run."""

    SLOTS: list[Any] = [BUFFER + number * 2**14 for number in range(1, 15)]
    """Where the second to fifteenth record go, if those before them are whole ones."""

    VIEW: Any = _ffi.buffer(BUFFER)
    pointer: Any = _ffi.from_buffer
    AVAILABLE = True
except (ImportError, AttributeError):  # another pyOpenSSL than the one measured
    pass


def set_groups(context: SSL.Context, groups: bytes) -> bool:
    """Set the groups of a context's key exchanges; return whether this OpenSSL takes them: its own stay, if not.

    :param groups: as SSL_CTX_set1_groups_list has them, since OpenSSL 3.5.
    """
    private: Any = context  # hence unknown to its type
    try:
        done: bool = _lib.SSL_CTX_set1_curves_list(private._context, groups) == 1
        if not done:
            _lib.ERR_clear_error()
    except (NameError, AttributeError):  # another pyOpenSSL than the one measured
        return False
    return done


def read_stepwise(ssl: Any) -> None:  # Any: OpenSSL's own, as in `Handles`
    """Have reads return behind each record that has no bytes of the application: who sends such ones without an end,
    as key updates are, would else never let one return.

    For a connection on a socket, of which OpenSSL reads a record at a time: what it leaves there wakes its reader.
    pyOpenSSL has every connection do the contrary, whatever the mode of its context.
    """
    _clear_mode(ssl, _AUTO_RETRY)


@dataclass(frozen=True, slots=True)
class Handles:
    """What pyOpenSSL has of one connection.

    :param into: the memory BIO into it, ``None`` on a socket.
    :param out: the one out of it.
    :param judge: raises the public error that belongs to a result, and empties OpenSSL's queue of errors.
    """

    ssl: Any
    into: Any
    out: Any
    judge: Callable[[Any, int], None]


def handles(connection: SSL.Connection) -> Handles:
    """Return OpenSSL's own objects.

    :raises AttributeError: the connection has no such handles.
    """
    private: Any = connection  # hence unknown to its type
    return Handles(private._ssl, private._into_ssl, private._from_ssl, private._raise_ssl_error)


def _has_handles() -> bool:
    """Say whether connections have them: with one pyOpenSSL all do, or none."""
    try:
        handles(SSL.Connection(SSL.Context(SSL.TLS_METHOD)))
    except AttributeError:
        return False
    return True


AVAILABLE = AVAILABLE and _has_handles()
