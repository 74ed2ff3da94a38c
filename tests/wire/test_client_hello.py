"""What the sniffer says of first bytes: OpenSSL's own hellos, and ones made by hand."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire.client_hello import MAX, ClientHelloSniffer, Hello, NotTls
from tests.effort import examples
from tests.wire.splits import disagreeing, splits, untraced

WEB = "web.default.serviceaccount.identity.meshtx.cluster.local"


def openssl_hello(
    sni: str | None = WEB,
    alpn: Iterable[bytes] = (b"meshtx/1", b"transport.l5d.io/v1"),
    groups: bytes = b"X25519MLKEM768:X25519:P-256",
    oldest: int = SSL.TLS1_3_VERSION,
    newest: int = SSL.TLS1_3_VERSION,
) -> bytes:
    """Return the first flight of an OpenSSL client."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(oldest)
    context.set_max_proto_version(newest)
    assert lib.SSL_CTX_set1_curves_list(context._context, groups) == 1
    if protocols := list(alpn):
        context.set_alpn_protos(protocols)
    client = SSL.Connection(context)
    client.set_connect_state()
    if sni is not None:
        client.set_tlsext_host_name(sni.encode())
    with contextlib.suppress(SSL.WantReadError):
        client.do_handshake()
    return client.bio_read(1 << 16)


def vector(width: int, data: bytes) -> bytes:
    return len(data).to_bytes(width, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">H", kind) + vector(2, data)


def server_name(name: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(2, bytes([kind]) + vector(2, name)))


def protocols(*names: bytes) -> bytes:
    return extension(16, vector(2, b"".join(vector(1, name) for name in names)))


def versions(*numbers: int) -> bytes:
    return extension(43, vector(1, b"".join(struct.pack(">H", number) for number in numbers)))


GREASE = extension(0x1A1A, b"") + versions(0x3A3A, 0x0304)


def message(
    *extensions: bytes,
    version: bytes = b"\3\3",
    session: bytes = b"\0",
    suites: bytes = b"\0\2\x13\1",
    compression: bytes = b"\1\0",
    tail: bytes | None = None,
) -> bytes:
    """Return a handshake message; ``tail`` stands for the whole extensions block."""
    block = vector(2, b"".join(extensions)) if tail is None else tail
    return b"\1" + vector(3, version + bytes(32) + session + suites + compression + block)


def record(fragment: bytes, version: bytes = b"\3\1") -> bytes:
    return b"\x16" + version + vector(2, fragment)


def small_records(whole: bytes, size: int) -> bytes:
    return b"".join(record(whole[at : at + size]) for at in range(0, len(whole), size))


def filled(size: int) -> bytes:
    """Return a hello of exactly that many bytes of records, in two records."""
    whole = message(server_name(b"a"), extension(21, b""))
    padding = bytes(size - 2 * 5 - len(whole))
    whole = message(server_name(b"a"), extension(21, padding))
    return record(whole[:9000]) + record(whole[9000:])


ML_KEM = openssl_hello()
"""What OpenSSL sends by itself. A share of ML-KEM makes it so long that networks do cut it."""

SNI_ONLY = message(server_name(b"Web.Example.test"))
EXAMPLE = Hello("web.example.test", (), ())

