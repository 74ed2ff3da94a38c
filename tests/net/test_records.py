"""Every record layer gives the same outcome: over memory BIOs and on a socket, by public calls and by fast ones."""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from meshtx.net import openssl
from meshtx.net import records as module
from meshtx.net.contexts import Contexts
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.records import RECORD, Close, FastRecords, PublicRecords
from meshtx.net.socket_records import SocketRecords
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf
from tests.net.record_ends import End, MemoryEnd, SocketEnd

CA = make_ca()
CLIENT = Contexts(make_leaf(CA, WEB), CA.trust)
SERVER = Contexts(make_leaf(CA, VOTING), CA.trust)
ANONYMOUS = Contexts(None, CA.trust)

BAD_RECORD = b"\x17\x03\x03\x00\x20" + bytes(32)
"""Application data that nobody sealed."""


class Outcomes(SynchronousTestCase):
    """The cases; a subclass names the implementation."""

    end: Any  # the class of an end
    kind: Any  # and of its record layer

    def ends(self, client: Contexts = CLIENT, server: Contexts = SERVER) -> tuple[Any, Any]:
        """Return both ends, before anything happened."""
        a, b = self.end(self, self.kind, client.client(VOTING)), self.end(self, self.kind, server.server())
        a.begin()
        return a, b

    def shaken(self, client: Contexts = CLIENT) -> tuple[Any, Any]:
        """Return both ends when the client is done, and the server not yet."""
        a, b = self.ends(client)
        b.give(a.take())
        a.give(b.take())
        self.assertEqual((a.shaken, b.shaken), (True, False))
        return a, b

    def pair(self) -> tuple[Any, Any]:
        """Return both ends after the handshake, everything delivered."""
        a, b = self.shaken()
        b.give(a.take())
        a.give(b.take())
        self.assertEqual((a.shaken, b.shaken, a.got, b.got), (True, True, b"", b""))
        return a, b

    def says(self, a: End, b: End, data: bytes) -> None:
        """Send plain bytes and check that they arrive."""
        b.got = b""
        a.send(data)
        b.give(a.take())
        self.assertEqual(b.got, data)

    def assert_error(self, error: object, reason: TlsFailure, detail: str) -> None:
        assert isinstance(error, TlsError), error
        self.assertEqual((error.reason, error.detail), (reason, detail))


class CommonOutcomes(Outcomes):
    def test_plain_bytes_come_out_as_they_went_in(self) -> None:
        a, b = self.pair()
        for data in (b"x", b"y" * RECORD, b"z" * (RECORD + 1), bytes(range(256)) * 4096):
            self.says(a, b, data)
            self.says(b, a, data)
        self.assertEqual((a.ended, b.ended), (None, None))

    def test_records_cut_anywhere_come_out_whole(self) -> None:
        a, b = self.pair()

        @settings(max_examples=100, deadline=None)
        @given(st.binary(max_size=50_000), st.lists(st.integers(0, 60_000), max_size=6))
        def check(data: bytes, cuts: list[int]) -> None:
            b.got = b""
            a.send(data)
            cipher = a.take()
            edges = [0, *sorted(min(cut, len(cipher)) for cut in cuts), len(cipher)]
            for start, end in pairwise(edges):
                b.give(cipher[start:end])
            self.assertEqual(b.got, data)

        check()

    def test_a_handshake_cut_anywhere_is_one(self) -> None:
        for size in (1, 7, 1000):
            a, b = self.ends()
            while not (a.shaken and b.shaken):
                for one, other in ((a, b), (b, a)):
                    flight = one.take()
                    for start in range(0, len(flight), size):
                        other.give(flight[start : start + size])
            self.says(a, b, b"x")

    def test_nothing_sealed_is_nothing_sent(self) -> None:
        a, b = self.pair()
        a.send(b"")
        self.assertEqual(a.take(), b"")
        b.give(b"")
        self.assertEqual((b.got, b.ended), (b"", None))

    def test_records_behind_the_handshake_come_with_it(self) -> None:
        a, b = self.shaken()
        a.send(b"early")
        b.give(a.take())
        self.assertEqual((b.shaken, b.got), (True, b"early"))

    def test_each_direction_ends_by_itself(self) -> None:
        a, b = self.pair()
        a.send(b"last")
        a.close_notify()
        b.give(a.take())
        self.assertEqual((b.got, b.ended), (b"last", Close.NOTIFIED))
        self.says(b, a, b"answer")
        self.assertIsNone(a.ended)
        b.close_notify()
        a.give(b.take())
        self.assertIs(a.ended, Close.NOTIFIED)

    def test_an_end_behind_many_records_comes_behind_them(self) -> None:
        a, b = self.pair()
        data = bytes(range(256)) * 1024
        a.send(data)
        a.close_notify()
        b.give(a.take())
        self.assertEqual((b.got, b.ended), (data, Close.NOTIFIED))

    def test_what_comes_behind_the_end_is_ignored(self) -> None:
        a, b = self.pair()
        a.close_notify()
        b.give(a.take())
        for _ in range(3):
            b.give(BAD_RECORD * 3000)
        self.assertEqual((b.got, b.ended), (b"", Close.NOTIFIED))

    def test_a_forged_record_ends_it_behind_what_was_good_and_the_peer_is_told(self) -> None:
        """Also if a whole record is before it, which lets a reader try for more, and nothing comes any more."""
        for good in (b"good", b"g" * RECORD, b"g" * (3 * RECORD)):
            a, b = self.pair()
            a.send(good)
            b.give(a.take() + BAD_RECORD)
            self.assertEqual(b.got, good)
            self.assert_error(b.ended, TlsFailure.OTHER, "decryption failed or bad record mac; record layer failure")
            a.give(b.take())
            self.assert_error(a.ended, TlsFailure.REJECTED, "tls alert bad record mac")

    def test_a_client_that_the_server_refuses(self) -> None:
        """In TLS 1.3 the client is done before the server has judged it."""
        a, b = self.shaken(ANONYMOUS)
        a.send(b"early")
        b.give(a.take())
        self.assert_error(b.failed, TlsFailure.NO_CERTIFICATE, "peer did not return a certificate")
        a.give(b.take())
        self.assertEqual((a.got, b.got), (b"", b""))
        self.assert_error(a.ended, TlsFailure.REJECTED, "tlsv13 alert certificate required")

    def test_a_server_that_the_client_refuses(self) -> None:
        a, b = self.ends(server=Contexts(make_leaf(CA, WEB), CA.trust))
        b.give(a.take())
        a.give(b.take())
        self.assert_error(a.failed, TlsFailure.WRONG_NAME, f"expected {VOTING}, the certificate names {WEB}")
        b.give(a.take())
        self.assert_error(b.failed, TlsFailure.REJECTED, "tlsv1 alert internal error")

    def test_a_peer_that_speaks_something_else_is_refused(self) -> None:
        _, b = self.ends()
        b.give(b"GET / HTTP/1.1\r\n\r\n")
        self.assert_error(b.failed, TlsFailure.OTHER, "http request")

    def test_one_connection_s_error_does_not_disturb_another(self) -> None:
        _, b = self.pair()
        c, d = self.pair()
        b.give(BAD_RECORD)
        self.assertIsInstance(b.ended, TlsError)
        self.says(c, d, b"x")
        self.says(d, c, b"y")
        self.assertEqual((c.ended, d.ended), (None, None))


