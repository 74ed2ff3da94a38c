"""What clients cost that are silent, slow, talk garbage or never finish, and that others do not wait for them."""

from __future__ import annotations

import socket
from contextlib import suppress as suppressed
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.proxy.crowd import Bound
from meshtx.proxy.limits import HANDSHAKES, UNDECIDED, Room, descriptors_for
from meshtx.proxy.mesh_tls import Carrier
from meshtx.proxy.turns import Turns
from meshtx.wire.address import Address
from meshtx.wire.client_hello import ClientHelloSniffer
from tests.proxy.mesh import SERVER, VOTING_LEAF, Host, MeshCase, reactor
from tests.proxy.peers import hello
from tests.proxy.talkers import Talker
from tests.proxy.turning import Turning

REQUEST = b"GET / HTTP/1.1\r\n\r\n"
MANY = 300


class RoomTests(SynchronousTestCase):
    def test_with_enough_descriptors_nothing_is_less(self) -> None:
        enough = descriptors_for(UNDECIDED)
        self.assertEqual((Room.within(enough), enough), (Room(), 26215))
        self.assertEqual(descriptors_for(1), HANDSHAKES * 8 + 1)

    def test_with_fewer_each_has_its_part_and_something_is_left(self) -> None:
        for descriptors, room in ((20_000, Room(12_500)), (1024, Room(640, 128, 128)), (8, Room(5, 1, 1))):
            self.assertEqual(Room.within(descriptors), room)
            self.assertLess(room.undecided + room.handshakes + room.early, descriptors)

    def test_fewer_may_be_wanted(self) -> None:
        self.assertEqual(Room.within(20_000, 100), Room(100))


class LimitsCase(MeshCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.server = Host(self, SERVER, VOTING_LEAF, clock=self.clock)
        self.limits = self.server.parts.limits

    def reached(self, limit: str, of: str) -> float:
        return self.server.count("meshtx_limit_reached_total", limit=limit, of=of)

    async def until(self, wanted: float, limit: str, of: str) -> None:
        while self.reached(limit, of) < wanted:
            await self.turn()

    def strangers(self, address: Address, number: int, said: bytes = b"", ip: str = "127.41.0.1") -> list[Any]:
        """Connect from one address, as often as that, and say the same each time."""

        def one() -> socket.socket:
            sock = socket.create_connection((address.host, address.port), source_address=(ip, 0))
            self.addCleanup(sock.close)
            sock.setblocking(False)
            sock.sendall(said)
            return sock

        return [one() for _ in range(number)]

    async def served(self, address: Address) -> None:
        """Somebody else comes and does not wait."""
        talker = await self.connect(address, Talker(REQUEST))
        self.assertEqual(await talker.has(len(REQUEST)), REQUEST)
        talker.transport.loseConnection()
        await talker.lost


class ManyTests(LimitsCase):
    """By the hundreds, from one address, far past its bounds."""

    async def check(self, said: bytes, limit: str, kept: int) -> None:
        address = self.server.inbound(self.application().address.port)
        strangers = []
        for _ in range(MANY // 50):
            strangers += self.strangers(address, 50, said)
            await self.served(address)
        await self.until(MANY - kept, limit, "source")
        await self.served(address)
        gone = sum(map(_is_gone, strangers))
        self.assertEqual((gone, self.reached(limit, "source"), self.reached(limit, "proxy")), (MANY - kept, gone, 0))
        self.assertEqual(self.server.refused(), {("inbound", "limit"): gone})
        self.assertLess(len(self.lines), 50)
        for sock in strangers:
            sock.close()
        while self.server.live:
            await self.turn()
        for crowd in (self.limits.undecided, self.limits.held_bytes, self.limits.handshakes):
            self.assertEqual((crowd.taken, crowd._groups), (0, {}))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_silent_ones(self) -> None:
        self.limits.undecided.bound = Bound(100, 75)
        await self.check(b"", "undecided", 75)

    async def test_slow_ones_by_their_number(self) -> None:
        self.limits.undecided.bound = Bound(100, 75)
        await self.check(hello()[:7], "undecided", 75)

    async def test_slow_ones_by_their_bytes(self) -> None:
        said, sniffer = hello()[:-1], ClientHelloSniffer()
        sniffer.receive_data(said)
        weight = len(said) + sniffer.held
        self.limits.held_bytes.bound = Bound(100 * weight, 75 * weight)
        await self.check(said, "held_bytes", 75)

    async def test_ones_that_never_finish_their_handshake(self) -> None:
        self.limits.handshakes.bound = Bound(100, 75)
        await self.check(hello(), "handshakes", 75)

    async def test_garbage_is_the_workloads(self) -> None:
        """It is decided with its first byte: it costs what any client costs."""
        address = self.server.inbound(self.application().address.port)
        self.limits.undecided.bound = Bound(100, 75)
        strangers = []
        while len(strangers) < MANY:
            strangers += self.strangers(address, 50, b"\xff" * 100)
            while self.server.count("tcp_open_connections") < len(strangers):
                await self.turn()
        await self.served(address)
        self.assertEqual((self.limits.undecided.taken, self.limits.held_bytes.taken), (0, 0))
        self.assertEqual((self.server.refused(), any(map(_is_gone, strangers))), ({}, False))
        for sock in strangers:
            sock.close()


class HandshakeTests(LimitsCase):
    def setUp(self) -> None:
        super().setUp()
        self.turns = Turning()
        self.limits.turns = Turns(self.turns)

    async def hellos(self, number: int) -> list[Talker]:
        address = self.server.inbound()
        talkers = [await self.connect(address, Talker(hello())) for _ in range(number)]
        while self.limits.handshakes.taken < number:
            await self.turn()
        return talkers

    def waiting(self) -> int:
        return sum(map(len, self.limits.turns._waiting.values()))

    async def test_they_begin_one_a_turn(self) -> None:
        talkers = await self.hellos(3)
        for begun, talker in enumerate(talkers, 1):
            await talker.has(1000)
            self.assertEqual(self.waiting(), 3 - begun)
            self.turns.turn()

    async def test_one_that_waits_for_its_turn_is_read_no_further(self) -> None:
        def read() -> int:
            return sum(isinstance(getattr(each, "protocol", None), Carrier) for each in reactor.getReaders())

        first, second = await self.hellos(2)
        await first.has(1000)
        self.assertEqual(read(), 1)
        self.turns.turn()
        await second.has(1000)
        self.assertEqual(read(), 2)

    async def test_waiting_counts_as_time_of_the_handshake(self) -> None:
        first, second = await self.hellos(2)
        self.clock.advance(10)
        self.assertEqual((await first.lost, await second.lost), ("reset", "reset"))
        await self.server.live.empty()
        self.assertEqual(self.server.refused(), {("inbound", "handshake_timeout"): 2})
        self.assertEqual((self.limits.handshakes.taken, self.limits.turns._waiting), (0, {}))

    async def test_one_that_has_to_go_gives_up_its_turn(self) -> None:
        await self.hellos(2)
        self.limits.handshakes.bound = Bound(1, 1)
        third = await self.connect(self.server.inbound(), Talker(hello()))
        while self.reached("handshakes", "source") < 2:
            await self.turn()
        self.turns.turn()
        await third.has(1000)


def _is_gone(sock: socket.socket) -> bool:
    with suppressed(BlockingIOError):
        try:
            while sock.recv(65536):
                pass
        except ConnectionResetError:
            return True
    return False
