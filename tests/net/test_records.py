"""Both record layers give the same outcome in every case."""

from __future__ import annotations

from itertools import pairwise
from runpy import run_path

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL, _util
from twisted.trial.unittest import SynchronousTestCase

from meshtx.net import openssl
from meshtx.net import records as module
from meshtx.net.contexts import Contexts
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.records import Close, FastRecords, PublicRecords, RecordLayer, records
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf

CA = make_ca()
CLIENT = Contexts(make_leaf(CA, WEB), CA.trust)
SERVER = Contexts(make_leaf(CA, VOTING), CA.trust)
ANONYMOUS = Contexts(None, CA.trust)

BAD_RECORD = b"\x17\x03\x03\x00\x20" + bytes(32)
"""Application data that nobody sealed."""


class Outcomes:
    """The cases; a subclass names the implementation."""

    kind: type[PublicRecords]

    def shaken(self, client: Contexts = CLIENT) -> tuple[RecordLayer, RecordLayer]:
        """Return both ends after a handshake, everything delivered."""
        a, b = self.kind(client.client(VOTING)), self.kind(SERVER.server())
        self.assertFalse(a.handshake(b""))
        self.assertFalse(b.handshake(a.drain()))
        self.assertTrue(a.handshake(b.drain()))
        return a, b

    def pair(self) -> tuple[RecordLayer, RecordLayer]:
        a, b = self.shaken()
        self.assertTrue(b.handshake(a.drain()))
        self.assertEqual(a.open(b.drain()), b"")
        return a, b

    def test_plain_bytes_come_out_as_they_went_in(self) -> None:
        a, b = self.pair()
        for data in (b"x", b"y" * 16384, b"z" * 16385, bytes(range(256)) * 4096):
            self.assertEqual(b.open(a.seal(data)), data)
            self.assertEqual(a.open(b.seal(data)), data)
        self.assertEqual((a.ended, b.ended), (None, None))

    def test_records_cut_anywhere_come_out_whole(self) -> None:
        a, b = self.pair()

        @settings(max_examples=100)
        @given(st.binary(max_size=50_000), st.lists(st.integers(0, 60_000), max_size=6))
        def check(data: bytes, cuts: list[int]) -> None:
            cipher = a.seal(data)
            edges = [0, *sorted(min(cut, len(cipher)) for cut in cuts), len(cipher)]
            plain = [b.open(cipher[start:end]) for start, end in pairwise(edges)]
            self.assertEqual(b"".join(plain), data)

        check()

    def test_nothing_sealed_is_nothing_sent(self) -> None:
        a, b = self.pair()
        self.assertEqual((a.seal(b""), b.open(b"")), (b"", b""))
        self.assertIsNone(b.ended)

    def test_records_behind_the_handshake_wait_for_open(self) -> None:
        a, b = self.shaken()
        flight = a.drain() + a.seal(b"early")
        self.assertTrue(b.handshake(flight))
        self.assertEqual(b.open(b""), b"early")

    def test_a_record_shorter_than_asked_for_loses_nothing(self) -> None:
        """A peer may ask for shorter records, then OpenSSL seals only a part at a time."""
        self.patch(module, "RECORD", 2**16)
        a, b = self.pair()
        data = bytes(range(256)) * 512
        self.assertEqual(b.open(a.seal(data)), data)

    def test_each_direction_ends_by_itself(self) -> None:
        a, b = self.pair()
        self.assertEqual(b.open(a.seal(b"last") + a.close_notify()), b"last")
        self.assertIs(b.ended, Close.NOTIFIED)
        self.assertEqual(a.open(b.seal(b"answer")), b"answer")
        self.assertIsNone(a.ended)
        a.open(b.close_notify())
        self.assertIs(a.ended, Close.NOTIFIED)

    def test_what_comes_behind_the_end_is_ignored(self) -> None:
        a, b = self.pair()
        b.open(a.close_notify())
        before = resident()
        for _ in range(100):
            self.assertEqual(b.open(BAD_RECORD * 3000), b"")
        self.assertIs(b.ended, Close.NOTIFIED)
        self.assertLess(resident() - before, 2**20, "kept")

    def test_a_forged_record_ends_it_behind_what_was_good_and_the_peer_is_told(self) -> None:
        a, b = self.pair()
        self.assertEqual(b.open(a.seal(b"good") + BAD_RECORD), b"good")
        self.assert_error(b.ended, TlsFailure.OTHER, "decryption failed or bad record mac; record layer failure")
        a.open(b.drain())
        self.assert_error(a.ended, TlsFailure.REJECTED, "tls alert bad record mac")

    def test_a_rejected_certificate_is_told_by_the_next_open(self) -> None:
        """In TLS 1.3 the client is done before the server has judged it."""
        a, b = self.shaken(ANONYMOUS)
        flight = a.drain() + a.seal(b"early")
        error = self.assertRaises(TlsError, b.handshake, flight)
        self.assert_error(error, TlsFailure.NO_CERTIFICATE, "peer did not return a certificate")
        self.assertEqual(a.open(b.drain()), b"")
        self.assert_error(a.ended, TlsFailure.REJECTED, "tlsv13 alert certificate required")

    def test_nothing_can_be_sealed_behind_the_end(self) -> None:
        a, _ = self.pair()
        a.close_notify()
        self.assert_error(self.assertRaises(TlsError, a.seal, b"x"), TlsFailure.OTHER, "protocol is shutdown")

    def test_closing_before_the_handshake_is_an_error(self) -> None:
        a = self.kind(CLIENT.client(VOTING))
        self.assert_error(self.assertRaises(TlsError, a.close_notify), TlsFailure.OTHER, "shutdown while in init")

    def test_a_second_error_without_a_text_is_an_error_all_the_same(self) -> None:
        b = self.kind(SERVER.server())
        for detail in ("http request", "OpenSSL gives no reason"):
            error = self.assertRaises(TlsError, b.handshake, b"GET / HTTP/1.1\r\n\r\n")
            self.assert_error(error, TlsFailure.OTHER, detail)

    def test_one_connection_s_error_does_not_disturb_another(self) -> None:
        _, b = self.pair()
        c, d = self.pair()
        b.open(BAD_RECORD)
        self.assertIsInstance(b.ended, TlsError)
        self.assertEqual(d.open(c.seal(b"x")), b"x")
        self.assertRaises(TlsError, b.close_notify)
        self.assertEqual(c.open(d.seal(b"y")), b"y")
        self.assertEqual((c.ended, d.ended), (None, None))

    def test_bulk_leaves_no_buffer_behind(self) -> None:
        """A memory BIO keeps what it once grew to: so no more than about a record goes in at a time."""
        before = resident()
        kept = [self.pair() for _ in range(20)]
        for client, server in kept:
            server.open(client.seal(bytes(2**20)))
        self.assertLess(resident() - before, 20 * 2 * 150_000)

    def assert_error(self, error: object, reason: TlsFailure, detail: str) -> None:
        assert isinstance(error, TlsError), error
        self.assertEqual((error.reason, error.detail), (reason, detail))