class MemoryOutcomes(CommonOutcomes):
    """What is so over memory BIOs alone."""

    end = MemoryEnd

    def test_a_record_shorter_than_asked_for_loses_nothing(self) -> None:
        """A peer may ask for shorter records, then OpenSSL seals only a part at a time."""
        self.patch(module, "RECORD", 2**16)
        a, b = self.pair()
        self.says(a, b, bytes(range(256)) * 512)

    def test_nothing_is_kept_of_what_comes_behind_the_end(self) -> None:
        a, b = self.pair()
        a.close_notify()
        b.give(a.take())
        before = resident()
        for _ in range(100):
            b.give(BAD_RECORD * 3000)
        self.assertLess(resident() - before, 2**20, "kept")

    def test_nothing_can_be_sealed_behind_the_end(self) -> None:
        a, _ = self.pair()
        a.close_notify()
        self.assert_error(self.assertRaises(TlsError, a.send, b"x"), TlsFailure.OTHER, "protocol is shutdown")

    def test_a_broken_connection_cannot_be_closed_in_order(self) -> None:
        _, b = self.pair()
        b.give(BAD_RECORD)
        self.assertRaises(TlsError, b.close_notify)

    def test_closing_before_the_handshake_is_an_error(self) -> None:
        a = self.end(self, self.kind, CLIENT.client(VOTING))
        self.assert_error(self.assertRaises(TlsError, a.close_notify), TlsFailure.OTHER, "shutdown while in init")

    def test_a_second_error_without_a_text_is_an_error_all_the_same(self) -> None:
        b = self.kind(SERVER.server())
        for detail in ("http request", "OpenSSL gives no reason"):
            error = self.assertRaises(TlsError, b.handshake, b"GET / HTTP/1.1\r\n\r\n")
            self.assert_error(error, TlsFailure.OTHER, detail)

    def test_bulk_leaves_no_buffer_behind(self) -> None:
        """A memory BIO keeps what it once grew to: so no more than about a record goes in at a time."""
        before = resident()
        kept = [self.pair() for _ in range(20)]
        for client, server in kept:
            server.records.open(client.records.seal(bytes(2**20)))
        self.assertLess(resident() - before, 20 * 2 * 150_000)


