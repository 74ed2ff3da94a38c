from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.rpc.framing import HEADER, Broken, MessageParser, encode_message
from meshtx.rpc.status import Status
from tests.effort import examples
from tests.wire.splits import cuts, splits

LIMIT = 40

Item = bytes | tuple[Status, str]


def parse(pieces: list[bytes] | tuple[bytes, ...]) -> list[Item]:
    parser = MessageParser(LIMIT)
    found = [item for piece in pieces for item in parser.receive_data(piece)]
    return [(item.error.status, item.error.message) if isinstance(item, Broken) else item for item in found]


CORPUS: dict[bytes, list[Item]] = {
    encode_message(b"one") + encode_message(b"") + encode_message(b"three"): [b"one", b"", b"three"],
    encode_message(b"x" * LIMIT): [b"x" * LIMIT],
    encode_message(b"a") + encode_message(b"x" * (LIMIT + 1)) + encode_message(b"b"): [
        b"a",
        (Status.RESOURCE_EXHAUSTED, "message of 41 bytes, at most 40"),
    ],
    b"\1\0\0\0\1z" + encode_message(b"b"): [(Status.UNIMPLEMENTED, "message with flag 1")],
    encode_message(b"a") + b"\7\0\0\0\1z": [b"a", (Status.INTERNAL, "message with flag 7")],
    encode_message(b"abc")[:-1]: [],
}


class ParserTests(SynchronousTestCase):
    def test_messages_in_order_until_something_is_broken(self) -> None:
        for data, expected in CORPUS.items():
            self.assertEqual(parse([data]), expected)

    def test_one_and_two_cuts_change_nothing(self) -> None:
        for data, expected in CORPUS.items():
            for pieces in cuts(data):
                self.assertEqual(parse(pieces), expected)

    @examples(250)
    @given(st.data())
    def test_every_split_gives_the_same_and_holds_little(self, draw: st.DataObject) -> None:
        data = draw.draw(st.binary(max_size=120) | st.lists(st.sampled_from(list(CORPUS)), max_size=3).map(b"".join))
        pieces = draw.draw(splits(data))
        self.assertEqual(parse(pieces), parse([data]))
        parser = MessageParser(LIMIT)
        for piece in pieces:
            parser.receive_data(piece)
            self.assertLessEqual(len(parser._held), HEADER + LIMIT)

    def test_it_knows_whether_a_message_is_unfinished(self) -> None:
        parser = MessageParser(LIMIT)
        states = []
        for piece in (b"", b"\0", b"\0\0\0\1", b"z"):
            parser.receive_data(piece)
            states.append(parser.unfinished)
        self.assertEqual(states, [False, True, True, False])
