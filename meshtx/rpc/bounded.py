"""h2's connection, with bounds on what it remembers of its peer for as long as the connection lasts."""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

_KNOWN = frozenset(SettingCodes)


class BoundedConnection(H2Connection):
    """Is told by its peer what it likes, and keeps a part of it."""

    MAX_CLOSED_STREAMS = 1000
    """How each of the last streams ended, h2's own bound is 65,536: ten times what may be open at once, so that what
    was on its way to a stream that we reset still finds it."""

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.remote_settings = _KnownSettings(client=not config.client_side)


class _KnownSettings(Settings):
    """Those of the peer that mean something. h2 would keep 65,536 of them, and walk over all with each SETTINGS."""

    def __setitem__(self, key: SettingCodes | int, value: int) -> None:
        """Take one, or ignore it (RFC 9113, section 6.5.2)."""
        if key in _KNOWN:
            super().__setitem__(key, value)
