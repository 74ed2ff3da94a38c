"""The floor: a pair that does nothing but carry, yet has to carry whatever comes."""

import select
import socket
from collections.abc import Callable
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.bars import BARS, Ratio
from benchmarks.peers.bare import ACCEPT, DATA, FIN, HEAD, OPEN, App, Half, Leg
from benchmarks.peers.roster import ALL, FLOOR

HERE = ("127.0.0.1", 0)
LONG = 10.0
"""Seconds after which a test has failed."""


def frame(kind: int, payload: bytes = b"") -> bytes:
    return HEAD.pack(kind | len(payload)) + payload


class Case(SynchronousTestCase):
    """Has a server and an inbound half in front of it."""

    def setUp(self) -> None:
        self.server = socket.create_server(HERE)
        self.server.settimeout(LONG)
        self.addCleanup(self.server.close)
        self.inbound = self.half(Leg, self.server.getsockname())
        self.halves = [self.inbound]

    def half(self, kind: type[App | Leg], to: tuple[str, int]) -> Half:
        made = Half(kind, HERE, to)
        self.addCleanup(self.end, made)
        return made

    def end(self, half: Half) -> None:
        half.listener.close()
        half.poll.close()
        for each in half.ends.values():
            each.socket.close()

    def connect(self, to: socket.socket) -> socket.socket:
        made = socket.create_connection(to.getsockname(), LONG)
        self.addCleanup(made.close)
        return made

    def accept(self) -> socket.socket:
        self.until(lambda: bool(select.select([self.server], [], [], 0)[0]))
        made, _ = self.server.accept()
        made.settimeout(LONG)
        self.addCleanup(made.close)
        return made

    def until(self, fact: Callable[[], bool]) -> None:
        """Let the halves do what there is to do until it is so."""
        polls = {half.poll.fileno(): half for half in self.halves}
        while not fact():
            ready, _, _ = select.select(polls, [], [], LONG)
            self.assertTrue(ready, "nothing happens any more")
            for number in ready:
                polls[number].turn()

    def read(self, source: socket.socket, size: int = 65536) -> bytes:
        self.until(lambda: bool(select.select([source], [], [], 0)[0]))
        return source.recv(size)


class TestPair(Case):
    def setUp(self) -> None:
        super().setUp()
        self.outbound = self.half(App, self.inbound.listener.getsockname())
        self.halves.append(self.outbound)

    def idle(self) -> bool:
        """Tell whether nothing is left but legs, and these carry nothing."""
        return all(len(half.ends) == len(half.idle) for half in self.halves) and bool(self.inbound.idle)

    def test_connections_follow_one_another_on_a_leg(self) -> None:
        for number in (b"1", b"2", b"3"):
            client = self.connect(self.outbound.listener)
            client.sendall(b"ask " + number)
            served = self.accept()
            self.assertEqual(self.read(served), b"ask " + number)
            served.sendall(b"answer " + number)
            self.assertEqual(self.read(client), b"answer " + number)
            client.close()
            self.assertEqual(self.read(served), b"")
            served.close()
            self.until(self.idle)
        self.assertEqual(len(self.outbound.idle), 1)

    def test_as_many_legs_as_there_are_connections_at_once(self) -> None:
        clients = [self.connect(self.outbound.listener) for _ in range(3)]
        for client in clients:
            client.sendall(b"x")
        for served in [self.accept() for _ in clients]:
            self.assertEqual(self.read(served), b"x")
            served.close()
        for client in clients:
            self.assertEqual(self.read(client), b"")
            client.close()
        self.until(lambda: self.idle() and len(self.inbound.idle) == 3)

    def test_one_direction_can_end_before_the_other(self) -> None:
        client = self.connect(self.outbound.listener)
        client.sendall(b"all of it")
        client.shutdown(socket.SHUT_WR)
        served = self.accept()
        self.assertEqual([self.read(served), self.read(served)], [b"all of it", b""])
        served.sendall(b"answer")
        served.close()
        self.assertEqual([self.read(client), self.read(client)], [b"answer", b""])
        self.until(self.idle)

    def test_who_says_nothing_needs_no_leg(self) -> None:
        self.connect(self.outbound.listener).close()
        self.halves[-1].turn()
        self.until(lambda: not self.outbound.ends)
        self.assertEqual(self.inbound.ends, {})

    def test_a_reset_frees_the_leg(self) -> None:
        client = self.connect(self.outbound.listener)
        client.sendall(b"x")
        served = self.accept()
        self.assertEqual(self.read(served), b"x")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        self.assertEqual(self.read(served), b"")
        served.sendall(b"too late")
        served.close()
        self.until(self.idle)

    def test_whom_nobody_takes_is_closed(self) -> None:
        self.server.close()
        client = self.connect(self.outbound.listener)
        client.sendall(b"x")
        self.assertEqual(self.read(client), b"")
        self.assertEqual((self.outbound.ends, self.inbound.ends), ({}, {}))

    def test_without_the_other_half_clients_are_closed_and_it_goes_on(self) -> None:
        self.inbound.listener.close()
        self.halves = [self.outbound]
        for _ in range(2):
            client = self.connect(self.outbound.listener)
            client.sendall(b"x")
            self.assertEqual(self.read(client), b"")


class TestFrames(Case):
    def test_bytes_are_carried_however_frames_are_split(self) -> None:
        leg = self.connect(self.inbound.listener)
        leg.sendall(frame(OPEN, b"one two")[:9])
        served = self.accept()
        self.assertEqual(self.read(served), b"one t")
        leg.sendall(b"wo" + frame(DATA, b"three") + frame(DATA, b"four")[:2])
        worker = Thread(target=self.inbound.turn, daemon=True)
        worker.start()
        self.assertEqual([served.recv(2), served.recv(5)], [b"wo", b"three"])  # so it has the half of a head
        leg.sendall(frame(DATA, b"four")[2:] + frame(FIN))
        worker.join(LONG)
        self.assertEqual([self.read(served), self.read(served)], [b"four", b""])
        served.close()
        self.assertEqual(self.read(leg), frame(ACCEPT))
        self.assertEqual(self.read(leg), frame(FIN))

    def test_a_leg_that_is_gone_takes_its_connection_along(self) -> None:
        leg = self.connect(self.inbound.listener)
        leg.sendall(frame(OPEN, b"x"))
        served = self.accept()
        self.assertEqual(self.read(served), b"x")
        leg.close()
        self.assertEqual(self.read(served), b"")
        self.assertEqual(self.inbound.ends, {})


class TestFloor(SynchronousTestCase):
    def test_nobody_else_may_do_without_tls(self) -> None:
        self.assertEqual([peer for peer in ALL if not peer.tls], [FLOOR])

    def test_no_bar_is_set_by_it_or_for_it(self) -> None:
        judged = [bar for bar in BARS if isinstance(bar, Ratio) and bar.most is not None]
        self.assertEqual([bar for bar in judged if FLOOR.name in (bar.pair, *bar.than)], [])