HELLOS = {
    "by openssl, ML-KEM": (ML_KEM, Hello(WEB, ("meshtx/1", "transport.l5d.io/v1"), (0x0304,))),
    "by openssl, X25519 alone": (
        openssl_hello("web.test", (b"h2",), groups=b"X25519"),
        Hello("web.test", ("h2",), (0x0304,)),
    ),
    "by openssl, no name, no ALPN": (openssl_hello(None, (), groups=b"X25519"), Hello(None, (), (0x0304,))),
    "by openssl, TLS 1.2 allowed": (
        openssl_hello("WEB.Example", (b"h2",), groups=b"X25519", oldest=SSL.TLS1_2_VERSION),
        Hello("web.example", ("h2",), (0x0304, 0x0303)),
    ),
    "by openssl, TLS 1.2 only": (
        openssl_hello(WEB, (), oldest=SSL.TLS1_2_VERSION, newest=SSL.TLS1_2_VERSION),
        Hello(WEB, (), ()),
    ),
    "without extensions": (record(message(tail=b"")), Hello(None, (), ())),
    "a byte a record": (small_records(message(tail=b""), 1), Hello(None, (), ())),
    "with an empty block of extensions": (record(message()), Hello(None, (), ())),
    "with a session id": (record(message(server_name(b"a"), session=vector(1, bytes(32)))), Hello("a", (), ())),
    "with GREASE": (
        record(message(GREASE, server_name(b"a"), protocols(b"\x0a\xfa", b"h2"))),
        Hello("a", ("\x0a\xfa", "h2"), (0x3A3A, 0x0304)),
    ),
    "over two records": (record(SNI_ONLY[:50]) + record(SNI_ONLY[50:]), EXAMPLE),
    "over two records, cut in the message's header": (record(SNI_ONLY[:2]) + record(SNI_ONLY[2:]), EXAMPLE),
    "over many records": (small_records(message(server_name(b"a")), 7), Hello("a", (), ())),
    "in a record of SSL 3.0": (record(SNI_ONLY, b"\3\0"), EXAMPLE),
    "in a record of version 3.4": (record(SNI_ONLY, b"\3\4"), EXAMPLE),
    "followed by more": (record(SNI_ONLY) + b"\x17\3\3\0\1x", EXAMPLE),
    "followed by more in its record": (record(SNI_ONLY + b"\x14rest"), EXAMPLE),
    "of TLS 1.0": (record(message(server_name(b"a"), version=b"\3\1")), Hello("a", (), ())),
    "with a name of another kind": (record(message(server_name(b"\xff", kind=7))), Hello(None, (), ())),
}

NO_HELLOS = {
    "plain HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "an alert": b"\x15\3\3\0\2\2\x28",
    "application data": b"\x17\3\3\0\1x",
    "SSLv2": b"\x80\x2e\1\0\2\0\x15\0\0\0\x10\1\0\x80",
    "a record of another protocol": b"\x16\2\0\0\5hello",
    "an empty record": b"\x16\3\1\0\0",
    "a record that is too long": b"\x16\3\1\x40\1",
    "another message": record(b"\2\0\0\4\3\3\0\0"),
    "a message that is too long": record(b"\1\0\x40\0"),
    "a message that is too short": record(message(tail=b"")[:4].replace(b"\x29", b"\x05") + b"\3\3\0\0\0"),
    "a hello of version 2": record(message(version=b"\2\0")),
    "a session id of 33 bytes": record(message(session=vector(1, bytes(33)))),
    "no cipher suite": record(message(suites=b"\0\0")),
    "half a cipher suite": record(message(suites=b"\0\3\x13\1\x13")),
    "no compression method": record(message(compression=b"\0")),
    "suites longer than the message": record(message(suites=b"\x20\0")),
    "a block shorter than the rest": record(message(tail=b"\0\0\0")),
    "a block longer than the rest": record(message(tail=b"\0\5\0\1\0\0")),
    "an extension longer than the block": record(message(tail=b"\0\4\0\1\0\1")),
    "half an extension": record(message(tail=b"\0\3\0\1\0")),
    "an extension twice": record(message(extension(5, b""), extension(5, b""))),
    "server_name without a list": record(message(extension(0, b""))),
    "server_name with an empty list": record(message(extension(0, b"\0\0"))),
    "server_name with an empty name": record(message(server_name(b""))),
    "two host names": record(message(extension(0, vector(2, b"\0\0\1a\0\0\1b")))),
    "bytes behind the list of names": record(message(extension(0, vector(2, b"\0\0\1a") + b"x"))),
    "half a name": record(message(extension(0, vector(2, b"\0\0")))),
    "a name longer than its list": record(message(extension(0, vector(2, b"\0\0\2a")))),
    "a name of 256 bytes": record(message(server_name(b"a" * 256))),
    "a name with a NUL": record(message(server_name(b"a\0b"))),
    "a name that is not ASCII": record(message(server_name("bär".encode()))),
    "an empty protocol": record(message(protocols(b""))),
    "no protocol": record(message(protocols())),
    "half a version": record(message(extension(43, b"\1\3"))),
    "no version": record(message(versions())),
    "a broken second record": record(SNI_ONLY[:50]) + b"\x16\2\1",
    "an alert inside the hello": record(SNI_ONLY[:50]) + b"\x15\3\3\0\2\2\x28",
}

