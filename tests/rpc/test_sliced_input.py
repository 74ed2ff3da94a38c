"""How the input of a server's connections is shared out over turns of the reactor."""

from __future__ import annotations

from h2.events import PingAckReceived
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.rpc.frame_filter import Batch
from meshtx.rpc.sliced_input import SlicedInput
from meshtx.rpc.work_queue import BURST, SLICE, WorkQueue
from tests.rpc.memory import MemoryTransport
from tests.rpc.server_case import ServerCase

PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"
OPENING = b"\x00\x04\x00\x01\x04\x00\x00\x00\x01" + bytes(2**10)


class Input(SlicedInput):
    """Keeps what it processes."""

    def __init__(self, work: WorkQueue) -> None:
        super().__init__(0, work)
        self.batches: list[Batch] = []
        self.fails = False

    def process(self, batch: Batch) -> None:
        if self.fails:
            raise ValueError("a defect")
        self.batches.append(batch)

    def crashed(self) -> None:
        self.closing = True

    def take(self) -> int:
        """Return the cost of what it has processed, and forget that."""
        cost = sum(batch.cost for batch in self.batches)
        self.batches.clear()
        return cost


class Slices(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.work = WorkQueue(self.clock)

    def connect(self) -> tuple[Input, MemoryTransport]:
        connection, transport = Input(self.work), MemoryTransport()
        connection.makeConnection(transport)  # type: ignore[arg-type]  # as much of one as it uses
        return connection, transport

    def turn(self) -> None:
        """Have a turn of the reactor: a call that is made in it comes in the next."""
        (call,) = self.clock.getDelayedCalls()
        run = call.func
        call.cancel()
        run()

    def test_a_flood_holds_a_turn_for_no_more_than_a_slice(self) -> None:
        connection, _ = self.connect()
        connection.dataReceived(OPENING * 100)
        turns = [connection.take()]
        while self.clock.getDelayedCalls():
            self.turn()
            turns.append(connection.take())
        self.assertGreater(len(turns), 50)
        self.assertLess(max(turns), SLICE + 2_500)

    def test_many_connections_share_a_turn(self) -> None:
        connections = [self.connect()[0] for _ in range(50)]
        for connection in connections:
            connection.dataReceived(OPENING)
        self.assertLess(sum(each.take() for each in connections), BURST + 2_500)
        while self.clock.getDelayedCalls():
            self.turn()
            self.assertLess(sum(each.take() for each in connections), SLICE + 2_500)

    def test_an_honest_call_waits_for_a_slice_of_each_flood(self) -> None:
        floods = [self.connect()[0] for _ in range(3)]
        for flood in floods:
            flood.dataReceived(OPENING * 100)
        honest, _ = self.connect()
        honest.dataReceived(PING)
        turns = 0
        while not honest.batches:
            self.turn()
            turns += 1
        self.assertEqual(turns, len(floods) + 1)

    def test_nothing_is_read_while_input_waits(self) -> None:
        connection, transport = self.connect()
        connection.dataReceived(OPENING * 10)
        self.assertFalse(transport.reading)
        while self.clock.getDelayedCalls():
            self.assertFalse(transport.reading)
            self.turn()
        self.assertTrue(transport.reading)

    def test_a_connection_that_is_closed_processes_nothing_more(self) -> None:
        connection, _ = self.connect()
        connection.dataReceived(OPENING * 10)
        connection.take()
        connection.closing = True
        self.turn()
        self.assertEqual((connection.take(), self.clock.getDelayedCalls()), (0, []))

    def test_a_defect_ends_its_connection_and_no_other(self) -> None:
        broken, other = self.connect()[0], self.connect()[0]
        broken.dataReceived(OPENING * 10)
        other.dataReceived(PING)
        other.dataReceived(OPENING * 10)
        broken.fails = True
        while self.clock.getDelayedCalls():
            self.turn()
        self.assertTrue(broken.closing)
        self.assertGreater(other.take(), 10 * SLICE // 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class Queued(ServerCase):
    def test_frames_that_waited_are_answered_in_order(self) -> None:
        caller = self.caller()
        sent = [number.to_bytes(8, "big") for number in range(500)]
        for payload in sent:
            caller.h2.ping(payload)
        caller.flush()
        self.assertEqual([event.ping_data for event in caller.of(PingAckReceived)], sent)
        caller.lose()
