"""What ``meshtx tap``, a process of its own, prints where."""

from __future__ import annotations

from array import array
from fcntl import ioctl
from termios import FIONREAD

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import deferLater

from tests.cli.test_tap import TapCommandCase
from tests.observe.cases import WEB


def waiting_in(pipe: int) -> int:
    """Return how many bytes nobody has read yet."""
    number = array("i", [0])
    ioctl(pipe, FIONREAD, number)
    return number[0]


class TapOutputTests(TapCommandCase):
    @inlineCallbacks
    def test_wide_lines_begin_with_their_time_and_name_a_peer_of_the_own_mesh_in_short(self):
        tap = self.start(f"{WEB}@{self.address}", "--max-lines=1", "-o", "wide", *self.files())
        yield tap.until(b"the tap is open")
        self.exchange()
        self.assertEqual((yield tap.status), 0)
        time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
        self.assertRegex(tap.out.decode(), rf"^{time} req id=0:0 .* peer=web.emojivoto known=direct\n$")

    @inlineCallbacks
    def test_on_a_terminal_lines_begin_with_the_time_of_day_and_are_colored(self):
        looks = {"TERM": "xterm", "NO_COLOR": ""}
        tap = self.start(f"{WEB}@{self.address}", "--max-lines=1", *self.files(), terminal=True, **looks)
        yield tap.until(b"the tap is open")
        self.exchange()
        self.assertEqual((yield tap.status), 0)
        line = tap.out.decode().splitlines()[-1]
        time = r"\d\d:\d\d:\d\d\.\d{3}"
        self.assertRegex(line, rf"^\x1b\[2m{time}\x1b\[0m req .* \x1b\[32mtls=true\x1b\[0m :method=GET")

    @inlineCallbacks
    def test_an_interrupt_ends_it_although_nobody_reads_what_it_prints(self):
        tap = self.start(f"{WEB}@{self.address}", *self.files())
        yield tap.until(b"the tap is open")
        pipe = self.running.pipes[1]
        pipe.pauseProducing()
        before = -1
        while before != (unread := waiting_in(pipe.fileno())):  # then a write waits
            before = unread
            for _ in range(20):
                self.exchange("/" + "x" * 1000)
            yield deferLater(reactor, 0.5)
        self.running.signalProcess("INT")
        while self.running.pid is not None:
            yield deferLater(reactor, 0.01)
        pipe.resumeProducing()
        self.assertEqual((yield tap.status), 0)
