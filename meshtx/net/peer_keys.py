"""The public keys of peers' certificates: one in memory for all connections, and not one for each.

OpenSSL keeps what the peer has shown for as long as a connection lasts, parsed: its certificate and its issuer's, each
with a key of 2 KB. Peers show the same ones again and again. So once the handshake is over, when nobody uses a key of
theirs any more, the certificates of a connection that lasts get the key of the first such certificate: the same octets
have the same key. That costs 0.1 ms of CPU time at either end, too much for a connection that is soon over.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from OpenSSL import SSL

from meshtx.net import openssl

KEPT = 256
"""Keys that are kept in memory, those used last: half a megabyte."""

AVAILABLE = False
try:
    from OpenSSL import _util

    _ffi: Any = _util.ffi  # untyped there
    _lib: Any = _util.lib
    _leaf, _chain = _lib.SSL_get_peer_certificate, _lib.SSL_get_peer_cert_chain
    _count, _item = _lib.sk_X509_num, _lib.sk_X509_value
    _digest, _free = _lib.X509_digest, _lib.X509_free
    _get_key, _set_key, _free_key = _lib.X509_get_pubkey, _lib.X509_set_pubkey, _lib.EVP_PKEY_free
    _clear_errors = _lib.ERR_clear_error
    _SHA256 = _lib.EVP_get_digestbyname(b"SHA256")
    _OCTETS = _ffi.new("unsigned char[64]")
    _SIZE = _ffi.new("unsigned int *")
    AVAILABLE = True
except (ImportError, AttributeError):  # another pyOpenSSL than the one measured
    pass

_keys: OrderedDict[bytes, Any] = OrderedDict()
"""By the digest of the certificate."""


def share(connection: SSL.Connection) -> None:
    """Let the peer's certificates have the keys that others like them have.

    :param connection: its handshake is complete, and the peer has been judged.
    """
    if not AVAILABLE:
        return
    try:
        ssl = openssl.handles(connection).ssl
    except AttributeError:  # likewise
        return
    leaf = _ffi.gc(_leaf(ssl), _free)
    if leaf == _ffi.NULL:
        return
    _share(leaf)
    chain = _chain(ssl)
    for each in range(_count(chain)):  # a client's has the leaf once more
        issuer = _item(chain, each)
        if issuer != leaf:
            _share(issuer)


def _share(certificate: Any) -> None:  # of OpenSSL's
    if _digest(certificate, _SHA256, _OCTETS, _SIZE) != 1:
        _clear_errors()
        return
    digest: bytes = _ffi.buffer(_OCTETS)[: _SIZE[0]]
    key = _keys.get(digest)
    if key is None:
        key = _get_key(certificate)
        if key == _ffi.NULL:  # of a kind that OpenSSL does not know
            _clear_errors()
            return
        _keys[digest] = _ffi.gc(key, _free_key)
        if len(_keys) > KEPT:
            _keys.popitem(last=False)
        return
    _keys.move_to_end(digest)
    if _set_key(certificate, key) != 1:  # it keeps its own
        _clear_errors()
