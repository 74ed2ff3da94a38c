"""h2's connection, with bounds on what it remembers of its peer, and on what decoding a header block costs."""

from __future__ import annotations

from collections.abc import Iterable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings
from hpack import Decoder, HeaderTuple, HPACKDecodingError

_KNOWN = frozenset(SettingCodes)

_MAX_SIZE_UPDATES = 2
"""Dynamic table size updates in one header block (RFC 7541, section 4.2)."""


class BoundedConnection(H2Connection):
    """Is told by its peer what it likes, and keeps a part of it."""

    MAX_CLOSED_STREAMS = 1000
    """How each of the last streams ended, h2's own bound is 65,536: ten times what may be open at once, so that what
    was on its way to a stream that we reset still finds it."""

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.decoder = _BoundedDecoder()
        self.remote_settings = _KnownSettings(client=not config.client_side)


class _KnownSettings(Settings):
    """Those of the peer that mean something. h2 would keep 65,536 of them, and walk over all with each SETTINGS."""

    def __setitem__(self, key: SettingCodes | int, value: int) -> None:
        """Take one, or ignore it (RFC 9113, section 6.5.2)."""
        if key in _KNOWN:
            super().__setitem__(key, value)


class _BoundedDecoder(Decoder):
    """Refuses a block that changes the table's size again and again, which hpack does not count as fields."""

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        """Decode one header block.

        :raises HPACKDecodingError: it breaks RFC 7541.
        """
        if data and data[0] >> 5 == 1 and _size_updates(data) > _MAX_SIZE_UPDATES:
            raise HPACKDecodingError(f"more than {_MAX_SIZE_UPDATES} dynamic table size updates in a header block")
        return super().decode(data, raw)


def _size_updates(block: bytes) -> int:
    """Return how many dynamic table size updates the block begins with; no more than one above the bound."""
    count = at = 0
    while at < len(block) and block[at] >> 5 == 1 and count <= _MAX_SIZE_UPDATES:
        count += 1
        long = block[at] & 31 == 31  # the rest of the size follows (RFC 7541, section 5.1)
        at += 1
        while long and at < len(block):
            long = block[at] >= 128
            at += 1
    return count
