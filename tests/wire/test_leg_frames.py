"""Leg frames on the wire."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire.address import Address
from meshtx.wire.leg_frames import (
    MAX_DATA,
    MAX_FRAME,
    MAX_PAYLOAD,
    Accept,
    Data,
    Event,
    Fin,
    Frame,
    FrameParser,
    Open,
    Refuse,
    Reset,
    Retire,
    data_pieces,
    encode,
    encode_data,
)
from meshtx.wire.malformed import Malformed
from tests.effort import examples
from tests.wire.splits import disagreeing, splits

OPEN = Open(5432, "db.shop:5432", Address.parse("10.1.0.4:48210"), "direct", "opaque")

WIRE: dict[Frame, bytes] = {
    Open(80): b"\1\0\0\2\x08\x50",
    Open(80, source=Address.parse("[fd00::1]:9")): b"\1\0\0\x16\x08\x50\x1a\x10\xfd" + bytes(14) + b"\1\x20\x09",
    OPEN: b"\1\0\0\x2b\x08\xb8\x2a\x12\x0cdb.shop:5432\x1a\4\x0a\1\0\4\x20\xd2\xf8\2\x2a\6direct\x32\6opaque",
    Accept(): b"\2\0\0\0",
    Refuse("no_rule"): b"\3\0\0\7no_rule",
    Data(b"hi"): b"\4\0\0\2hi",
    Fin(): b"\5\0\0\0",
    Reset(): b"\6\0\0\0",
    Retire(): b"\7\0\0\0",
}

BROKEN = {
    b"\4\0\0\0": "frame of type 4 and 0 bytes",
    b"\0\0\0\0": "frame of type 0 and 0 bytes",
    b"\x08\0\0\1x": "frame of type 8 and 1 bytes",
    b"\2\0\0\1x": "frame of type 2 and 1 bytes",
    b"\5\0\0\1x": "frame of type 5 and 1 bytes",
    b"\3\0\0\0": "frame of type 3 and 0 bytes",
    b"\3\0\0\2a\n": "frame of type 3 and 2 bytes",
    b"\3\0\1\1" + b"a" * 257: "frame of type 3 and 257 bytes",
    b"\1\0\x3f\xfd": "frame of 16381 bytes, at most 16380",
    b"\3\xff\xff\xff": "frame of 16777215 bytes, at most 16380",
    b"\5\xff\xff\xff": "frame of 16777215 bytes, at most 16380",
    b"GET / HTTP/1.1\r\n\r\n": "frame of 4543520 bytes, at most 16380",
    b"\1\0\0\0": "OPEN with port 0",
    b"\1\0\0\4\x08\x80\x80\4": "OPEN with port 65536",
    b"\1\0\0\1\x08": "OPEN that is no protobuf message",
    b"\1\0\0\5\x08\1\x12\1\xff": "OPEN that is no protobuf message",
    b"\1\0\0\5\x08\1\x12\1 ": "OPEN with a bad authority",
    b"\1\0\0\5\x08\1\x2a\1\n": "OPEN with a bad source_known",
    b"\1\0\0\x45\x08\1\x32\x41" + b"a" * 65: "OPEN with a bad protocol",
    b"\1\0\0\5\x08\1\x1a\1\x0a": "OPEN with a source that is no address",
    b"\1\0\0\x0c\x08\1\x1a\4\x0a\1\0\4\x20\x80\x80\4": "OPEN with a source that is no address",
}

A_LEG = b"".join(WIRE[frame] for frame in (OPEN, Data(b"hi"), Fin(), Accept(), Data(b"hi"), Retire(), Reset()))

CORPUS = [A_LEG, *WIRE.values(), *BROKEN, WIRE[Data(b"hi")] * 3 + b"\4\0\0\0" + WIRE[Data(b"hi")]]


def joined(events: Iterable[Event]) -> list[Event]:
    """Return the events with neighbouring Data as one."""
    found: list[Event] = []
    for event in events:
        last = found[-1] if found else None
        if isinstance(event, Data) and isinstance(last, Data):
            found[-1] = Data(last.data + event.data)
        else:
            found.append(event)
    return found


def parse(*pieces: bytes) -> list[Event]:
    parser = FrameParser()
    return joined(event for piece in pieces for event in parser.receive_data(piece))


class FrameTests(SynchronousTestCase):
    """What goes on the wire and what is read from it."""

    def test_frames_go_both_ways(self) -> None:
        for frame, wire in WIRE.items():
            self.assertEqual(encode(frame), wire)
            self.assertEqual(parse(wire), [frame])

    def test_what_breaks_the_format_is_malformed(self) -> None:
        for wire, reason in BROKEN.items():
            self.assertEqual(parse(wire), [Malformed(reason)])

    def test_nothing_follows_a_malformed_frame_and_nothing_before_it_is_lost(self) -> None:
        self.assertEqual(
            parse(b"\4\0\0\2hi\5\0\0\0\x08\0\0\0", b"\5\0\0\0"),
            [Data(b"hi"), Fin(), Malformed("frame of type 8 and 0 bytes")],
        )

    def test_neighbouring_data_frames_come_as_one(self) -> None:
        self.assertEqual(
            FrameParser().receive_data(b"\4\0\0\2hi\4\0\0\1!\5\0\0\0\4\0\0\1?\4\0\0\1"),
            [Data(b"hi!"), Fin(), Data(b"?")],
        )

    def test_long_data_takes_as_few_frames_as_its_length_can_say(self) -> None:
        for size, frames in ((0, 0), (1, 1), (MAX_PAYLOAD + 1, 1), (MAX_DATA, 1), (MAX_DATA + 1, 2)):
            data = bytes(size)
            wire = encode_data(data)
            self.assertEqual(len(wire), size + 4 * frames)
            self.assertEqual(parse(wire), [Data(data)] if size else [])
        self.assertEqual(encode_data(bytes(20_000))[:4], b"\4\0\x4e\x20")
        self.assertEqual(encode(Data(b"x" * 20_000)), encode_data(b"x" * 20_000))

    def test_the_head_goes_with_what_fills_a_record_and_the_rest_is_not_copied(self) -> None:
        data = bytes(range(256)) * 100
        first, rest = data_pieces(data)
        self.assertEqual(len(first), MAX_FRAME)
        assert isinstance(rest, memoryview)
        self.assertIs(rest.obj, data)
        self.assertEqual(first + rest, encode_data(data))
        self.assertEqual([len(piece) for piece in data_pieces(data[:MAX_PAYLOAD])], [MAX_FRAME])

    def test_an_open_that_nobody_would_take_is_not_sent(self) -> None:
        for opened in (
            Open(0),
            Open(65536),
            Open(80, authority="a b"),
            Open(80, authority="a" * 321),
            Open(80, source_known="a" * 65),
            Open(80, protocol="\x7f"),
        ):
            self.assertRaises(ValueError, encode, opened)

    def test_any_reason_can_be_sent(self) -> None:
        self.assertEqual(parse(encode(Refuse("nö\nrule"))), [Refuse("n??rule")])
        self.assertEqual(parse(encode(Refuse(""))), [Refuse("refused")])
        self.assertEqual(parse(encode(Refuse("a" * 300))), [Refuse("a" * 256)])

    def test_a_mapped_source_is_the_ipv4_one(self) -> None:
        wire = b"\1\0\0\x16\x08\x50\x1a\x10" + bytes(10) + b"\xff\xff\x0a\1\0\4\x20\x09"
        self.assertEqual(parse(wire), [Open(80, source=Address.parse("10.1.0.4:9"))])

    def test_unknown_fields_of_open_are_passed_over(self) -> None:
        self.assertEqual(parse(b"\1\0\0\7\x08\x50\x7a\3new"), [Open(80)])


STARTS = [b"", b"\1\0\0\x08", b"\1\0\1\0", b"\4\0\x3f\xfc"]


class PlainTests(SynchronousTestCase):
    """The short way for bytes of one DATA frame alone gives what the long one does, or leaves them to it."""

    def setUp(self) -> None:
        self.parser = FrameParser()

    def check(self, data: bytes, *, taken: bool) -> None:
        plain = FrameParser().plain(data)
        self.assertEqual(plain is not None, taken)
        if plain is not None:
            self.assertEqual([Data(plain)], FrameParser().receive_data(data))

    def test_one_frame(self) -> None:
        for size in (1, 2, 1000, MAX_PAYLOAD, MAX_PAYLOAD + 1, 100_000):
            self.check(encode_data(b"x" * size), taken=True)

    def test_a_part_of_one(self) -> None:
        wire = encode_data(bytes(range(250)) * 100)
        self.assertEqual(self.parser.plain(wire[:9]), wire[4:9])
        self.assertEqual(self.parser.plain(wire[9:9000]), wire[9:9000])
        self.assertEqual(self.parser.receive_data(wire[9000:9002]), [Data(wire[9000:9002])])
        self.assertEqual(self.parser.plain(wire[9002:]), wire[9002:])
        self.assertEqual(self.parser.held, 0)
        self.assertEqual(self.parser.plain(b"\4\0\0\2hi"), b"hi")

    def test_what_is_something_else(self) -> None:
        for data in (
            b"",
            b"\4",
            b"\4\0\0\0",
            b"\4\0\0\0x",
            b"\4\0\0\1xy",
            b"\5\0\0\0",
            b"\3\0\0\2no",
            b"\5\0\0\1x",
            encode_data(b"x") + encode_data(b"y"),
        ):
            self.check(data, taken=False)

    def test_what_reaches_past_its_end_is_for_the_long_way(self) -> None:
        self.assertEqual(self.parser.plain(b"\4\0\0\5he"), b"he")
        self.assertIsNone(self.parser.plain(b"llo\5\0\0\0"))
        self.assertEqual(self.parser.receive_data(b"llo\5\0\0\0"), [Data(b"llo"), Fin()])

    def test_what_comes_behind_a_part_belongs_to_it(self) -> None:
        self.parser.receive_data(b"\4\0\0\x06x")
        self.assertEqual(self.parser.plain(encode_data(b"y")), encode_data(b"y"))
        self.assertIsNone(self.parser.plain(b"\5"))

    def test_nothing_comes_behind_what_is_malformed(self) -> None:
        self.parser.receive_data(b"\x63\0\0\0")
        self.assertIsNone(self.parser.plain(encode_data(b"y")))


class TakeHeadTests(SynchronousTestCase):
    """A head that is taken where the bytes have been read, so that they are copied without it."""

    def setUp(self) -> None:
        self.parser = FrameParser()

    def take(self, data: bytes) -> int:
        return self.parser.take_head(memoryview(data + b"left over"), len(data))

    def test_of_a_frame_or_its_beginning(self) -> None:
        wire = encode_data(b"x" * 20_000)
        for size in (5, 10_000, len(wire)):
            for behind in (self.parser.plain, lambda data: joined(self.parser.receive_data(data))[0].data):
                self.assertEqual(self.take(wire[:size]), 4)
                self.assertEqual(behind(wire[4:size]), wire[4:size])
                self.parser = FrameParser()

    def test_what_comes_behind_such_a_beginning_is_the_rest(self) -> None:
        self.assertEqual(self.take(b"\4\0\0\5he"), 4)
        self.assertEqual(self.parser.plain(b"he"), b"he")
        self.assertEqual(self.take(b"\4\0\0\1!"), 0)
        self.assertEqual(self.parser.receive_data(b"llo\5\0\0\0"), [Data(b"llo"), Fin()])

    def test_of_nothing_else(self) -> None:
        for data in (b"", b"\4\0\0\1", b"\4\0\0\0x", b"\4\0\0\1xy", b"\5\0\0\1x", b"\3\0\0\1x"):
            self.assertEqual(self.take(data), 0)
            self.assertEqual(self.parser.plain(b"\4\0\0\1x"), b"x")

    def test_not_behind_a_part_of_a_head_or_what_is_malformed(self) -> None:
        self.parser.receive_data(b"\4\0")
        self.assertEqual(self.take(b"\4\0\0\1x"), 0)
        self.parser.receive_data(b"\0\0" + b"\x63\0\0\0")
        self.assertEqual(self.take(b"\4\0\0\1x"), 0)


def read(parser: FrameParser, data: bytes, *, behind_its_head: bool, short: bool) -> list[Event]:
    """Return the events of bytes that are read as a leg's end reads them.

    :param behind_its_head: whoever read them asks first whether there is a head to take.
    :param short: the short way is tried, as for a connection that takes data.
    """
    taken = parser.take_head(memoryview(data + A_LEG), len(data)) if behind_its_head else 0
    plain = parser.plain(data[taken:]) if short else None
    return parser.receive_data(data[taken:]) if plain is None else [Data(plain)]


class FrameSplitTests(SynchronousTestCase):
    """The events are the same however the bytes arrive."""

    @examples(500)
    @given(st.data())
    def test_every_way_of_reading_gives_the_same_events(self, draw: st.DataObject) -> None:
        """In every order, what looks like a head in a payload included."""
        pieces = st.one_of(st.sampled_from(CORPUS), st.sampled_from([encode_data(wire * 2) for wire in CORPUS]))
        wire = b"".join(draw.draw(st.lists(pieces, max_size=6)))
        parser, events, so_far = FrameParser(), [], b""
        for data in filter(None, draw.draw(splits(wire))):
            events += read(parser, data, behind_its_head=draw.draw(st.booleans()), short=draw.draw(st.booleans()))
            so_far += data
            self.assertEqual(joined(events), parse(so_far))

    def test_one_and_two_cuts_give_the_same_events(self) -> None:
        for data in CORPUS:
            self.assertIsNone(disagreeing(parse, data))

    @examples(500)
    @given(st.data())
    def test_every_split_gives_the_same_events(self, draw: st.DataObject) -> None:
        frames = draw.draw(st.lists(st.sampled_from(CORPUS), max_size=6))
        size = draw.draw(st.sampled_from([0, 1, MAX_PAYLOAD, MAX_PAYLOAD + 1, 50_000]))
        data = encode_data(bytes(size)) + b"".join(frames)
        self.assertEqual(parse(*draw.draw(splits(data))), parse(data))

    @examples(500)
    @given(st.lists(st.binary(max_size=200), max_size=4), st.sampled_from(STARTS))
    def test_random_bytes_never_raise_and_one_frame_at_most_is_kept(self, pieces: list[bytes], start: bytes) -> None:
        parser = FrameParser()
        for piece in [start, *pieces]:
            parser.receive_data(piece)
            self.assertLess(parser.held, MAX_FRAME)

    def test_a_frame_is_kept_until_it_is_whole_and_then_no_more(self) -> None:
        parser = FrameParser()
        wire = encode(Refuse("x" * 256))
        for at in range(0, 256, 4):
            self.assertEqual(parser.receive_data(wire[at : at + 4]), [])
        self.assertEqual(parser.held, 256)
        self.assertEqual(parser.receive_data(wire[-4:]), [Refuse("x" * 256)])
        self.assertEqual(parser.held, 0)

    def test_of_data_nothing_is_kept(self) -> None:
        parser = FrameParser()
        wire = encode_data(b"x" * MAX_FRAME)
        self.assertEqual(parser.receive_data(wire[:3]), [])
        self.assertEqual(parser.receive_data(wire[3:5]), [Data(b"x")])
        for at in range(5, len(wire)):
            self.assertEqual(parser.receive_data(wire[at : at + 1]), [Data(b"x")])
            self.assertEqual(parser.held, 0)