class SocketOutcomes(CommonOutcomes):
    """What is so on a socket alone: TCP's own ends, and a socket that takes no more."""

    end = SocketEnd

    def full(self) -> tuple[Any, Any, bytes]:
        """Return a pair whose client has more to send than the kernel takes, and that."""
        a, b = self.pair()
        data = bytes(range(256)) * 2**15
        a.send(data)
        self.assertFalse(a.tcp.all_sent)
        return a, b, data

    def test_what_the_socket_does_not_take_comes_later_and_whole(self) -> None:
        a, b, data = self.full()
        b.give(a.take())
        self.assertEqual((b.got, a.tcp.all_sent), (data, True))

    def test_an_end_comes_behind_what_waits(self) -> None:
        a, b, data = self.full()
        a.close_notify()
        b.give(a.take())
        self.assertEqual((b.got, b.ended), (data, Close.NOTIFIED))

    def test_an_end_in_order_of_tcp_comes_behind_that_of_tls(self) -> None:
        for end in ("loseConnection", "loseWriteConnection"):
            a, b, data = self.full()
            a.close_notify()
            getattr(a.tcp, end)()
            b.give(a.take())
            self.assertEqual((b.got, b.ended, a.wire.recv(1)), (data, Close.NOTIFIED, b""))

    def test_an_end_of_tcp_alone_is_told_behind_the_data(self) -> None:
        for data in (b"", b"half an answer", bytes(RECORD)):
            a, b = self.pair()
            a.send(data)
            cipher = a.take()
            b.give(cipher)
            b.end()
            self.assertEqual((b.got, b.reader.log, b.ended), (data, ["eof"], None))

    def test_an_end_of_tcp_behind_that_of_tls_is_told(self) -> None:
        a, b = self.pair()
        a.close_notify()
        b.give(a.take())
        b.end()
        self.assertEqual((b.ended, b.reader.log), (Close.NOTIFIED, ["eof"]))

    def test_an_end_of_tcp_in_the_middle_of_a_record(self) -> None:
        a, b = self.pair()
        a.send(b"x" * 100)
        b.give(a.take()[:50])
        b.end()
        self.assertEqual((b.got, b.reader.log), (b"", ["eof"]))

    def test_an_end_of_tcp_in_the_handshake(self) -> None:
        for cut in (0, 100):
            a, b = self.ends()
            b.give(a.take()[:cut])
            b.end()
            self.assert_ended_in_the_handshake(b)

    def assert_ended_in_the_handshake(self, end: SocketEnd) -> None:
        self.assert_error(end.failed, TlsFailure.TRUNCATED, "the peer closed in the handshake")

    def test_a_reset_is_a_loss(self) -> None:
        for data in (b"", b"half an answer", bytes(RECORD)):
            a, b = self.pair()
            a.send(data)
            b.give(a.take())
            b.reset()
            self.assertEqual((b.got, b.reader.log), (data, ["lost"]))

    def test_a_cut_that_is_read_with_data_leaves_no_cycle(self) -> None:
        """For OpenSSL's memory is to go with the connection."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for cut in ("end", "reset"):
            a, b = self.pair()
            a.send(bytes(RECORD))
            b.wire.send(a.take())
            getattr(b, cut)()
            self.assertEqual(b.got, bytes(RECORD))
            b.close()
            seen = weakref.ref(b.records)
            del b.records
            self.assertIsNone(seen())

    def test_a_reset_in_the_handshake(self) -> None:
        _, b = self.ends()
        b.reset()
        self.assert_error(b.failed, TlsFailure.OTHER, f"in the handshake: {ConnectionLost()}")

    def test_a_defect_in_the_handshake_leaves_nothing_unread(self) -> None:
        def broken(_layer: SocketRecords) -> bool:
            raise ZeroDivisionError

        self.patch(self.kind, "_step", broken)
        end = self.end(self, self.kind, SERVER.server())
        end.give(bytes(1000))  # it would be served again and again
        self.assertIsInstance(end.failed, TlsError)

    def test_a_reset_while_much_waits_to_be_sent(self) -> None:
        a, _, _ = self.full()
        a.tcp.pauseProducing()
        a.reset()
        self.assertEqual(a.reader.log, ["lost"])

    def test_a_forged_record_while_much_waits_to_be_sent(self) -> None:
        """The alert would stand in the middle of a record: the peer is told by the reset alone."""
        a, _, _ = self.full()
        a.give(BAD_RECORD)
        self.assert_error(a.ended, TlsFailure.OTHER, "decryption failed or bad record mac; record layer failure")
        with self.assertRaises(ConnectionResetError):
            a.take()
        self.assertEqual(a.reader.log, ["lost"])


class PublicRecordsTests(MemoryOutcomes):
    kind = PublicRecords


class FastRecordsTests(MemoryOutcomes):
    kind = FastRecords

    def test_what_waits_to_be_sent_may_exceed_the_buffer(self) -> None:
        self.patch(openssl, "SIZE", 100)
        a, b = self.pair()
        self.says(a, b, b"x" * 1000)


class SocketRecordsTests(SocketOutcomes):
    kind = SocketRecords


del Outcomes, CommonOutcomes, MemoryOutcomes, SocketOutcomes  # trial would run them by themselves


def resident() -> int:
    """Bytes of memory that this process has in use."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096
