"""A connection on a leg that proves dead before its answer: begun again on another one, whole, once."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.leg_client import MAX_KEPT, PROMPT, LegClient, Replay
from meshtx.net.legs import LegMalformed, LegRefused, LegReset, LegTruncated
from meshtx.net.relay import RelayEnd
from meshtx.wire.leg_frames import Accept, Data, Fin, Frame, Open, Refuse, Reset, Retire
from tests.net.leg_ends import Below, LegCase, ended


class Producer:
    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class ReplayCase(LegCase):
    def setUp(self) -> None:
        super().setUp()
        self.wanted: list[Deferred[LegClient]] = []
        self.first = self.kept()

    def kept(self) -> LegClient:
        """Return a leg that has sent OPEN, of a connection that is kept."""
        leg = LegClient(lambda leg: leg.open(Open(80), self.app, replay), self.ledger, self.clock)
        replay = Replay(Open(80), self.connect, self.clock)
        leg.makeConnection(self.below)
        self.assertBelow(Open(80), "resume")
        self.assertApp("made")
        return leg

    def connect(self) -> Deferred[LegClient]:
        self.wanted.append(Deferred())
        return self.wanted[-1]

    def another(self) -> LegClient:
        """Provide the leg that is looked for."""
        self.second = Below()
        leg = LegClient(self.wanted[-1].callback, self.ledger, self.clock)
        leg.makeConnection(self.second)
        return leg


class BegunAgainTests(ReplayCase):
    def test_all_that_was_sent_is_sent_again_over_another_leg(self) -> None:
        self.app.transport.write(b"he")
        self.app.transport.writeSequence([b"ll", b"o"])
        self.first.readConnectionLost()
        self.app.transport.write(b"!")
        self.assertApp()
        leg = self.another()
        self.assertEqual(self.second.take(), [Open(80), Data(b"he"), Data(b"llo"), Data(b"!")])
        self.app.transport.write(b"?")
        self.feed(leg, Accept(), Data(b"answer"))
        self.assertEqual(self.second.take(), [Data(b"?")])
        self.assertApp(b"answer")

    def test_whatever_takes_the_leg_away(self) -> None:
        refused = TlsError(TlsFailure.REJECTED, "tlsv1 alert certificate expired")
        for lose in (
            lambda: self.first.readConnectionLost(),  # noqa: PLW0108 - each time another
            lambda: self.feed(self.first, Reset()),
            lambda: self.lose(self.first),
            lambda: self.lose(self.first, ConnectionLost()),
            lambda: self.lose(self.first, refused),
        ):
            self.setUp()
            lose()
            self.assertApp()
            self.another()
            self.assertEqual(self.second.take(), [Open(80)])

    def test_what_was_sent_only_if_the_peer_itself_has_ended_the_leg(self) -> None:
        refused = TlsError(TlsFailure.REJECTED, "tlsv1 alert certificate expired")
        for lose in (
            lambda: self.first.readConnectionLost(),  # noqa: PLW0108 - each time another
            lambda: self.feed(self.first, Reset()),
            lambda: self.lose(self.first, refused),
        ):
            self.setUp()
            self.app.transport.write(b"all")
            lose()
            self.another()
            self.assertEqual(self.second.take(), [Open(80), Data(b"all")])

    def test_a_half_close_is_sent_again(self) -> None:
        self.app.transport.write(b"all")
        self.app.transport.loseWriteConnection()
        self.first.readConnectionLost()
        leg = self.another()
        self.assertEqual(self.second.take(), [Open(80), Data(b"all"), Fin()])
        self.feed(leg, Accept(), Data(b"answer"), Fin())
        self.assertApp(b"answer", "eof", ended())

    def test_a_half_close_meanwhile_too(self) -> None:
        self.app.transport.write(b"all")
        self.first.readConnectionLost()
        self.app.transport.loseWriteConnection()
        self.app.transport.write(b"too late")
        self.another()
        self.assertEqual(self.second.take(), [Open(80), Data(b"all"), Fin()])

    def test_a_close_meanwhile_lets_it_be_sent(self) -> None:
        self.app.transport.write(b"all")
        self.first.readConnectionLost()
        self.app.transport.loseConnection()
        leg = self.another()
        self.feed(leg, Accept(), Data(b"dropped"), Fin())
        self.assertEqual(self.second.take(), [Open(80), Data(b"all"), Fin(), "resume"])
        self.assertApp(ended())

    def test_the_producer_waits_meanwhile(self) -> None:
        producer = Producer()
        self.app.transport.registerProducer(producer, True)
        self.lose(self.first, ConnectionLost())
        self.assertEqual(producer.told, ["pause"])
        self.another()
        self.assertEqual((producer.told, self.second.producer), (["pause", "resume"], producer))

    def test_a_pause_is_one_of_the_other_leg(self) -> None:
        self.lose(self.first, ConnectionLost())
        self.app.transport.pauseProducing()
        self.another()
        self.assertEqual(self.second.take(), [Open(80), "pause"])
        self.app.transport.resumeProducing()
        self.assertEqual(self.second.take(), ["resume"])

    def test_it_is_done_once(self) -> None:
        self.lose(self.first, ConnectionLost())
        self.lose(self.another(), ConnectionLost())
        self.assertApp(ended(ConnectionLost))
        self.assertEqual(len(self.wanted), 1)

    def test_a_relay_goes_on_over_the_other_leg(self) -> None:
        self.app = RelayEnd(None, lambda _: None)  # type: ignore[assignment]
        self.below = Below()
        leg = LegClient(lambda leg: leg.open(Open(80), self.app, replay), self.ledger, self.clock)
        replay = Replay(Open(80), self.connect, self.clock)
        leg.makeConnection(self.below)
        self.lose(leg, ConnectionLost())
        self.another()
        self.assertEqual(self.second.take(), [Open(80), "pause"])


class NotBegunAgainTests(ReplayCase):
    def lost(self, error: type[Exception], reason: str = "") -> None:
        self.assertEqual(self.app.take()[-1], ended(error, reason))
        self.assertEqual(self.wanted, [])

    def answered(self, *frames: Frame) -> None:
        self.feed(self.first, *frames)

    def test_after_accept(self) -> None:
        self.answered(Accept())
        self.lose(self.first, ConnectionLost())
        self.lost(ConnectionLost)

    def test_after_accept_by_a_server_that_retires(self) -> None:
        self.answered(Retire(), Accept())
        self.first.readConnectionLost()
        self.lost(LegTruncated)

    def test_after_refuse(self) -> None:
        self.answered(Refuse("no_rule"))
        self.lost(LegRefused, "no_rule")

    def test_after_a_breach_of_the_protocol(self) -> None:
        self.answered(Fin())
        self.lost(LegMalformed, "Fin in state OPENING")

    def test_after_more_than_is_kept(self) -> None:
        self.app.transport.write(bytes(MAX_KEPT))
        self.app.transport.write(b"x")
        self.first.readConnectionLost()
        self.lost(LegTruncated)

    def test_what_is_kept_may_be_replayed_to_the_last_byte(self) -> None:
        self.app.transport.write(bytes(MAX_KEPT))
        self.first.readConnectionLost()
        self.assertEqual(len(self.wanted), 1)

    def test_what_was_sent_when_anybody_on_the_way_may_have_ended_the_leg(self) -> None:
        """Who has let it pass, and held the answer back, would have it served twice."""
        for error in (
            ConnectionLost(),
            TlsError(TlsFailure.TRUNCATED, "the peer ended TCP without close_notify"),
            TlsError(TlsFailure.OTHER, "decryption failed or bad record mac"),
        ):
            self.setUp()
            self.app.transport.write(b"all")
            self.lose(self.first, error)
            self.assertEqual((self.app.take()[-1][0], self.wanted), (type(error), []))

    def test_after_a_while(self) -> None:
        self.clock.advance(PROMPT + 0.1)
        self.lose(self.first, ConnectionLost())
        self.lost(ConnectionLost)

    def test_after_our_own_reset(self) -> None:
        self.app.transport.abortConnection()
        self.lose(self.first, ConnectionLost())
        self.lost(ConnectionAborted)

    def test_a_connection_on_a_new_leg(self) -> None:
        leg = self.client()
        self.feed(leg, Reset())
        self.assertApp(ended(LegReset))


class NoOtherLegTests(ReplayCase):
    def test_why_there_is_none_is_why_the_connection_is_lost(self) -> None:
        self.lose(self.first, ConnectionDone())
        self.wanted[0].errback(TlsError(TlsFailure.UNKNOWN_CA, "nobody's"))
        self.assertApp((TlsError, str(TlsFailure.UNKNOWN_CA)))

    def test_an_abort_ends_the_search(self) -> None:
        cancelled: list[Failure] = []
        self.lose(self.first, ConnectionLost())
        self.wanted[0].addErrback(cancelled.append)
        self.app.transport.abortConnection()
        self.assertApp()
        self.turn()
        self.assertApp(ended(ConnectionAborted))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_search_is_cancelled(self) -> None:
        told: list[Deferred[LegClient]] = []
        self.connect = lambda: Deferred(told.append)  # type: ignore[method-assign]
        self.below = Below()
        first = self.kept()
        self.lose(first, ConnectionLost())
        self.app.transport.abortConnection()
        self.assertEqual(len(told), 1)

    def test_too_much_meanwhile_ends_it(self) -> None:
        self.lose(self.first, ConnectionLost())
        self.app.transport.write(bytes(MAX_KEPT + 1))
        self.app.transport.write(b"more")
        self.turn()
        self.assertApp(ended(ConnectionLost))
