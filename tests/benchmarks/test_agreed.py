"""What is read of a ServerHello: the pairs must do the same work."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import agreed
from benchmarks.agreed import Agreed, Watch, server_hello
from benchmarks.peers.peer import Peer, Place
from benchmarks.peers.roster import ALL
from benchmarks.record import key_exchanges
from meshtx.demo.lab import LabError


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


def hello(*extensions: bytes, cipher: int = 0x1301, session: bytes = bytes(32)) -> bytes:
    inner = b"".join(extensions)
    body = b"\x03\x03" + bytes(32) + bytes([len(session)]) + session + cipher.to_bytes(2, "big") + b"\0"
    body += len(inner).to_bytes(2, "big") + inner
    message = b"\x02" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message


NEWEST = extension(43, b"\x03\x04")
SHARE = extension(51, b"\x00\x1d\x00\x20" + bytes(32))


class TestServerHello(SynchronousTestCase):
    def test_what_all_are_to_agree_on(self) -> None:
        found = server_hello(hello(NEWEST, SHARE) + b"more")
        self.assertEqual(found, Agreed(0x0304, 0x1301, 0x1D, resumed=False))
        assert found
        self.assertEqual((found.alike, found.key_exchange), (True, "X25519"))

    def test_every_difference_is_seen(self) -> None:
        for data in (
            hello(SHARE),  # TLS 1.2
            hello(NEWEST, SHARE, cipher=0x1302),
            hello(NEWEST, SHARE, extension(41, b"\0\0")),  # resumed
        ):
            found = server_hello(data)
            assert found
            self.assertFalse(found.alike, data)

    def test_a_session_of_no_length_is_read_too(self) -> None:
        self.assertEqual(server_hello(hello(NEWEST, SHARE, session=b"")), server_hello(hello(NEWEST, SHARE)))

    def test_what_is_no_server_hello_is_none(self) -> None:
        whole = hello(NEWEST, SHARE)
        for data in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", whole[:20], b"\x15" + whole[1:]):
            self.assertIsNone(server_hello(data))


class TestWatch(SynchronousTestCase):
    """Nothing at all was seen on the wire."""

    def setUp(self) -> None:
        self.patch(agreed.capture, "streams", lambda _file: [])
        recorder = SimpleNamespace(until=lambda *_: None, stop=lambda: None)
        self.ground: Any = SimpleNamespace(folder=Path(), load_cpu=0, start=lambda *_, **__: recorder, key_exchanges={})

    def check(self, peer: Peer) -> None:
        pair: Any = SimpleNamespace(name=peer.name, peer=peer, place=Place(peer.name, 0, 8000, Path(), {}))
        Watch(self.ground, "test").check([pair])

    def test_no_pair_may_do_without_tls(self) -> None:
        for peer in ALL:
            self.assertRaisesRegex(LabError, f"{peer.name} has agreed on nothing", self.check, peer)
        self.assertEqual(self.ground.key_exchanges, {})


class TestKeyExchanges(SynchronousTestCase):
    def test_pairs_are_told_by_what_they_do(self) -> None:
        self.assertEqual(key_exchanges({"a": "X", "b": "Y", "c": "X"}), "X (a, c); Y (b)")
