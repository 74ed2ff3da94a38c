"""What a flow sees and counts of the two ends of a relay."""

from __future__ import annotations

import weakref

from meshtx.observe.flow import Refusal
from tests.observe.cases import MTLS, series
from tests.observe.flow_case import FakeEnd, FlowCase


class RelayedTests(FlowCase):
    def test_a_relay_is_watched_as_long_as_there_is_something_to_see(self) -> None:
        client, server = FakeEnd(), FakeEnd()
        handle = self.open()
        handle.relayed(client, server)
        self.assertEqual((client.on_data, server.on_data), (handle.client_data, handle.server_data))
        handle.client_data(b"\x10")
        self.assertEqual((client.on_data, server.on_data), (None, None))

    def test_an_opaque_relay_is_left_alone(self) -> None:
        client, server = FakeEnd(), FakeEnd()
        handle = self.open()
        handle.opaque()
        handle.relayed(client, server)
        self.assertEqual((client.on_data, server.on_data), (None, None))

    def test_bytes_of_open_connections_are_in_the_metrics(self) -> None:
        client, server = FakeEnd(), FakeEnd()
        handle = self.open()
        handle.secured(MTLS)
        handle.relayed(client, server)
        client.received, server.received = 10, 20
        self.assertTrue(series(self.metrics, "tcp_read_bytes_total")[0].endswith(" 10.0"))
        client.received, server.received = 15, 20
        self.assertTrue(series(self.metrics, "tcp_read_bytes_total")[0].endswith(" 15.0"))
        handle.ended(16, 24)
        self.assertTrue(series(self.metrics, "tcp_read_bytes_total")[0].endswith(" 16.0"))
        self.assertTrue(series(self.metrics, "tcp_write_bytes_total")[0].endswith(" 24.0"))
        self.assertEqual(self.flows.relaying, set())

    def test_a_connection_that_is_over_is_not_counted_on(self) -> None:
        handle = self.open()
        handle.refuse(Refusal.NO_RULE)
        handle.relayed(FakeEnd(), FakeEnd())
        self.assertEqual(self.flows.relaying, set())

    def test_a_connection_that_is_over_lets_go_of_its_ends(self) -> None:
        for end in (lambda handle: handle.ended(0, 0), lambda handle: handle.refuse(Refusal.NO_RULE)):
            client, server = FakeEnd(), FakeEnd()
            handle = self.open()
            handle.relayed(client, server)
            there = weakref.ref(client), weakref.ref(server)
            end(handle)
            del client, server
            self.assertEqual([each() for each in there], [None, None])

    def test_a_connection_that_is_forgotten_leaves_no_trace(self) -> None:
        tap = self.tap()
        handle = self.open()
        handle.forget()
        self.assertFalse(handle.watched)
        handle.secured(MTLS)
        handle.ended(0, 0)
        self.assertEqual((self.whats(tap), series(self.metrics, "tcp_open_total")), ([], []))

    def test_an_undecided_relay_counts_no_bytes(self) -> None:
        handle = self.open()
        handle.relayed(FakeEnd(None, 5), FakeEnd(None, 5))
        handle.account()
        self.assertEqual(series(self.metrics, "tcp_read_bytes_total"), [])
