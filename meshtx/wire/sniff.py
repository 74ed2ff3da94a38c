"""Which protocol of HTTP the first bytes of a client speak, if any.

Says so as soon as it is certain, and by byte `LIMIT` at the latest:

- HTTP/1: ``METHOD SP target SP HTTP/1.`` (RFC 9112, section 3); where the target is longer than
  the limit, a registered method before it is enough.
- HTTP/2 with prior knowledge: the client's connection preface (RFC 9113, section 3.4).
"""

from __future__ import annotations

import re
from enum import Enum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The first bytes of an HTTP/2 client."""
LIMIT = 64
"""Bytes after which there is no "more"."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_VERSION = b" HTTP/1."
_REQUEST = re.compile(rb"(?:\r\n)*" + _TOKEN + rb"{1,32} [^\x00-\x20\x7f]+ HTTP/1\.[01]")
_BEGUN = re.compile(rb"(?:\r\n)*(?:\r|(" + _TOKEN + rb"{1,32})(?:( )(?:([^\x00-\x20\x7f]+)( [HTP/1.]{0,7})?)?)?)?")
_REGISTERED = frozenset(b"GET HEAD POST PUT DELETE PATCH OPTIONS CONNECT TRACE".split())


class Detection(Enum):
    """What a detector says of the first bytes of a connection."""

    YES = "yes"
    NO = "no"
    MORE = "more"
    """Undecided: ask again with more bytes. The bytes themselves have gone on already."""


def detect_http1(first: bytes) -> Detection:
    """Judge whether a client speaks HTTP/1.

    :param first: all that it sent so far; only `LIMIT` bytes of it are looked at.
    """
    first = first[:LIMIT]
    if _REQUEST.match(first):
        return Detection.YES
    begun = _BEGUN.fullmatch(first)
    if begun is None or not _VERSION.startswith(begun[4] or b""):
        return Detection.NO
    if len(first) < LIMIT:
        return Detection.MORE
    return Detection.YES if begun[1] in _REGISTERED and begun[3] else Detection.NO


def detect_h2(first: bytes) -> Detection:
    """Judge whether a client speaks HTTP/2 with prior knowledge.

    :param first: all that it sent so far.
    """
    if first.startswith(PREFACE):
        return Detection.YES
    return Detection.MORE if PREFACE.startswith(first) else Detection.NO
