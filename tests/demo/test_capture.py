"""A raw capture, read back as TCP connections: whatever order, repetition or gap the frames have."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshtx.demo import capture
from meshtx.demo.capture import Stream, streams
from meshtx.wire.address import Address
from tests.demo.frames import ACK, FIN, SYN, frame, write
from tests.mesh.town import Town, why_not

CLIENT, SERVER = ("10.1.0.4", 40000), ("10.1.0.2", 80)
CLIENT6, SERVER6 = ("fd00:1::4", 40000), ("fd00:1::2", 80)


def hello(client: tuple[str, int] = CLIENT, server: tuple[str, int] = SERVER, ours: int = 100, theirs: int = 900):
    """Return the frames that open a connection; the first bytes have the numbers ours + 1 and theirs + 1."""
    return [frame(client, server, ours, flags=SYN), frame(server, client, theirs, flags=SYN | ACK)]


class StreamTests(SynchronousTestCase):
    def read(self, *frames: bytes) -> list[Stream]:
        return streams(write(Path(self.mktemp()), frames))

    def assertSeen(self, frames: list[bytes], sent: bytes, received: bytes = b"") -> None:
        """Check that the frames are one connection with these bytes."""
        expected = Stream(Address.of(*CLIENT), Address.of(*SERVER), sent, received)
        self.assertEqual(self.read(*frames), [expected])

    def up(self, seq: int, payload: bytes) -> bytes:
        return frame(CLIENT, SERVER, seq, payload)

    def test_both_directions(self) -> None:
        frames = [*hello(), self.up(101, b"ask"), frame(SERVER, CLIENT, 901, b"answer"), self.up(104, b" more")]
        self.assertSeen(frames, b"ask more", b"answer")

    def test_frames_out_of_order(self) -> None:
        self.assertSeen([*hello(), self.up(107, b"three"), self.up(104, b"two"), self.up(101, b"one")], b"onetwothree")

    def test_what_is_sent_again_counts_once(self) -> None:
        frames = [*hello(), self.up(101, b"one"), self.up(101, b"onetwo"), self.up(104, b"two"), self.up(101, b"one")]
        self.assertSeen(frames, b"onetwo")

    def test_segments_that_overlap(self) -> None:
        self.assertSeen([*hello(), self.up(101, b"abcd"), self.up(103, b"cdef"), self.up(102, b"b")], b"abcdef")

    def test_what_follows_a_gap_was_seen_as_well(self) -> None:
        self.assertSeen([*hello(), self.up(101, b"one"), self.up(110, b"late"), self.up(112, b"ter")], b"onelater")

    def test_numbers_that_wrap(self) -> None:
        top = 2**32 - 3
        self.assertSeen([*hello(ours=top - 1), self.up(top, b"abc"), self.up(0, b"def")], b"abcdef")

    def test_padding_and_options_are_no_payload(self) -> None:
        frames = [*hello(), frame(CLIENT, SERVER, 101, b"x", options=bytes(12), padding=5)]
        self.assertSeen([*frames, frame(CLIENT, SERVER, 102, b"", padding=6, flags=FIN | ACK)], b"x")

    def test_a_handshake_that_is_repeated_is_one_connection(self) -> None:
        self.assertSeen([*hello(), *hello(), self.up(101, b"one")], b"one")

    def test_ports_that_are_used_again_are_another_connection(self) -> None:
        again = [*hello(ours=5000, theirs=7000), self.up(5001, b"second"), frame(SERVER, CLIENT, 7001, b"2")]
        seen = self.read(*hello(), self.up(101, b"first"), *again)
        self.assertEqual([(each.sent, each.received) for each in seen], [(b"first", b""), (b"second", b"2")])

    def test_ipv6(self) -> None:
        seen = self.read(*hello(CLIENT6, SERVER6), frame(CLIENT6, SERVER6, 101, b"six"))
        self.assertEqual(seen, [Stream(Address.of(*CLIENT6), Address.of(*SERVER6), b"six")])

    def test_what_began_before_the_capture_is_left_out(self) -> None:
        self.assertEqual(self.read(self.up(101, b"late"), frame(SERVER, CLIENT, 901, b"late")), [])

    def test_what_is_no_tcp_or_cut_off_is_left_out(self) -> None:
        arp = bytes(12) + b"\x08\x06" + bytes(46)
        udp = bytearray(frame(CLIENT, SERVER, 1))
        udp[23] = 17
        whole = frame(CLIENT, SERVER, 1, flags=SYN)
        self.assertEqual(self.read(arp, bytes(udp), whole[:33], whole[:50], frame(CLIENT6, SERVER6, 1)[:60]), [])

    def test_a_file_that_ends_in_mid_frame(self) -> None:
        path = write(Path(self.mktemp()), [*hello(), self.up(101, b"whole"), self.up(106, b"cut")])
        path.write_bytes(path.read_bytes()[:-2])
        self.assertEqual(streams(path)[0].sent[:5], b"whole")

    def test_another_file_is_refused(self) -> None:
        path = Path(self.mktemp())
        for content in (b"", b"\xd4\xc3\xb2\xa1", b"x" * 100):
            path.write_bytes(content)
            self.assertRaises(ValueError, streams, path)


class RecordTests(SynchronousTestCase):
    skip = why_not()

    def test_each_frame_between_two_hosts_is_written_once(self) -> None:
        town = Town([], ["client", "server"])
        self.addCleanup(town.remove)
        wire = town.capture()
        listen = (
            "import socket; s = socket.create_server(('0.0.0.0', 99)); print('on'); c, _ = s.accept(); print(c.recv(9))"
        )
        server = town.start("server", sys.executable, "-c", listen, ready="on")
        ask = f"import socket; socket.create_connection(('{town.addresses['server']}', 99)).sendall(b'a secret')"
        town.run("client", sys.executable, "-c", ask)
        server.answer()
        raw, seen = wire.end()
        self.assertEqual(
            [(str(each.server), each.sent) for each in seen], [(f"{town.addresses['server']}:99", b"a secret")]
        )
        self.assertEqual(raw.count(b"a secret"), 1)

    def test_who_may_not_capture_is_told_by_the_system(self) -> None:
        argv = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", capture.__name__, "x"]
        done = subprocess.run(argv, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
        self.assertIn("PermissionError", done.stderr)
        self.assertNotEqual(done.returncode, -signal.SIGTERM)