UNDECIDED = {
    "nothing": b"",
    "one byte": b"\x16",
    "a record's header": record(SNI_ONLY)[:5],
    "a hello without its last byte": record(SNI_ONLY)[:-1],
    "a first record alone": record(SNI_ONLY[:50]),
}

ALL = [data for data, _ in HELLOS.values()] + list(NO_HELLOS.values()) + list(UNDECIDED.values())


def sniff(*pieces: bytes) -> Hello | NotTls | None:
    sniffer = ClientHelloSniffer()
    verdict = None
    for piece in pieces:
        verdict = sniffer.receive_data(piece)
    return verdict


class VerdictTests(SynchronousTestCase):
    """What is said of whole inputs."""

    def test_a_hello_says_its_name_protocols_and_versions(self) -> None:
        for what, (data, hello) in HELLOS.items():
            self.assertEqual(sniff(data), hello, what)

    def test_what_no_server_would_take_is_not_tls(self) -> None:
        for what, data in NO_HELLOS.items():
            self.assertEqual(sniff(data), NotTls(), what)

    def test_an_unfinished_hello_is_undecided(self) -> None:
        for what, data in UNDECIDED.items():
            self.assertIsNone(sniff(data), what)

    def test_every_hello_is_undecided_until_its_last_byte(self) -> None:
        for what, (data, _) in HELLOS.items():
            sniffer = ClientHelloSniffer()
            verdicts = [sniffer.receive_data(data[at : at + 1]) for at in range(len(data))]
            decided = [at for at, verdict in enumerate(verdicts) if verdict is not None]
            end = len(data) - {"followed by more": 6, "followed by more in its record": 5}.get(what, 0)
            self.assertEqual(decided[0], end - 1, what)

    def test_one_wrong_byte_is_enough(self) -> None:
        self.assertEqual(sniff(b"G"), NotTls())
        self.assertEqual(sniff(b"\x16\2"), NotTls())
        self.assertEqual(sniff(b"\x16\3\1\0\0"), NotTls())
        self.assertEqual(sniff(record(SNI_ONLY)[:5] + b"\2"), NotTls())

    def test_a_hello_too_long_is_refused_by_its_length_alone(self) -> None:
        self.assertEqual(sniff(b"\x16\3\1\x40\0" + b"\1\0\x3f\xfd"), NotTls())
        self.assertIsNone(sniff(b"\x16\3\1\x40\0" + b"\1\0\x3f\xfc"))

    def test_the_headers_of_records_count_towards_the_bound(self) -> None:
        whole = message(extension(21, bytes(4000)))
        self.assertEqual(sniff(small_records(whole, 1)), NotTls())

    def test_a_verdict_stands(self) -> None:
        self.assertEqual(sniff(b"GET ", record(SNI_ONLY)), NotTls())
        self.assertEqual(sniff(record(SNI_ONLY), b"GET ", b"\0"), EXAMPLE)

    def test_begun_means_that_a_record_has_started(self) -> None:
        for data, begun in (
            (b"", False),
            (b"\x16", True),
            (b"\x16\3", True),
            (b"\x16\2", False),
            (b"\x15", False),
            (b"GET", False),
            (record(SNI_ONLY), True),
            (b"\x16\3\1\0\0", True),
            (record(SNI_ONLY[:50]) + b"\x15\3\3\0\2\2\x28", True),
        ):
            sniffer = ClientHelloSniffer()
            sniffer.receive_data(data)
            self.assertEqual(sniffer.begun, begun, data[:8])


