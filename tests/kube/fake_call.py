"""A caller of the directory's service, without a connection."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, succeed

from meshtx.pki.name import Name
from meshtx.rpc.messages.directory_pb2 import Update


class FakeCall:
    """A caller that takes as many messages as it is let."""

    def __init__(self, peer: Name | None) -> None:
        self.peer = peer
        self.sent: list[Update] = []
        self.full: Deferred[None] | None = None

    def ready(self) -> Deferred[None]:
        return self.full or succeed(None)

    def send_encoded(self, messages: Sequence[bytes]) -> None:
        self.sent += map(Update.FromString, messages)

    def read(self) -> None:
        """Take messages again."""
        full, self.full = self.full, None
        assert full is not None
        full.callback(None)
