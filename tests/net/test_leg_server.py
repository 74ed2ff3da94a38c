"""The server's end of a leg: calls, their answers, and how long a leg may carry nothing."""

from __future__ import annotations

from twisted.python.failure import Failure

from meshtx.net.leg_stream import MAX_HELD
from meshtx.net.legs import RETIRED, SILENCE, LegMalformed, LegReset, LegServer, LegTruncated
from meshtx.wire.leg_frames import Accept, Data, Fin, Open, Refuse, Reset, Retire, encode, encode_data
from tests.net.leg_ends import HalfApp, LegCase, ended
from tests.net.test_legs import ASKED


class ServerTests(LegCase):
    def test_a_call_waits_unread_for_its_answer(self) -> None:
        leg = LegServer(self.keep, self.ledger, self.clock)
        leg.makeConnection(self.below)
        self.feed(leg, ASKED, Data(b"early"), Fin())
        self.assertEqual(self.opened, [ASKED])
        self.assertBelow("pause")
        self.calls[0].accept(self.app)
        self.assertBelow(Accept(), "resume")
        self.assertApp("made", b"early", "eof")

    def test_a_call_of_which_nothing_has_come_is_read_until_something_does(self) -> None:
        leg = self.server(ASKED)
        self.assertBelow()
        self.feed(leg, Data(b"early"))
        self.assertBelow("pause")

    def test_a_call_that_is_reset_before_its_answer_is_lost_at_once(self) -> None:
        leg = self.server(ASKED)
        lost: list[Failure] = []
        self.calls[0].on_lost(lost.append)
        self.feed(leg, Reset())
        self.assertEqual([type(reason.value) for reason in lost], [LegReset])

    def test_a_protocol_that_pauses_when_it_is_made_gets_nothing_yet(self) -> None:
        self.app.pause_at = "made"
        leg = self.server(Open(80), Data(b"early"), accept=True)
        self.feed(leg, Data(b" bird"), Fin())
        self.assertApp()
        self.assertBelow("pause")
        self.app.transport.resumeProducing()
        self.assertApp(b"early", b" bird", "eof")
        self.assertBelow("resume")

    def test_a_call_that_is_accepted_at_once_gets_what_came_with_it(self) -> None:
        leg = LegServer(lambda opened, call: call.accept(self.app), self.ledger, self.clock)
        leg.makeConnection(self.below)
        self.feed(leg, Open(80), Data(b"early"))
        self.assertApp("made", b"early")

    def test_what_is_held_is_bounded(self) -> None:
        leg = self.server(Open(80))
        leg.dataReceived(encode_data(bytes(MAX_HELD)))
        self.assertBelow("pause")
        leg.dataReceived(encode(Data(b"x")) + encode(Data(b"y")))
        self.assertBelow("pause", "abort")
        self.calls[0].accept(self.app)
        self.assertApp("made", ended(LegMalformed, "more than 262144 bytes came through a pause"))

    def test_long_data_is_not_copied_where_the_transport_has_a_way(self) -> None:
        self.server(Open(80), accept=True)
        sent: list[list[bytes | memoryview]] = []
        self.below.write_pieces = sent.append  # type: ignore[attr-defined]
        data = bytes(20_000)
        self.app.transport.write(data)
        ((first, rest),) = sent
        assert isinstance(rest, memoryview)
        self.assertIs(rest.obj, data)
        self.assertEqual(first + rest, encode_data(data))

    def test_a_refusal_closes_in_order(self) -> None:
        leg = self.server(Open(80), Data(b"early"))
        self.calls[0].refuse("no_rule")
        self.assertBelow(Refuse("no_rule"), "resume", "lose")
        self.feed(leg, Data(b"on its way"), Fin())
        leg.readConnectionLost()
        self.assertBelow("lose")
        self.lose(leg)

    def test_no_timer_waits_with_the_first_connection(self) -> None:
        """It may be the only one for hours. After that one is kept, for there will be more."""
        leg = self.server(Open(80), accept=True)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.app.transport.loseWriteConnection()
        self.feed(leg, Fin())
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.feed(leg, Open(80))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

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
        self.below.take()
        self.clock.advance(2 * SILENCE)
        self.assertBelow()

    def test_a_lost_leg_leaves_no_timer(self) -> None:
        self.lose(self.server())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_after_both_fins_it_waits_for_the_client_to_close(self) -> None:
        leg = self.server(Open(80), Fin(), accept=True)
        self.app.transport.loseConnection()
        self.assertBelow("resume", Fin(), "resume")
        self.turn()
        self.assertApp(ended())
        leg.readConnectionLost()
        self.assertBelow("lose")
        self.lose(leg)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.ledger.told, ["idle", "busy", "idle", "gone"])

    def test_a_client_that_does_not_close_is_closed(self) -> None:
        leg = self.server(Open(80), Fin(), accept=True)
        self.app.transport.loseConnection()
        self.below.take()
        self.turn()
        self.clock.advance(SILENCE)
        self.assertBelow("lose")
        self.lose(leg)

    def test_the_next_connection_may_follow(self) -> None:
        first, second = self.app, HalfApp()
        leg = self.server(Open(80), Fin(), accept=True)
        first.transport.loseConnection()
        self.feed(leg, Open(81), Data(b"next"))
        self.turn()
        self.assertEqual(first.take(), [ended()])
        self.calls[1].accept(second)
        self.assertEqual((self.opened, second.take()), ([Open(80), Open(81)], ["made", b"next"]))
        self.below.take()
        first.transport.write(b"x")
        first.transport.pauseProducing()
        first.transport.resumeProducing()
        first.transport.abortConnection()
        self.clock.advance(2 * SILENCE)
        self.assertBelow()

    def test_it_may_retire_with_a_connection_going_on(self) -> None:
        leg = self.server(Open(80), accept=True)
        leg.retire()
        leg.retire()
        self.assertBelow(Retire())
        self.feed(leg, Data(b"x"), Fin())
        self.app.transport.loseConnection()
        self.turn()
        self.assertApp(b"x", "eof", ended())
        self.below.take()
        self.feed(leg, Open(81))
        self.assertBelow("abort")

    def test_a_retired_leg_that_the_client_does_not_close_is_closed_soon(self) -> None:
        for busy in (False, True):
            self.setUp()
            leg = self.server(Open(80), Fin(), accept=True) if busy else self.server()
            leg.retire()
            if busy:
                self.below.take()
                self.clock.advance(2 * SILENCE)
                self.assertBelow()
                self.app.transport.loseConnection()
            self.turn()
            self.below.take()
            self.clock.advance(RETIRED)
            self.assertBelow("lose")

    def test_an_open_that_its_retirement_crossed_is_served(self) -> None:
        leg = self.server()
        leg.retire()
        self.feed(leg, Open(80))
        self.calls[0].accept(self.app)
        self.assertBelow(Retire(), Accept(), "resume")

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