class SplitTests(SynchronousTestCase):
    """The verdict is the same however the bytes arrive."""

    def test_one_and_two_cuts_give_the_same_verdict(self) -> None:
        for data in ALL:
            self.assertIsNone(disagreeing(sniff, data))

    @examples(500)
    @given(st.data())
    def test_every_split_gives_the_same_verdict(self, draw: st.DataObject) -> None:
        data = draw.draw(st.sampled_from(ALL))
        self.assertEqual(sniff(*draw.draw(splits(data))), sniff(data))

    @examples(500)
    @given(st.data())
    def test_a_mutilated_hello_never_raises_and_every_split_agrees(self, draw: st.DataObject) -> None:
        data = bytearray(draw.draw(st.sampled_from([data for data, _ in HELLOS.values()])))
        for at, byte in draw.draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=4)):
            data[at] = byte
        self.assertEqual(sniff(*draw.draw(splits(bytes(data)))), sniff(bytes(data)))

    @examples(500)
    @given(st.lists(st.binary(max_size=200), max_size=4), st.sampled_from([b"", b"\x16", b"\x16\3\1\x40\0\1\0\x3f\0"]))
    def test_random_bytes_never_raise_and_are_not_kept(self, pieces: list[bytes], start: bytes) -> None:
        sniffer = ClientHelloSniffer()
        for piece in [start, *pieces]:
            verdict = sniffer.receive_data(piece)
            self.assertLess(sniffer.held, MAX)
            self.assertTrue(verdict is None or not sniffer.held)


class BoundTests(SynchronousTestCase):
    """Hellos as long as allowed, and a byte longer.

    They test the bound and are no inputs of the corpus: 16 KiB have 134 million splits into three, an hour's work,
    nearly all of which differ in nothing but where they cut padding. So these are cut once anywhere, at every byte,
    and twice wherever it could matter: everywhere outside of the padding, at its edges, here and there within it.
    """

    AT_THE_BOUND = ((filled(MAX), Hello("a", (), ())), (filled(MAX + 1), NotTls()))
    PADDING = (range(80, 9000), range(9020, MAX))
    """Where `filled` has nothing but zeros."""

    def test_a_hello_ends_within_the_bound(self) -> None:
        for data, verdict in self.AT_THE_BOUND:
            self.assertEqual(sniff(data), verdict)

    def test_every_one_cut_split_gives_the_same_verdict(self) -> None:
        for data, verdict in self.AT_THE_BOUND:
            self.assertEqual({sniff(data[:at], data[at:]) for at in range(1, len(data))}, {verdict})

    def test_byte_by_byte_gives_the_same_verdict(self) -> None:
        for data, verdict in self.AT_THE_BOUND:
            self.assertEqual(sniff(*(data[at : at + 1] for at in range(len(data)))), verdict)

    def test_two_cuts_wherever_it_could_matter_give_the_same_verdict(self) -> None:
        left_out = {at for run in self.PADDING for at in run[4:-4] if at % 251}
        for data, verdict in self.AT_THE_BOUND:
            places = [at for at in range(1, len(data)) if at not in left_out]
            self.assertGreater(len(places), 150)
            ways = ((data[:a], data[a:b], data[b:]) for a, b in combinations(places, 2))
            with untraced():
                self.assertEqual({sniff(*pieces) for pieces in ways}, {verdict})

    def test_the_longest_wait_keeps_less_than_the_bound(self) -> None:
        sniffer = ClientHelloSniffer()
        whole = filled(MAX)
        for at in range(0, MAX - 1, 7):
            self.assertIsNone(sniffer.receive_data(whole[at : min(at + 7, MAX - 1)]))
            self.assertLess(sniffer.held, MAX)
