"""One kind of input at one port, watched; and the table of all."""

from __future__ import annotations

from dataclasses import dataclass

from tests.mesh.strangers.kinds import KINDS
from tests.mesh.strangers.sender import Sender
from tests.mesh.strangers.targets import Target
from tests.mesh.strangers.watching import Live, Seen

MOST_HELD = 0.020
"""Seconds of CPU time for which no input of a stranger may hold the loop."""


@dataclass(frozen=True)
class Row:
    """What came of one kind at one port.

    :param failed: why, where the program serves no more or the stranger could not do its part; else empty.
    """

    kind: str
    port: str
    seen: Seen
    failed: str = ""

    @property
    def grown(self) -> bool:
        """It grew past its bound."""
        return self.seen.growth > KINDS[self.kind].growth

    @property
    def passes(self) -> bool:
        """It keeps to all bounds."""
        return self.seen.hold <= MOST_HELD and not self.grown and not self.failed

    def __str__(self) -> str:
        seen, verdict = self.seen, "PASS" if self.passes else f"FAIL {self.failed}".rstrip()
        return (
            f"{self.kind:<38} {self.port:<10} {seen.hold * 1e3:8.1f} {seen.growth:9d} {seen.cpu * 1e3:8.0f}"
            f" {seen.answers:7d}  {verdict}"
        )


HEAD = f"{'KIND':<38} {'PORT':<10} {'HOLD ms':>8} {'GROWTH KiB':>10} {'CPU ms':>7} {'ANSWERS':>7}"


def rows_of(target: Target, kinds: list[str], ports: list[str]) -> list[tuple[str, str]]:
    """Return the kinds, each with a port of the target's that it is for; without names, all of them."""
    return [
        (name, port)
        for name, kind in KINDS.items()
        for port in kind.ports
        if port in target.ports
        and not (kind.tls and port in target.without_tls)
        and (not kinds or name in kinds)
        and (not ports or port in ports)
    ]


def run(target: Target, live: Live, sender: Sender, kind: str, port: str) -> Row:
    """Send one kind of input to one port, and watch."""
    sender.send(kind, port)
    seen = live.watch(sender.sending)
    failed = sender.outcome()
    if not failed and target.serves is not None:
        try:
            target.serves()
        except (AssertionError, OSError) as error:
            failed = str(error)
    return Row(kind, port, seen, failed)
