"""When lines are written, and how printing ends."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.cli import tap_printer
from meshtx.cli.standard_output import Interrupted
from meshtx.cli.tap_format import json_format
from meshtx.cli.tap_printer import FULL, GATHER, Printer
from meshtx.errors import OutputError
from meshtx.observe.tap import Lost
from meshtx.observe.tap import TapEvent as ProxyEvent
from meshtx.observe.tap_lines import text_line
from meshtx.pki.name import MeshScope
from meshtx.rpc.messages.tap_pb2 import TapEvent
from tests.observe.cases import a_flow, a_request, event_message

PROXY = "10.1.0.2:4190"


def lost(count: int) -> TapEvent:
    return event_message(Lost(count), headers=False)


def a_form(event: TapEvent, target: str, _own_mesh: MeshScope | None) -> str:
    return text_line(event, target=target)


class Output:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.ready: list[str] = []
        self.error: Exception | None = None

    def write(self, text: str) -> None:
        if self.error is not None:
            raise self.error
        self.written.append(text)

    def write_ready(self, text: str) -> None:
        self.ready.append(text)


class PrinterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.output = Output()
        self.said: list[str] = []

        def echo(text: str, *, err: bool) -> None:
            self.assertTrue(err)
            self.said.append(text)

        self.patch(tap_printer.click, "echo", echo)
        self.printer = self.make()

    def make(self, form: Callable[..., str] = a_form, *, most: int | None = None, several: bool = False) -> Printer:
        return Printer(form, self.output, self.clock, most=most, several=several)

    def show(self, *counts: int) -> None:
        for count in counts:
            self.printer.show(PROXY, lost(count), None)

    def stopped(self) -> bool:
        self.clock.advance(0)
        return self.printer.over.called

    def test_after_a_pause_a_line_is_written_in_this_iteration(self) -> None:
        self.show(1)
        self.clock.advance(0)
        self.assertEqual(self.output.written, ["lost count=1\n"])

    def test_lines_that_follow_are_gathered(self) -> None:
        self.show(1, 2)
        self.clock.advance(0)
        self.show(3)
        self.clock.advance(GATHER / 2)
        self.show(4)
        self.assertEqual(self.output.written, ["lost count=1\nlost count=2\n"])
        self.clock.advance(GATHER / 2)
        self.assertEqual(self.output.written[1:], ["lost count=3\nlost count=4\n"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_clock_that_is_set_back_delays_nothing(self) -> None:
        self.show(1)
        self.clock.advance(0)
        self.clock.rightNow = 0.0
        self.show(2)
        self.clock.advance(0)
        self.assertEqual(self.output.written[1:], ["lost count=2\n"])

    def test_few_bytes_wait(self) -> None:
        event = event_message(ProxyEvent(0.0, a_flow(), a_request(path="/" + "x" * (FULL // 2))), headers=False)
        self.printer.show(PROXY, event, None)
        self.assertEqual(self.output.written, [])
        self.printer.show(PROXY, event, None)
        self.assertEqual(len(self.output.written), 1)

    def test_the_proxy_is_named_where_there_are_several(self) -> None:
        for several, line in ((False, "lost count=1\n"), (True, f"lost count=1 target={PROXY}\n")):
            self.printer = self.make(several=several)
            self.show(1)
            self.printer.flush()
            self.assertEqual(self.output.written.pop(), line)
        self.printer = self.make(json_format, several=True)
        self.show(1)
        self.printer.flush()
        self.assertEqual(self.output.written.pop(), f'{{"event":"lost","count":1,"target":"{PROXY}"}}\n')

    def test_what_is_said_stands_behind_the_lines_before_it(self) -> None:
        self.show(1)
        self.printer.say("the proxy has ended the tap")
        self.assertEqual(
            (self.output.written, self.said), (["lost count=1\n"], ["meshtx: the proxy has ended the tap"])
        )

    def test_it_ends_with_the_last_line_wanted(self) -> None:
        self.printer = self.make(most=2)
        self.show(1)
        self.assertFalse(self.stopped())
        self.show(2, 3)
        self.assertEqual("".join(self.output.written), "lost count=1\nlost count=2\n")
        self.assertTrue(self.stopped())

    def test_it_ends_when_nobody_reads_any_more_and_when_the_user_interrupts_a_write(self) -> None:
        for error in (BrokenPipeError(), Interrupted()):
            self.printer = self.make()
            self.output.error = error
            self.show(1)
            self.assertTrue(self.stopped())
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.output.error = AssertionError("written again")
            self.show(2)
            self.printer.finish(interrupted=False)

    def test_lines_that_cannot_be_written_are_a_failure(self) -> None:
        self.output.error = OSError(28, "No space left on device")
        self.show(1)
        self.assertTrue(self.stopped())
        error = self.assertRaises(OutputError, self.printer.finish, interrupted=False)
        self.assertIn("no space left on device", str(error))

    def test_at_the_end_what_waits_is_written(self) -> None:
        self.show(1)
        self.printer.finish(interrupted=False)
        self.assertEqual((self.output.written, self.output.ready), (["lost count=1\n"], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_after_an_interrupt_nothing_is_waited_for(self) -> None:
        self.show(1)
        self.printer.finish(interrupted=True)
        self.assertEqual((self.output.written, self.output.ready), ([], ["lost count=1\n"]))

    def test_how_much_was_lost_stands_at_the_end(self) -> None:
        self.show(1, 7)
        self.printer.finish(interrupted=True)
        self.assertEqual(
            self.said,
            ["meshtx: 8 events were lost on the way; filters such as --path have the proxies send fewer"],
        )
