"""An accepted connection whose first bytes are awaited: in memory with a clock that stands still, and on a socket."""

from __future__ import annotations

import contextlib
import socket

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from meshtx.proxy.arrival import Arrival
from meshtx.wire.client_hello import Hello, NotTls
from tests.net.transport_case import Accepted, End, TransportCase, turns
from tests.pki.made import VOTING
from tests.proxy.peers import hello


class Heir(Protocol):
    """Takes a transport over."""

    given: object = None

    def connectionMade(self) -> None:
        self.given = self.transport


class ArrivalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.seen: list[object] = []
        self.transport = StringTransport()
        self.arrival = Arrival(lambda arrival: arrival.sniff(self.seen.append), self.clock, 10.0)
        self.arrival.gone = lambda: self.seen.append("gone")
        self.arrival.makeConnection(self.transport)

    def test_a_hello_is_seen_with_its_last_byte(self) -> None:
        for byte in hello()[:-1]:
            self.arrival.dataReceived(bytes([byte]))
        self.assertEqual((self.seen, self.arrival.begun), ([], True))
        self.arrival.dataReceived(hello()[-1:])
        [seen] = self.seen
        assert isinstance(seen, Hello)
        self.assertEqual((seen.sni, self.arrival.held), (str(VOTING), hello()))

    def test_what_is_no_tls_is_seen_with_its_first_byte(self) -> None:
        self.arrival.dataReceived(b"G")
        self.assertEqual((self.seen, self.arrival.held, self.arrival.begun), ([NotTls()], b"G", False))

    def test_nothing_in_time(self) -> None:
        self.clock.advance(9.9)
        self.assertEqual(self.seen, [])
        self.clock.advance(0.1)
        self.assertEqual((self.seen, self.arrival.begun), ([None], False))

    def test_what_is_seen_is_told_once(self) -> None:
        self.arrival.dataReceived(b"G")
        self.arrival.dataReceived(b"ET")
        self.clock.advance(20)
        self.assertEqual((self.seen, self.arrival.held), ([NotTls()], b"GET"))

    def test_an_heir_gets_the_transport_and_the_deadline_is_gone(self) -> None:
        self.arrival.dataReceived(b"G")
        heir = Heir()
        self.arrival.become(heir)
        self.assertIs(heir.given, self.transport)
        self.assertIs(self.transport.protocol, heir)  # type: ignore[attr-defined]
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_loss_is_told_and_nothing_is_left(self) -> None:
        self.arrival.connectionLost()
        self.assertEqual((self.seen, self.clock.getDelayedCalls()), (["gone"], []))

    def test_a_loss_after_it_was_released_is_not_told(self) -> None:
        self.arrival.release()
        self.arrival.connectionLost()
        self.assertEqual((self.seen, self.clock.getDelayedCalls()), ([], []))


class LeavingTests(Accepted, TransportCase):
    """On a quick transport, where bytes can be looked at before they are read."""

    async def arrive(self, *parts: bytes) -> tuple[Arrival, list[object], bytes]:
        """Let bytes arrive; return what became of them: kept, told, and left in the kernel."""
        seen: list[object] = []
        kernel = [b""]

        def see(what: object) -> None:
            seen.append(what)
            arrival.transport.pauseProducing()
            with contextlib.suppress(BlockingIOError):
                kernel[0] = arrival.transport.getHandle().recv(10_000, socket.MSG_PEEK)  # type: ignore[attr-defined]
            told.callback(None)

        told: Deferred[None] = Deferred()
        end = End()
        peer = await self.connect(end)
        end.transport.pauseProducing()
        arrival = Arrival(lambda arrival: arrival.sniff(see), Clock(), 10.0)
        arrival.leaves = lambda hello: hello.sni == str(VOTING)
        end.transport.protocol = arrival
        arrival.makeConnection(end.transport)
        for part in parts:
            peer.sock.sendall(part)
            end.transport.resumeProducing()
            for _ in range(3):
                await turns()
        await told
        end.transport.protocol = end
        return arrival, seen, kernel[0]

    async def test_a_hello_for_us_that_came_whole_is_left_for_tls(self) -> None:
        arrival, [seen], kernel = await self.arrive(hello())
        assert isinstance(seen, Hello)
        self.assertEqual((seen.sni, arrival.held, kernel), (str(VOTING), b"", hello()))

    async def test_a_hello_for_another_is_read(self) -> None:
        arrival, [seen], kernel = await self.arrive(hello("web.example"))
        assert isinstance(seen, Hello)
        self.assertEqual((seen.sni, arrival.held, kernel), ("web.example", hello("web.example"), b""))

    async def test_a_hello_in_parts_is_read(self) -> None:
        arrival, [seen], kernel = await self.arrive(hello()[:100], hello()[100:])
        assert isinstance(seen, Hello)
        self.assertEqual((seen.sni, arrival.held, kernel), (str(VOTING), hello(), b""))

    async def test_what_is_no_tls_is_read(self) -> None:
        arrival, seen, kernel = await self.arrive(b"GET")
        self.assertEqual((seen, arrival.held, kernel), ([NotTls()], b"GET", b""))
