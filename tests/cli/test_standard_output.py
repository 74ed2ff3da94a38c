"""Writing to real descriptors: pipes that nobody reads, and terminals."""

from __future__ import annotations

import os
import pty
import re
import signal
import termios
import threading
import tty
from collections.abc import Callable
from fcntl import F_SETPIPE_SZ, fcntl, ioctl
from struct import pack
from types import FrameType
from typing import TextIO

import click
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.cli import standard_output
from meshtx.cli.standard_output import Interrupted, StandardOutput, wants_color
from meshtx.cli.tap_format import choose
from meshtx.cli.tap_printer import GATHER, Printer
from meshtx.observe.tap import TapEvent
from meshtx.pki.name import MeshScope
from tests.observe.cases import a_flow, a_request, event_message

PIPE = 4096
"""Bytes that the test's pipes hold."""


class DescriptorCase(SynchronousTestCase):
    def opened(self, descriptor: int, encoding: str = "utf-8") -> TextIO:
        file = os.fdopen(descriptor, "w", encoding=encoding)
        self.addCleanup(file.close)
        return file

    def pipe(self, encoding: str = "utf-8") -> tuple[int, StandardOutput]:
        """Return the end that is read, and what writes to the other one."""
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        fcntl(write, F_SETPIPE_SZ, PIPE)
        return read, StandardOutput(self.opened(write, encoding))


class PipeTests(DescriptorCase):
    def test_what_the_encoding_lacks_is_escaped(self) -> None:
        read, output = self.pipe("ascii")
        output.write("duration=7µs\n")
        self.assertEqual(os.read(read, 100), b"duration=7\\xb5s\n")

    def test_a_pipe_is_no_terminal(self) -> None:
        self.assertFalse(self.pipe()[1].is_terminal)

    def test_an_interrupt_ends_a_write_that_waits_for_its_reader(self) -> None:
        def handler(_number: int, _frame: FrameType | None) -> None:
            """Note it, as Twisted's does."""

        for number in standard_output.SIGNALS:
            before = signal.signal(number, handler)
            self.addCleanup(signal.signal, number, before)
            _, output = self.pipe()
            done = threading.Event()
            sender = threading.Thread(target=self.send, args=(number, done))
            sender.start()
            self.assertRaises(Interrupted, output.write, "x" * 10 * PIPE)
            done.set()
            sender.join()
            self.assertIs(signal.getsignal(number), handler)

    def send(self, number: signal.Signals, done: threading.Event) -> None:
        """Send a signal until it has had its effect."""
        main = threading.main_thread().ident
        assert main is not None
        while not done.wait(0.02):
            signal.pthread_kill(main, number)

    def test_a_signal_that_is_ignored_stays_so(self) -> None:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        read, output = self.pipe()
        self.patch(standard_output.os, "write", _interrupting(os.write))
        output.write("x")
        self.assertEqual(os.read(read, 10), b"x")

    def test_what_is_ready_is_written_without_waiting(self) -> None:
        read, output = self.pipe()
        output.write_ready("x" * 10 * PIPE)
        self.assertEqual(len(os.read(read, 10 * PIPE)), PIPE)

    def test_a_pipe_without_a_reader_is_broken(self) -> None:
        read, write = os.pipe()
        os.close(read)
        self.assertRaises(BrokenPipeError, StandardOutput(self.opened(write)).write, "x")


def _interrupting(write: Callable[[int, bytes], int]) -> Callable[[int, bytes], int]:
    def interrupted(descriptor: int, data: bytes) -> int:
        signal.raise_signal(signal.SIGINT)
        return write(descriptor, data)

    return interrupted


class TerminalCase(DescriptorCase):
    def terminal(self, columns: int) -> tuple[int, StandardOutput]:
        """Return the side of the person, and the program's output."""
        person, program = pty.openpty()
        self.addCleanup(os.close, person)
        tty.setraw(program)
        ioctl(program, termios.TIOCSWINSZ, pack("HHHH", 24, columns, 0, 0))
        return person, StandardOutput(self.opened(program))


class TerminalTests(TerminalCase):
    def test_a_terminal_says_how_wide_it_is(self) -> None:
        _, output = self.terminal(132)
        self.assertTrue(output.is_terminal)
        self.assertEqual(output.columns(), 132)
        self.assertEqual(self.terminal(0)[1].columns(), 80)

    def test_color_is_for_terminals_that_show_it_and_for_whom_asks_for_it(self) -> None:
        _, terminal = self.terminal(80)
        _, pipe = self.pipe()
        xterm = {"TERM": "xterm"}
        for choice, output, environ, wanted in (
            ("auto", terminal, xterm, True),
            ("auto", terminal, {**xterm, "NO_COLOR": ""}, True),
            ("auto", terminal, {**xterm, "NO_COLOR": "1"}, False),
            ("auto", terminal, {"TERM": "dumb"}, False),
            ("auto", terminal, {}, False),
            ("auto", pipe, xterm, False),
            ("always", pipe, {"NO_COLOR": "1"}, True),
            ("never", terminal, xterm, False),
        ):
            self.assertIs(wants_color(choice, output, environ), wanted, (choice, environ))


class BusyTapTests(TerminalCase):
    """Two seconds of 500 events each, on a terminal."""

    EVENTS, RATE, TOGETHER = 1000, 500, 10

    def test_every_line_of_a_busy_tap_comes_whole_and_in_order_by_few_writes(self) -> None:
        person, output = self.terminal(120)
        clock, counted = Clock(), Counted(output)
        printer = Printer(choose("text", color=True, timestamps=None, columns=output.columns), counted, clock)
        lines: list[str] = []
        reading = threading.Thread(target=self.read, args=(person, lines), daemon=True)
        reading.start()
        for number in range(self.EVENTS):
            event = TapEvent(number, a_flow(number=number), a_request(path="/" + "y" * (number % 200)))
            printer.show("web-1", event_message(event, headers=False), MeshScope())
            if number % self.TOGETHER == 0:
                clock.advance(self.TOGETHER / self.RATE)
        printer.finish(interrupted=False)
        reading.join(30.0)
        self.assertEqual(
            [re.findall(r" req id=(\d+):0 .* :path=/y*…?$", line) for line in lines],
            [[str(n)] for n in range(self.EVENTS)],
        )
        self.assertLessEqual(counted.writes, self.EVENTS / self.RATE / GATHER + 1)

    def read(self, person: int, lines: list[str]) -> None:
        """Read all lines, without their colors."""
        text = b""
        while text.count(b"\n") < self.EVENTS:
            text += os.read(person, 65536)
        lines += click.unstyle(text.decode()).splitlines()


class Counted:
    """Counts the writes to an output."""

    def __init__(self, output: StandardOutput) -> None:
        self._output = output
        self.writes = 0

    def write(self, text: str) -> None:
        self.writes += 1
        self._output.write(text)

    def write_ready(self, text: str) -> None:
        raise AssertionError("the user has interrupted nothing")
