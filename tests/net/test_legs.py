"""Legs, one end at a time: frames in, what is done with the transport and the application out."""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted, ConnectionLost

from meshtx.net.legs import LINGER, LegMalformed, LegRefused, LegReset, LegTruncated
from meshtx.wire.address import Address
from meshtx.wire.leg_frames import Accept, Data, Fin, Open, Refuse, Reset, Retire, encode
from tests.net.leg_ends import App, HalfApp, LegCase, asking, ended

ASKED = Open(5432, "db.shop:5432", Address.parse("10.1.0.4:48210"), "direct", "opaque")


class ClientTests(LegCase):
    def test_it_asks_at_once_and_what_is_written_follows(self) -> None:
        leg = asking(ASKED, self.app, self.clock)
        leg.makeConnection(self.below)
        self.app.transport.write(b"hello")
        self.app.transport.writeSequence([b"to", b"gether"])
        self.app.transport.write(b"")
        self.assertBelow(ASKED, "resume", Data(b"hello"), Data(b"together"))
        self.assertApp("made")

    def test_data_goes_both_ways_and_with_both_fins_it_is_over(self) -> None:
        leg = self.client(Accept())
        self.feed(leg, Data(b"he"), Data(b"llo"))
        self.app.transport.loseWriteConnection()
        self.app.transport.write(b"too late")
        self.app.transport.loseWriteConnection()
        self.feed(leg, Data(b"!"), Fin())
        self.assertApp(b"hello", b"!", "eof", ended())
        self.assertBelow(Fin(), "resume")
        self.assertEqual((leg.free, self.ledger.told), (True, ["busy", "idle"]))
        self.lose(leg)
        self.assertApp()
        self.assertEqual(self.ledger.told, ["busy", "idle", "gone"])

    def test_an_answer_may_go_on_after_the_question_has_ended(self) -> None:
        leg = self.client(Accept(), Fin())
        self.app.transport.write(b"answer")
        self.app.transport.loseConnection()
        self.assertApp()
        self.turn()
        self.assertBelow(Data(b"answer"), "resume", Fin(), "resume")
        self.assertApp(ended())
        self.clock.advance(2 * LINGER)
        self.assertBelow()
        self.assertTrue(leg.free)

    def test_a_protocol_without_half_close_ends_with_the_peers_fin(self) -> None:
        self.app = App()
        leg = self.client(Accept())
        self.feed(leg, Fin())
        self.assertBelow("resume", Fin(), "resume")
        self.turn()
        self.assertApp(ended())

    def test_a_refusal_ends_the_leg(self) -> None:
        leg = self.client()
        self.feed(leg, Refuse("no_rule"))
        self.assertApp(ended(LegRefused, "no_rule"))
        self.assertBelow("lose")
        self.lose(leg)
        self.assertApp()
        self.assertEqual(self.ledger.told, ["busy", "gone"])

    def test_a_server_that_retires_lets_the_connection_end_in_order_and_no_other_begin(self) -> None:
        leg = self.client(Retire(), Accept(), Data(b"x"), Fin())
        self.app.transport.loseConnection()
        self.assertBelow("resume", Fin(), "resume", "lose")
        self.turn()
        self.assertApp(ended())
        self.assertRaises(RuntimeError, leg.open, Open(81), HalfApp())

    def test_a_server_that_retires_an_idle_leg_has_it_closed(self) -> None:
        leg = self.client(Accept(), Fin())
        self.app.transport.loseConnection()
        self.below.take()
        self.feed(leg, Retire())
        self.assertBelow("lose")
        leg.close()
        self.assertBelow()

    def test_an_idle_leg_is_closed_by_the_client(self) -> None:
        leg = self.client(Accept(), Fin())
        leg.close()
        self.assertBelow()
        self.app.transport.loseConnection()
        self.below.take()
        leg.close()
        self.feed(leg, Retire())
        self.assertBelow("lose")
        self.assertFalse(leg.free)

    def test_the_next_connection_has_nothing_of_the_last(self) -> None:
        first, second = self.app, HalfApp()
        first.pause_at = b"one"
        leg = self.client(Accept(), Data(b"one"))
        self.feed(leg, Data(b"two"), Fin())
        first.transport.loseWriteConnection()
        self.below.take()
        first.take()
        leg.open(Open(81), second)
        self.assertBelow(Open(81), "resume")
        first.transport.write(b"late")
        first.transport.registerProducer(self, True)
        first.transport.pauseProducing()
        first.transport.resumeProducing()
        first.transport.loseConnection()
        first.transport.abortConnection()
        self.turn()
        self.assertEqual(first.take(), [b"two", "eof", ended()])
        self.feed(leg, Accept(), Data(b"yours"))
        self.assertBelow()
        self.assertEqual(second.take(), ["made", b"yours"])

    def stopProducing(self) -> None:
        """A producer that comes too late is told so."""

    def test_an_idle_leg_that_the_server_resets_or_ends_is_not_free(self) -> None:
        for end in (lambda leg: self.feed(leg, Reset()), lambda leg: leg.readConnectionLost()):
            self.setUp()
            leg = self.client(Accept(), Fin())
            self.app.transport.loseConnection()
            end(leg)
            self.assertFalse(leg.free)
            self.assertIn(self.below.take()[-1], ("lose", "abort"))
            self.turn()
            self.assertApp(ended())

    def test_an_answer_that_a_reset_crossed_has_no_effect(self) -> None:
        leg = self.client()
        self.app.transport.abortConnection()
        self.feed(leg, Refuse("no_rule"))
        self.lose(leg)
        self.assertApp(ended(ConnectionAborted))


