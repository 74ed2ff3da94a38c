"""OpenSSL's functions themselves, for the few calls that are made for each record.

pyOpenSSL's public calls copy twice and raise an exception where there is nothing to read: three times the CPU time.
These names are private to it, so they are looked up once, and where one is missing `AVAILABLE` is false and the public
calls do it all.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

AVAILABLE = False
try:
    from OpenSSL import _util

    _ffi: Any = _util.ffi  # untyped there
    _lib: Any = _util.lib
    ssl_read: Any = _lib.SSL_read
    ssl_write: Any = _lib.SSL_write
    ssl_get_error: Any = _lib.SSL_get_error
    bio_read: Any = _lib.BIO_read
    bio_write: Any = _lib.BIO_write
    WANT_READ: int = _lib.SSL_ERROR_WANT_READ
    WANT_WRITE: int = _lib.SSL_ERROR_WANT_WRITE

    SIZE = 2**18
    """Bytes of the buffer: more than a chunk of TCP, sealed."""

    BUFFER: Any = _ffi.new("char[]", SIZE)
    """One for all connections: every use copies out of it before anything else can run."""

    VIEW: Any = _ffi.buffer(BUFFER)
    pointer: Any = _ffi.from_buffer
    AVAILABLE = True
except (ImportError, AttributeError):  # another pyOpenSSL than the one measured
    pass


def handles(connection: SSL.Connection) -> tuple[Any, Any, Any]:
    """Return OpenSSL's own objects: the connection, the BIO into it, the one out of it; without BIOs, ``None``.

    :raises AttributeError: the connection has no such handles.
    """
    private: Any = connection  # hence unknown to its type
    return private._ssl, private._into_ssl, private._from_ssl
