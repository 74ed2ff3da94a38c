"""What the proxies of each pair agree on, read on the wire before anything is measured, and whom they refuse.

A pair that spoke an older TLS, another cipher or resumed a session would do other work than the rest.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from benchmarks.ground import Ground, Running
from benchmarks.peers.peer import INBOUND_PORT, Pair
from meshtx.demo import capture
from meshtx.demo.lab import LabError

_SERVER_HELLO = 2
_VERSIONS, _PRE_SHARED_KEY, _KEY_SHARE = 43, 41, 51
"""Extensions (RFC 8446, 4.2)."""

NAMES = {0x0304: "TLS 1.3", 0x1301: "AES-128-GCM", 0x001D: "X25519", 0x11EC: "X25519MLKEM768", 0x0017: "P-256"}


@dataclass(frozen=True)
class Agreed:
    """What a ServerHello says, by the numbers of IANA's registry."""

    version: int
    cipher: int
    group: int
    resumed: bool

    @property
    def alike(self) -> bool:
        """Whether that is what every pair is to do."""
        return (self.version, self.cipher, self.resumed) == (0x0304, 0x1301, False)

    @property
    def key_exchange(self) -> str:
        """What the keys are made by."""
        return NAMES.get(self.group, hex(self.group))


def server_hello(data: bytes) -> Agreed | None:
    """Read the first record of a server (RFC 8446, 4.1.3); nothing if it is no ServerHello, or not whole."""
    body = data[9 : 9 + int.from_bytes(data[6:9], "big")]
    if data[:1] != b"\x16" or data[5:6] != bytes([_SERVER_HELLO]) or len(body) < 38:
        return None
    at = 35 + body[34]
    cipher = int.from_bytes(body[at : at + 2], "big")
    extensions = {}
    at += 5  # cipher, compression, the length of all
    while at + 4 <= len(body):
        kind, size = int.from_bytes(body[at : at + 2], "big"), int.from_bytes(body[at + 2 : at + 4], "big")
        extensions[kind] = body[at + 4 : at + 4 + size]
        at += 4 + size
    version = int.from_bytes(extensions.get(_VERSIONS, body[:2]), "big")
    group = int.from_bytes(extensions.get(_KEY_SHARE, b"")[:2], "big")
    return Agreed(version, cipher, group, _PRE_SHARED_KEY in extensions)


class Watch:
    """Sees everything on the ground from now on."""

    def __init__(self, ground: Ground, name: str) -> None:
        self._ground = ground
        self._file = ground.folder / f"{name}.pcap"
        argv = [sys.executable, "-m", capture.__name__, str(self._file)]
        self._recorder: Running = ground.start(f"watch-{name}", argv, cpu=ground.load_cpu)
        self._recorder.until(lambda: self._file.is_file() and self._file.stat().st_size > 0, "watching")

    def check(self, pairs: list[Pair]) -> None:
        """End it, and judge what the pairs have agreed on meanwhile.

        :raises LabError: one does other work than the rest, or lets in who proves nothing.
        """
        self._recorder.stop()
        streams = capture.streams(self._file)
        for pair in pairs:
            inbound = [each for each in streams if str(each.server) == f"{pair.place.inbound}:{INBOUND_PORT}"]
            found = {said for each in inbound if (said := server_hello(each.received))}
            if not found or not all(said.alike for said in found):
                raise LabError(f"{pair.name} has agreed on {found or 'nothing that was seen'}")
            if self._ground.answers_anybody(pair.place.inbound, INBOUND_PORT, pair.place.certificates["server_name"]):
                raise LabError(f"{pair.name} lets in a client without a certificate")
            self._ground.key_exchanges[pair.name] = "/".join(sorted(said.key_exchange for said in found))
