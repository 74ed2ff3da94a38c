"""Legs, one end at a time: frames in, what is done with the transport and the application out."""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted, ConnectionLost

from meshtx.net.leg_stream import MAX_HELD
from meshtx.net.legs import SILENCE, LegClient, LegMalformed, LegRefused, LegReset, LegServer, LegTruncated
from meshtx.wire.address import Address
from meshtx.wire.leg_frames import Accept, Data, Fin, Open, Refuse, Reset, Retire, encode, encode_data
from tests.net.leg_ends import App, HalfApp, LegCase, ended

ASKED = Open(5432, "db.shop:5432", Address.parse("10.1.0.4:48210"), "direct", "opaque")


class ClientTests(LegCase):
    def test_it_asks_at_once_and_what_is_written_follows(self) -> None:
        leg = LegClient(ASKED, self.app, clock=self.clock)
        leg.makeConnection(self.below)
        self.app.transport.write(b"hello")
        self.app.transport.writeSequence([b"to", b"gether"])
        self.app.transport.write(b"")
        self.assertBelow(ASKED, "resume", Data(b"hello"), Data(b"together"))
        self.assertApp("made")

    def test_data_goes_both_ways_and_both_fins_close_the_leg(self) -> None:
        leg = self.client(Accept())
        self.feed(leg, Data(b"he"), Data(b"llo"))
        self.app.transport.loseWriteConnection()
        self.app.transport.write(b"too late")
        self.app.transport.loseWriteConnection()
        self.feed(leg, Data(b"!"), Fin())
        self.assertApp(b"hello", b"!", "eof")
        self.assertBelow(Fin(), "resume", "lose")
        self.lose(leg)
        self.assertApp(ended())

    def test_an_answer_may_go_on_after_the_question_has_ended(self) -> None:
        leg = self.client(Accept(), Fin())
        self.app.transport.write(b"answer")
        self.app.transport.loseConnection()
        self.assertBelow(Data(b"answer"), "resume", Fin(), "resume", "lose")
        self.lose(leg)
        self.assertApp(ended())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_protocol_without_half_close_ends_with_the_peers_fin(self) -> None:
        self.app = App()
        leg = self.client(Accept())
        self.feed(leg, Fin())
        self.assertBelow("resume", Fin(), "resume", "lose")
        self.lose(leg)
        self.assertApp(ended())

    def test_a_refusal_is_told_before_the_connection_is_lost(self) -> None:
        self.app.seen = self.refused
        leg = LegClient(Open(80), self.app, self.refused.append, clock=self.clock)
        leg.makeConnection(self.below)
        self.feed(leg, Refuse("no_rule"))
        self.assertEqual(self.refused, ["made", "no_rule", (LegRefused, "no_rule")])
        self.assertBelow(Open(80), "resume", "lose")
        self.lose(leg)
        self.assertEqual(len(self.refused), 3)

    def test_a_refusal_needs_nobody_who_listens(self) -> None:
        leg = LegClient(Open(80), self.app, clock=self.clock)
        leg.makeConnection(self.below)
        self.feed(leg, Refuse("no_rule"))
        self.assertApp("made", ended(LegRefused, "no_rule"))

    def test_a_server_that_retires_lets_the_connection_end_in_order(self) -> None:
        leg = self.client(Retire(), Accept(), Data(b"x"), Fin())
        self.app.transport.loseConnection()
        self.assertBelow("resume", Fin(), "resume", "lose")
        self.lose(leg)
        self.assertApp(ended())

    def test_an_answer_that_a_reset_crossed_has_no_effect(self) -> None:
        leg = self.client()
        self.app.transport.abortConnection()
        self.feed(leg, Refuse("no_rule"))
        self.assertEqual(self.refused, [])
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
        self.app.transport.loseWriteConnection()
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
            leg = LegClient(Open(80), self.app, clock=self.clock)
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


