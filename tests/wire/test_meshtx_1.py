"""What ``meshtx/1`` means, as ``meshtx-1.txt`` records it: its frames' bytes, its bounds, its order.

Proxies of two releases speak it with each other, so none of it changes: what is to be otherwise is ``meshtx/2``.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire import leg_frames
from meshtx.wire.leg_frames import FrameParser, FrameType, encode
from meshtx.wire.leg_state import TABLE
from meshtx.wire.malformed import Malformed

RECORD = Path(__file__).with_name("meshtx-1.txt")
WHAT_TO_DO = (
    "proxies of the last release would break connections with those of this one. Leave meshtx/1 as meshtx-1.txt has it,"
    " and make the change under an ALPN of its own, as docs/upgrades.md says"
)


def recorded(word: str) -> list[str]:
    """Return the record's lines of one kind, without that word."""
    lines = RECORD.read_text().splitlines()
    return [line.removeprefix(f"{word} ") for line in lines if line.startswith(f"{word} ")]


class Meshtx1Tests(SynchronousTestCase):
    maxDiff = None

    def test_its_name(self) -> None:
        self.assertEqual(recorded("alpn"), [leg_frames.ALPN], WHAT_TO_DO)

    def test_its_frames_are_read_and_written_as_recorded(self) -> None:
        for line in recorded("frame"):
            wire, _, meaning = line.partition(" ")
            (event,) = FrameParser().receive_data(bytes.fromhex(wire))
            assert not isinstance(event, Malformed), f"{line}: {WHAT_TO_DO}"
            self.assertEqual((repr(event), encode(event).hex()), (meaning, wire), WHAT_TO_DO)

    def test_what_is_none_of_its_frames_is_refused(self) -> None:
        """Whoever began to send such a thing would send it to proxies that refuse it."""
        for line in recorded("none"):
            wire, _, reason = line.partition(" ")
            self.assertEqual(FrameParser().receive_data(bytes.fromhex(wire)), [Malformed(reason)], WHAT_TO_DO)

    def test_its_bounds(self) -> None:
        bounds = [line.split(" ") for line in recorded("bound")]
        self.assertEqual(bounds, [[name, str(getattr(leg_frames, name))] for name, _ in bounds], WHAT_TO_DO)

    def test_its_order(self) -> None:
        rows = {
            f"{role.name} {state.name} {what.name} {after.name}"
            for role, table in TABLE.items()
            for (state, what), after in table.items()
        }
        self.assertEqual(set(recorded("order")) ^ rows, set(), WHAT_TO_DO)

    def test_each_type_of_frame_is_recorded(self) -> None:
        self.assertEqual({int(line[:2], 16) for line in recorded("frame")}, set(FrameType), WHAT_TO_DO)
