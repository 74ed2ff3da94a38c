"""The stream on a leg: pauses, producers, and how it ends."""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted, ConnectionLost

from meshtx.net.legs import LINGER
from meshtx.wire.leg_frames import Accept, Data, Fin, Reset
from tests.net.leg_ends import App, LegCase, ended


class StreamTests(LegCase):
    """The transport that an application connection gets."""

    def test_a_pause_goes_below(self) -> None:
        self.client(Accept())
        self.app.transport.pauseProducing()
        self.app.transport.resumeProducing()
        self.assertBelow("pause", "resume")

    def test_what_comes_with_a_pause_is_held_in_order(self) -> None:
        self.app.pause_at = b"one"
        leg = self.client(Accept())
        self.feed(leg, Data(b"one"))
        self.feed(leg, Data(b"two"), Fin())
        self.assertApp(b"one")
        self.below.take()
        self.app.pause_at = b"two"
        self.app.transport.resumeProducing()
        self.assertApp(b"two")
        self.assertBelow("pause")
        self.app.transport.resumeProducing()
        self.assertApp("eof")
        self.assertBelow("resume")

    def test_an_orderly_end_waits_behind_what_is_held(self) -> None:
        self.app.pause_at = b"one"
        leg = self.client(Accept())
        self.feed(leg, Data(b"one"))
        self.feed(leg, Data(b"two"), Fin())
        self.app.transport.loseWriteConnection()
        self.lose(leg)
        self.assertApp(b"one")
        self.app.transport.resumeProducing()
        self.assertApp(b"two", "eof", ended())

    def test_who_does_not_want_what_is_held_loses_the_connection_at_once(self) -> None:
        for end in ("loseConnection", "abortConnection"):
            self.setUp()
            self.app.pause_at = b"one"
            leg = self.client(Accept())
            self.feed(leg, Data(b"one"))
            self.feed(leg, Data(b"two"), Fin())
            self.app.transport.loseWriteConnection()
            self.lose(leg)
            self.app.take()
            getattr(self.app.transport, end)()
            self.assertApp()
            self.clock.advance(0)
            self.assertApp(ended())

    def test_a_producer_is_paused_by_the_transport_below(self) -> None:
        self.client(Accept())
        producer = App()
        self.app.transport.registerProducer(producer, True)
        self.assertIs(self.below.producer, producer)
        self.app.transport.unregisterProducer()
        self.app.transport.unregisterProducer()
        self.assertBelow("register", "unregister")

    def test_fin_waits_for_a_registered_producer(self) -> None:
        self.client(Accept())
        self.app.transport.registerProducer(App(), True)
        self.app.transport.loseWriteConnection()
        self.app.transport.write(b"last")
        self.app.transport.unregisterProducer()
        self.assertBelow("register", Data(b"last"), "unregister", Fin())

    def test_an_abort_forgets_the_producer_that_would_hold_the_transport_open(self) -> None:
        self.client(Accept())
        self.app.transport.registerProducer(App(), True)
        self.app.transport.abortConnection()
        self.app.transport.unregisterProducer()
        self.assertBelow("register", "unregister", Reset(), "lose")

    def test_a_producer_that_comes_too_late_is_stopped(self) -> None:
        class Producer:
            stopped = False

            def stopProducing(self) -> None:
                self.stopped = True

        leg, late, later = self.client(Accept()), Producer(), Producer()
        self.app.transport.loseWriteConnection()
        self.app.transport.registerProducer(late, True)
        self.lose(leg, ConnectionLost())
        self.app.transport.registerProducer(later, True)
        self.assertEqual((late.stopped, later.stopped), (True, True))

    def test_the_loss_of_a_consumer_does_not_end_the_leg(self) -> None:
        self.client(Accept())
        self.app.transport.stopProducing()
        self.assertBelow()

    def test_a_close_drops_what_still_comes_and_waits_for_the_fin(self) -> None:
        self.app.pause_at = b"one"
        leg = self.client(Accept())
        self.feed(leg, Data(b"one"))
        self.feed(leg, Data(b"two"))
        self.below.take()
        self.app.transport.loseConnection()
        self.app.transport.loseConnection()
        self.assertBelow("resume", Fin())
        self.feed(leg, Data(b"three"), Fin())
        self.assertBelow("resume")
        self.assertApp(b"one", ended())

    def test_a_close_drops_what_still_comes_where_nothing_was_held_too(self) -> None:
        leg = self.client(Accept())
        self.feed(leg, Data(b"one"))
        self.app.transport.loseConnection()
        self.feed(leg, Data(b"two"), Fin())
        self.assertApp(b"one", ended())

    def test_a_peer_that_does_not_finish_after_a_close_is_reset(self) -> None:
        leg = self.client(Accept())
        self.app.transport.loseConnection()
        self.below.take()
        self.clock.advance(LINGER)
        self.assertBelow(Reset(), "lose")
        self.lose(leg)
        self.assertApp(ended(ConnectionAborted))

    def test_addresses_and_socket_are_those_below(self) -> None:
        self.client(Accept())
        transport = self.app.transport
        self.assertEqual((transport.getPeer(), transport.getHost(), transport.getHandle()), ("peer", "host", "handle"))