class ServerTests(LegCase):
    def test_a_call_waits_unread_for_its_answer(self) -> None:
        leg = LegServer(self.keep, self.clock)
        leg.makeConnection(self.below)
        self.feed(leg, ASKED, Data(b"early"), Fin())
        self.assertEqual(self.opened, [ASKED])
        self.assertBelow("pause")
        self.calls[0].accept(self.app)
        self.assertBelow(Accept(), "resume")
        self.assertApp("made", b"early", "eof")

    def test_a_protocol_that_pauses_when_it_is_made_gets_nothing_yet(self) -> None:
        self.app.pause_at = "made"
        leg = self.server(Open(80), Data(b"early"), accept=True)
        self.feed(leg, Data(b" bird"), Fin())
        self.assertApp()
        self.app.transport.resumeProducing()
        self.assertApp(b"early", b" bird", "eof")
        self.assertBelow("resume")

    def test_a_call_that_is_accepted_at_once_gets_what_came_with_it(self) -> None:
        leg = LegServer(lambda opened, call: call.accept(self.app), self.clock)
        leg.makeConnection(self.below)
        self.feed(leg, Open(80), Data(b"early"))
        self.assertApp("made", b"early")

    def test_what_is_held_is_bounded(self) -> None:
        leg = self.server(Open(80))
        leg.dataReceived(encode_data(bytes(MAX_HELD)))
        self.assertBelow()
        leg.dataReceived(encode(Data(b"x")) + encode(Data(b"y")))
        self.assertBelow("abort")
        self.calls[0].accept(self.app)
        self.assertApp("made", ended(LegMalformed, "more than 262144 bytes came through a pause"))

    def test_a_refusal_closes_in_order(self) -> None:
        leg = self.server(Open(80), Data(b"early"))
        self.calls[0].refuse("no_rule")
        self.assertBelow(Refuse("no_rule"), "resume", "lose")
        self.feed(leg, Data(b"on its way"), Fin())
        leg.readConnectionLost()
        self.assertBelow("lose")
        self.lose(leg)

    def test_a_call_is_answered_once(self) -> None:
        self.server(Open(80))
        self.calls[0].refuse("no_rule")
        self.assertRaises(RuntimeError, self.calls[0].refuse, "again")
        self.assertRaises(RuntimeError, self.calls[0].accept, self.app)

    def test_who_answers_is_told_if_the_call_is_lost(self) -> None:
        leg = self.server(Open(80), Data(b"early"))
        lost: list[type[BaseException]] = []
        self.calls[0].on_lost(lambda reason: lost.append(reason.type))
        self.feed(leg, Reset())
        self.lose(leg)
        self.assertEqual(lost, [LegReset])
        self.below.take()
        self.calls[0].accept(self.app)
        self.assertApp("made", ended(LegReset))
        self.assertBelow()

    def test_a_refusal_of_a_lost_call_goes_nowhere(self) -> None:
        leg = self.server(Open(80))
        self.lose(leg)
        self.calls[0].refuse("no_rule")
        self.assertBelow()

    def test_an_answered_call_is_not_lost_any_more(self) -> None:
        leg = self.server(Open(80))
        self.calls[0].on_lost(lambda reason: self.fail(str(reason)))
        self.calls[0].accept(self.app)
        self.lose(leg)
        self.assertApp("made", ended(LegTruncated))

    def test_a_silent_leg_is_closed_after_its_time(self) -> None:
        leg = self.server()
        leg.dataReceived(encode(Open(80))[:5])
        self.clock.advance(SILENCE - 1)
        self.assertBelow()
        self.clock.advance(1)
        self.assertBelow("lose")
        self.lose(leg)

    def test_an_open_leg_may_be_silent(self) -> None:
        self.server(Open(80), accept=True)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_lost_leg_leaves_no_timer(self) -> None:
        self.lose(self.server())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_after_both_fins_it_waits_for_the_client_to_close(self) -> None:
        leg = self.server(Open(80), Fin(), accept=True)
        self.app.transport.loseConnection()
        self.assertBelow("resume", Fin(), "resume")
        leg.readConnectionLost()
        self.assertBelow("lose")
        self.lose(leg)
        self.assertApp(ended())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_client_that_does_not_close_is_closed(self) -> None:
        leg = self.server(Open(80), Fin(), accept=True)
        self.app.transport.loseConnection()
        self.below.take()
        self.clock.advance(SILENCE)
        self.assertBelow("lose")
        self.lose(leg)
        self.assertApp(ended())

    def test_the_next_connection_may_follow(self) -> None:
        first, second = self.app, HalfApp()
        leg = self.server(Open(80), Fin(), accept=True)
        first.transport.loseConnection()
        self.feed(leg, Open(81), Data(b"next"))
        self.assertEqual(first.take(), [ended()])
        self.calls[1].accept(second)
        self.assertEqual((self.opened, second.take()), ([Open(80), Open(81)], ["made", b"next"]))
        self.below.take()
        first.transport.write(b"x")
        first.transport.pauseProducing()
        first.transport.resumeProducing()
        first.transport.abortConnection()
        self.assertBelow()
        self.assertEqual(len(self.clock.getDelayedCalls()), 0)

    def test_it_may_retire_with_a_connection_going_on(self) -> None:
        leg = self.server(Open(80), accept=True)
        leg.retire()
        leg.retire()
        self.assertBelow(Retire())
        self.feed(leg, Data(b"x"), Fin())
        self.app.transport.loseConnection()
        self.assertApp(b"x", "eof")
        self.below.take()
        self.feed(leg, Open(81))
        self.assertBelow("abort")

    def test_an_open_that_its_retirement_crossed_is_served(self) -> None:
        leg = self.server()
        leg.retire()
        self.feed(leg, Open(80))
        self.calls[0].accept(self.app)
        self.assertBelow(Retire(), "pause", Accept(), "resume")

    def test_an_open_that_a_reset_crossed_has_no_effect(self) -> None:
        leg = self.server(Open(80), accept=True)
        self.app.transport.loseWriteConnection()
        self.app.transport.abortConnection()
        self.feed(leg, Fin(), Open(81))
        self.assertEqual(self.opened, [Open(80)])
        self.assertBelow(Fin(), Reset(), "lose")

    def test_the_peer_may_not_retire_a_server(self) -> None:
        leg = self.server()
        self.feed(leg, Retire())
        self.assertBelow("abort")
