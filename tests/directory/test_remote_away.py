"""The directory that a service serves: while it is away, and how one session follows another."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs, formatEvent

from meshtx.directory.follower import LEISURE, PATIENCE, SETTLED
from meshtx.directory.remote import SWEEP, UNUSED
from meshtx.net.contexts import Contexts
from meshtx.rpc.connect import Unreachable
from meshtx.rpc.messages import directory_pb2 as pb
from meshtx.rpc.status import RpcError, Status
from tests.directory.remote_case import CA, FIRST, SECOND, RemoteCase, meshed, plain
from tests.directory.scripted import UNKNOWN
from tests.directory.told import EMOJI, table, workload
from tests.net.certificates import WEB, make_leaf, now


class AwayTests(RemoteCase):
    def setUp(self) -> None:
        super().setUp()
        self.start()
        self.know("10.1.0.2:80")
        self.clock.advance(SETTLED)

    def test_what_is_known_holds_and_the_unknown_is_refused(self) -> None:
        self.service.refuses = Unreachable("connecting to 10.0.0.7:8086: Connection refused")
        waiting = self.find("10.1.0.3:80")
        self.stream.cut()
        self.later(1)
        self.assertIn("10.1.0.3:80 was never known", self.refused(waiting))
        self.assertIn("Connection refused", self.refused(self.find("10.1.0.3:80")))
        self.assertEqual(self.successResultOf(self.find("10.1.0.2:80")), meshed("10.1.0.2:80"))
        self.assertEqual(self.successResultOf(self.find("192.0.2.1:80")), plain("192.0.2.1:80"))
        self.assertTrue(self.directory.ready)

    def test_who_is_refused_may_take_another_along(self) -> None:
        self.service.refuses = Unreachable("nobody")
        self.stream.cut()
        first, second = (self.find(f"10.1.0.{last}:80") for last in (3, 4))
        first.addErrback(lambda _: second.cancel())
        self.later(1)
        self.assertIsNone(self.successResultOf(first))
        self.failureResultOf(second, CancelledError)
        self.service.refuses = None
        self.later()
        self.assertEqual(len(self.service.streams), 2)

    def test_so_he_may_when_the_proxy_stops(self) -> None:
        self.stream.cut()
        first, second = (self.find(f"10.1.0.{last}:80") for last in (3, 4))
        first.addErrback(lambda _: second.cancel())
        stopped = self.directory.stopService()
        self.assertIsNone(self.successResultOf(first))
        self.failureResultOf(second, CancelledError)
        self.successResultOf(stopped)

    def test_who_asks_meanwhile_waits_for_the_first_attempt(self) -> None:
        """So nobody notices when one directory takes another one's place."""
        before = self.find("10.1.0.3:80")
        self.stream.end()
        self.assertTrue(self.stream.lost)
        after = self.find("10.1.0.4:80")
        self.service.answers |= {text: workload(text) for text in ("10.1.0.3:80", "10.1.0.4:80")}
        self.later(1)
        self.assertEqual(len(self.service.streams), 2)
        self.assertEqual(self.successResultOf(before), meshed("10.1.0.3:80"))
        self.assertEqual(self.successResultOf(after), meshed("10.1.0.4:80"))

    def test_back_again_it_names_what_it_knows_and_hears_what_has_changed(self) -> None:
        self.stream.cut()
        self.later(1)
        self.assertEqual(self.stream.known, ["10.1.0.2:80"])
        self.stream.send(workload("10.1.0.2:80", EMOJI))
        self.assertEqual(self.successResultOf(self.find("10.1.0.2:80")), meshed("10.1.0.2:80", EMOJI))
        self.find("10.1.0.3:80")
        self.assertEqual(self.service.asked[-1], ("2", "10.1.0.3:80"))

    def test_it_tries_again_later_and_later_and_says_so_sparingly(self) -> None:
        self.service.refuses = Unreachable("nobody")
        with capturedLogs() as events:
            self.stream.cut()
            attempts = [len(self.service.contexts)]
            for _ in range(10):
                self.later()
                attempts.append(len(self.service.contexts))
        often = [after - before for before, after in pairwise(attempts)]
        self.assertGreaterEqual(often[0], 4)
        self.assertTrue(all(1 <= each <= 8 for each in often[1:]), often)
        self.assertLess(sum(often[1:]), 30)
        said = [formatEvent(event) for event in events]
        self.assertIn("the session with the directory has ended: UNAVAILABLE: the connection was lost", said[0])
        self.assertEqual(said[1], "the directory is away, and what it said last holds: nobody")
        self.assertLess(len(said), 8)

    def test_metrics_show_it(self) -> None:
        self.assertEqual((self.shown("meshtx_directory_connected"), self.shown("meshtx_directory_answers")), (1, 1))
        self.service.refuses = Unreachable("nobody")
        self.stream.cut()
        self.assertEqual(self.shown("meshtx_directory_connected"), 0)
        self.assertIsNone(self.directory.problem)
        self.later(1)
        self.assertEqual(self.directory.problem, "nobody")
        self.assertGreaterEqual(self.shown("meshtx_directory_sessions_total", result="failed") or 0, 1)
        self.assertEqual(self.shown("meshtx_directory_sessions_total", result="begun"), 1)

    def test_after_a_good_session_it_tries_soon(self) -> None:
        for number in (2, 3, 4):
            self.stream.cut()
            self.later(1)
            self.assertEqual(len(self.service.streams), number)
            self.clock.advance(SETTLED)

    def test_sessions_that_last_a_moment_are_failures(self) -> None:
        self.service.tables = [table(str(number)) for number in range(1000)]
        begun = len(self.service.streams)
        for _ in range(600):
            if not self.stream.lost:
                self.stream.cut()
            self.later(1)
        self.assertLess(len(self.service.streams) - begun, 70)

    def test_a_connection_without_a_table_is_given_up(self) -> None:
        self.service.tables, tables = [], self.service.tables
        self.stream.cut()
        self.later(1)
        self.assertEqual(len(self.service.streams), 2)
        self.clock.advance(PATIENCE)
        self.service.flush()
        self.assertTrue(self.stream.lost)
        self.assertIn("no table within 15 s", self.refused(self.find("10.1.0.3:80")))
        self.service.tables = tables
        self.later(4)
        self.know("10.1.0.3:80")

    def test_a_connection_that_does_not_come_about_is_given_up(self) -> None:
        self.service.silent = Deferred()
        self.stream.cut()
        self.later(1)
        self.clock.advance(PATIENCE)
        self.assertIn("no connection within 15 s", self.refused(self.find("10.1.0.3:80")))
        self.service.silent = None
        self.later(4)
        self.know("10.1.0.3:80")

    def test_a_stream_that_makes_no_sense_is_begun_anew(self) -> None:
        for nonsense in (pb.Update(answer=pb.Answer()), table("1", "10.0.0.0/8")):
            if isinstance(nonsense, pb.Table):
                nonsense.mesh_networks[0].prefix = 99
            stream = self.stream
            stream.send(nonsense)
            self.assertTrue(stream.lost)
            self.assertEqual(self.successResultOf(self.find("10.1.0.2:80")), meshed("10.1.0.2:80"))
            self.later(4)
            self.assertIsNot(self.stream, stream)

    def test_an_update_of_a_kind_to_come_is_passed_over(self) -> None:
        stream = self.stream
        stream.send(pb.Update.FromString(b"\x4a\0"))  # field 9, empty
        self.assertFalse(stream.lost)
        stream.send(table("1", "10.0.0.0/8"))
        self.assertFalse(stream.lost)
        self.know("10.1.0.3:80")

    def test_a_stream_that_begins_with_nonsense_is_no_session(self) -> None:
        bad = table("")
        self.service.tables[:0] = [bad]
        self.stream.cut()
        self.later(1)
        self.assertIn("a table without a session", self.refused(self.find("10.1.0.3:80")))
        self.later(4)
        self.know("10.1.0.3:80")

    def test_a_defect_of_ours_is_no_end(self) -> None:
        self.service.refuses = ZeroDivisionError()
        self.stream.cut()
        self.later(1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.service.refuses = None
        self.later(4)
        self.know("10.1.0.3:80")


class SessionLostTests(RemoteCase):
    def setUp(self) -> None:
        super().setUp()
        self.start()
        self.know("10.1.0.2:80")

    def test_who_asks_gets_the_answer_from_the_next_session(self) -> None:
        self.clock.advance(SETTLED)
        other = self.find("10.1.0.4:80")
        self.service.answers["10.1.0.3:80"] = UNKNOWN
        waiting = self.find("10.1.0.3:80")
        self.assertNoResult(waiting)
        self.service.answers |= {text: workload(text) for text in ("10.1.0.3:80", "10.1.0.4:80")}
        self.later(0.5)
        self.assertEqual(self.successResultOf(waiting), meshed("10.1.0.3:80"))
        self.assertEqual(self.successResultOf(other), meshed("10.1.0.4:80"))
        self.assertEqual(self.stream.known, ["10.1.0.2:80"])
        self.assertEqual(self.service.asked[-2:], [("2", "10.1.0.4:80"), ("2", "10.1.0.3:80")])

    def test_a_service_that_goes_away_is_left(self) -> None:
        """It tells of changes as long as it can, and takes no questions."""
        self.clock.advance(SETTLED)
        old = self.stream
        self.service.server.stop(60)
        self.service.flush()
        self.assertFalse(old.lost)
        waiting = self.find("10.1.0.3:80")
        self.assertTrue(old.lost)
        self.service.replace()
        self.service.answers["10.1.0.3:80"] = workload("10.1.0.3:80")
        self.later(0.5)
        self.assertEqual(self.successResultOf(waiting), meshed("10.1.0.3:80"))

    def test_one_that_is_lost_at_once_is_a_failure(self) -> None:
        """Else the two would go round and round."""
        self.service.answers["10.1.0.3:80"] = UNKNOWN
        self.assertIn("no such session", self.refused(self.find("10.1.0.3:80")))
        self.clock.advance(0)
        self.assertEqual(len(self.service.streams), 1)

    def test_what_is_to_be_forgotten_shows_it_too(self) -> None:
        self.service.forget_error = UNKNOWN
        self.later(UNUSED + SWEEP)
        self.clock.advance(0)
        self.assertEqual(len(self.service.streams), 2)


class RenewalTests(RemoteCase):
    def setUp(self) -> None:
        super().setUp()
        self.old = self.start()
        self.know("10.1.0.2:80")

    def renew(self, contexts: Contexts | None = SECOND) -> None:
        self.contexts = contexts
        self.directory.renewed()

    def test_the_next_session_comes_first_and_then_the_old_one_ends(self) -> None:
        self.service.tables, tables = [], self.service.tables
        self.renew()
        self.assertEqual(len(self.service.streams), 1)
        self.later(LEISURE)
        new = self.stream
        self.assertIsNot(new, self.old)
        self.assertEqual((self.old.lost, new.known), (False, ["10.1.0.2:80"]))
        self.old.send(workload("10.1.0.2:80", EMOJI))
        self.assertEqual(self.successResultOf(self.find("10.1.0.2:80")), meshed("10.1.0.2:80", EMOJI))
        new.send(tables[0])
        self.service.flush()
        self.assertTrue(self.old.lost)
        self.assertFalse(new.lost)
        self.assertEqual([self.service.contexts[0], self.service.contexts[-1]], [FIRST, SECOND])
        self.later()
        self.assertEqual(len(self.service.streams), 2)

    def test_what_became_known_meanwhile_is_asked_for_on_the_next(self) -> None:
        self.service.tables, tables = [], self.service.tables
        self.renew()
        self.later(LEISURE)
        self.service.answers["10.1.0.3:80"] = workload("10.1.0.3:80")
        found, waiting = self.find("10.1.0.3:80"), self.find("10.1.0.4:80")
        self.service.flush()
        self.assertEqual(self.successResultOf(found), meshed("10.1.0.3:80"))
        self.service.answers |= {
            "10.1.0.3:80": workload("10.1.0.3:80", EMOJI),
            "10.1.0.4:80": workload("10.1.0.4:80"),
        }
        self.stream.send(tables[0])
        self.assertEqual(self.service.asked[-2:], [(tables[0].session, f"10.1.0.{last}:80") for last in (4, 3)])
        self.assertEqual(self.successResultOf(waiting), meshed("10.1.0.4:80"))
        self.assertEqual(self.successResultOf(self.find("10.1.0.3:80")), meshed("10.1.0.3:80", EMOJI))

    def test_an_answer_that_is_not_given_again_is_not_kept(self) -> None:
        """Nobody would tell of its changes."""
        self.service.tables, tables = [], self.service.tables
        self.renew()
        self.later(LEISURE)
        self.service.answers["10.1.0.3:80"] = workload("10.1.0.3:80")
        found = self.find("10.1.0.3:80")
        self.service.flush()
        self.successResultOf(found)
        self.service.answers["10.1.0.3:80"] = RpcError(Status.UNAVAILABLE, "not now")
        self.stream.send(tables[0])
        self.refused(self.find("10.1.0.3:80"))

    def test_if_it_fails_the_old_one_goes_on_and_it_is_tried_again(self) -> None:
        self.service.refuses = Unreachable("nobody")
        self.renew()
        with capturedLogs() as events:
            self.later(LEISURE)
        self.assertIn("no new session with the directory, the old one goes on: nobody", map(formatEvent, events))
        self.assertGreater(len(self.service.contexts), 1)
        self.assertFalse(self.old.lost)
        self.service.refuses = None
        self.later()
        self.service.flush()
        self.assertTrue(self.old.lost)
        self.assertEqual(len(self.service.streams), 2)

    def test_it_is_done_before_the_old_ones_expire(self) -> None:
        start = now()
        self.contexts = Contexts(
            make_leaf(CA, WEB, not_before=start, not_after=start + timedelta(seconds=20)), CA.trust
        )
        self.directory.stopService()
        self.service.flush()
        self.clock.rightNow = start.timestamp()
        self.start()
        self.later(18)
        self.renew()
        self.later(1)
        self.assertEqual(len(self.service.streams), 3)

    def test_credentials_that_are_gone_end_nothing(self) -> None:
        self.renew(None)
        self.later()
        self.assertFalse(self.old.lost)
        self.assertEqual(len(self.service.streams), 1)

    def test_those_that_come_while_a_session_is_begun_are_used_afterwards(self) -> None:
        self.service.tables, tables = [], self.service.tables
        self.old.cut()
        self.later(4)
        self.renew()
        self.later(1)
        self.stream.send(tables.pop(0))
        self.service.tables = tables
        self.later(LEISURE)
        self.assertEqual(self.service.contexts[-1], SECOND)
        self.assertEqual(len(self.service.streams), 3)