class CutTests(LegCase):
    """Whatever is not both FINs is a failure."""

    def test_the_end_of_tls_without_fin_is_a_failure(self) -> None:
        for frames in ((), (Accept(),), (Accept(), Fin()), (Accept(), Data(b"all?"))):
            self.setUp()
            leg = self.client(*frames)
            leg.readConnectionLost()
            self.assertApp(ended(LegTruncated))
            self.assertBelow("abort")
            self.lose(leg, ConnectionAborted())
            self.assertApp()

    def test_the_end_of_tls_after_our_fin_alone_is_a_failure(self) -> None:
        leg = self.client(Accept())
        self.app.transport.loseWriteConnection()
        leg.readConnectionLost()
        self.assertApp(ended(LegTruncated))

    def test_a_close_without_fin_is_a_failure(self) -> None:
        leg = self.client(Accept(), Data(b"all?"))
        self.lose(leg)
        self.assertApp(ended(LegTruncated))

    def test_another_failure_below_is_passed_on_as_it_is(self) -> None:
        leg = self.client(Accept(), Fin())
        self.lose(leg, ConnectionLost())
        self.assertApp(ended(ConnectionLost))

    def test_a_reset_of_the_peer_is_a_failure(self) -> None:
        leg = self.client(Accept())
        self.feed(leg, Data(b"half"), Reset())
        self.assertApp(b"half", ended(LegReset))
        self.assertBelow("lose")
        self.lose(leg)
        self.assertApp()

    def test_a_reset_is_not_held_back_by_a_pause(self) -> None:
        self.app.pause_at = b"one"
        leg = self.client(Accept())
        self.feed(leg, Data(b"one"))
        self.feed(leg, Data(b"two"), Reset())
        self.assertApp(b"one", ended(LegReset))

    def test_our_reset_ends_the_leg(self) -> None:
        leg = self.client(Accept())
        self.app.transport.abortConnection()
        self.app.transport.write(b"too late")
        self.app.transport.loseConnection()
        self.app.transport.abortConnection()
        self.assertBelow(Reset(), "lose", "abort")
        self.feed(leg, Data(b"on its way"), Fin())
        self.assertApp()
        leg.readConnectionLost()
        self.assertBelow("lose")
        self.lose(leg)
        self.assertApp(ended(ConnectionAborted))

    def test_what_the_table_does_not_allow_kills(self) -> None:
        for frames, reason in (
            ((Data(b"early"),), "protocol error: Data in state OPENING"),
            ((Accept(), Accept()), "protocol error: Accept in state OPEN"),
            ((Accept(), Open(80)), "protocol error: Open in state OPEN"),
            ((Accept(), Fin(), Data(b"more")), "protocol error: Data in state PEER_FINISHED"),
            ((Retire(), Retire()), "protocol error: Retire in state LAST_OPENING"),
        ):
            self.setUp()
            leg = asking(Open(80), self.app, self.clock)
            leg.makeConnection(self.below)
            self.feed(leg, *frames, Data(b"nothing follows"))
            self.assertEqual(self.app.take()[-1], ended(LegMalformed, reason.partition(": ")[2]))
            self.assertEqual(self.below.take()[-1], "abort")
            self.feed(leg, Fin())
            leg.readConnectionLost()
            self.app.transport.write(b"x")
            self.lose(leg, ConnectionAborted())
            self.assertApp()

    def test_garbage_kills(self) -> None:
        leg = self.client(Accept())
        leg.dataReceived(encode(Data(b"hi")) + b"GET / HTTP/1.1\r\n")
        self.assertApp(b"hi", ended(LegMalformed, "frame of 4543520 bytes, at most 16380"))
        self.assertBelow("abort")

    def test_errors_say_what_happened(self) -> None:
        self.assertEqual(str(LegRefused("no_rule")), "refused by the peer's proxy: no_rule")
        self.assertEqual(str(LegMalformed("Fin in state IDLE")), "protocol error: Fin in state IDLE")

    def test_a_producer_does_not_hold_a_leg_open_that_was_refused(self) -> None:
        leg = self.client()
        self.app.transport.registerProducer(object(), True)
        self.below.take()
        self.feed(leg, Refuse("no_rule"))
        self.assertEqual(self.below.take(), ["unregister", "lose"])
        self.assertEqual(self.app.take(), [(LegRefused, "no_rule")])