class PublicRecordsTests(Outcomes, SynchronousTestCase):
    kind = PublicRecords


class FastRecordsTests(Outcomes, SynchronousTestCase):
    kind = FastRecords

    def test_what_waits_to_be_sent_may_exceed_the_buffer(self) -> None:
        self.patch(openssl, "SIZE", 100)
        a, b = self.pair()
        self.assertEqual(b.open(a.seal(b"x" * 1000)), b"x" * 1000)


class ChoiceTests(SynchronousTestCase):
    def test_the_fast_one_is_taken(self) -> None:
        self.assertIs(type(records(CLIENT.client(VOTING))), FastRecords)

    def test_without_the_handles_it_is_the_public_one(self) -> None:
        def without(self: FastRecords, connection: SSL.Connection) -> None:
            raise AttributeError("_into_ssl")

        self.patch(FastRecords, "__init__", without)
        self.assertIs(type(records(CLIENT.client(VOTING))), PublicRecords)

    def test_without_the_functions_it_is_the_public_one(self) -> None:
        self.patch(openssl, "AVAILABLE", False)
        self.assertIs(type(records(CLIENT.client(VOTING))), PublicRecords)

    def test_a_pyopenssl_without_the_functions_can_be_imported(self) -> None:
        self.patch(_util, "lib", object())
        self.assertFalse(run_path(openssl.__file__)["AVAILABLE"])


def resident() -> int:
    """Bytes of memory that this process has in use."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096
