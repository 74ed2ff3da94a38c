"""The keeper with its token file, its clocks and an identity service that answers as it is told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import ConfigError, PeerError
from meshtx.identity.certify import CertifyAnswer, CertifyArguments
from meshtx.identity.keeper_service import LONGEST_SLEEP, TIMEOUT, KeeperService, Refresh
from meshtx.identity.key_folder import KeyFolder
from meshtx.identity.source import ICredentialsSource
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.watch import INTERVAL, Reload
from tests.identity.made import START, Mesh
from tests.pki.made import VOTING, WEB

DAY = 86_400.0
RENEWAL = DAY * 2 / 3


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.wall_ahead = START
        """What the wall clock shows beyond the reactor's."""
        self.slept = 0.0
        """Seconds that the monotonic clock does not know of."""
        self.mesh = Mesh()
        self.token = Path(self.mktemp())
        self.token.write_bytes(b"token\n")
        self.asked: list[tuple[CertifyArguments, Deferred[CertifyAnswer]]] = []
        self.refreshes: list[Refresh] = []
        self.reloads: list[Reload] = []
        self.changes: list[Credentials | None] = []

    def wall(self) -> float:
        return self.clock.seconds() + self.wall_ahead

    def certify(self, arguments: CertifyArguments) -> Deferred[CertifyAnswer]:
        answer: Deferred[CertifyAnswer] = Deferred()
        self.asked.append((arguments, answer))
        return answer

    def make(self, trust: TrustBundle | Path | None = None, folder: KeyFolder | None = None) -> KeeperService:
        keeper = KeeperService(
            WEB,
            self.certify,
            self.token,
            trust or self.mesh.trust,
            self.clock,
            key_folder=folder,
            wall=self.wall,
            monotonic=lambda: self.clock.seconds() - self.slept,
            jitter=lambda: 0.5,
            refreshed=self.refreshes.append,
            reloaded=self.reloads.append,
        )
        keeper.subscribe(lambda: self.changes.append(keeper.credentials))
        return keeper

    def start(self, trust: TrustBundle | Path | None = None, folder: KeyFolder | None = None) -> KeeperService:
        keeper = self.make(trust, folder)
        keeper.startService()
        self.addCleanup(self.stop, keeper)
        return keeper

    def stop(self, keeper: KeeperService) -> None:
        if keeper.running:
            keeper.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def answer(self, mesh: Mesh | None = None) -> None:
        """Answer the last request."""
        arguments, deferred = self.asked[-1]
        deferred.callback((mesh or self.mesh).answer(arguments, self.wall()))

    def certified(self) -> KeeperService:
        keeper = self.start()
        self.answer()
        return keeper

    def pass_time(self, seconds: float) -> None:
        """Let time go by as it does, in steps of a minute at most."""
        steps = int(seconds // LONGEST_SLEEP)
        self.clock.pump([LONGEST_SLEEP] * steps)
        self.clock.advance(seconds - steps * LONGEST_SLEEP)


class RequestTests(Case):
    def test_the_first_certificate_is_asked_for_at_the_start(self) -> None:
        keeper: ICredentialsSource = self.start()
        waiting = keeper.first()
        self.assertEqual((keeper.credentials, keeper.ready_reason()), (None, "no valid certificate"))
        self.answer()
        credentials = self.successResultOf(waiting)
        self.assertIs(keeper.credentials, credentials)
        self.assertEqual((credentials.name, keeper.ready_reason(), self.refreshes), (WEB, None, [Refresh.OK]))
        self.assertEqual(self.changes, [credentials])

    def test_the_token_is_sent_untouched_and_read_each_time(self) -> None:
        self.certified()
        self.token.write_bytes(b"another")
        self.pass_time(RENEWAL)
        self.assertEqual([arguments.token for arguments, _ in self.asked], [b"token\n", b"another"])

    def test_each_request_has_a_new_key_and_the_present_certificate(self) -> None:
        keeper = self.certified()
        first = keeper.credentials
        assert first is not None
        self.pass_time(RENEWAL)
        self.answer()
        second = keeper.credentials
        assert second is not None
        self.assertNotEqual(first.key_pem(), second.key_pem())
        self.assertEqual([arguments.credentials for arguments, _ in self.asked], [None, first])
        self.assertEqual([arguments.trust for arguments, _ in self.asked], [self.mesh.trust] * 2)

    def test_arguments_show_no_token(self) -> None:
        self.start()
        self.assertNotIn("token", repr(self.asked[0][0]))

    def test_an_unreadable_token_is_a_reason_and_is_tried_again(self) -> None:
        self.token.unlink()
        keeper = self.start()
        hint = "write a token of 'meshtx token create', or mount a service account token"
        self.assertEqual(
            keeper.ready_reason(), f"no valid certificate: {self.token}: no such file or directory; {hint}"
        )
        self.token.write_bytes(b"")
        self.pass_time(1)
        self.assertEqual(keeper.ready_reason(), f"no valid certificate: {self.token}: the file is empty; {hint}")
        self.token.write_bytes(b"x" * 16385)
        self.pass_time(2)
        self.assertIn("the file is longer than 16384 bytes", keeper.ready_reason() or "")
        self.assertEqual(self.asked, [])
        self.token.write_bytes(b"token")
        self.pass_time(4)
        self.answer()
        self.assertIsNone(keeper.ready_reason())
        self.assertEqual(set(self.refreshes[:-1]), {Refresh.ERROR})

    def test_a_refusal_is_a_reason(self) -> None:
        keeper = self.start()
        refusal = PeerError("the token has expired")
        self.asked[0][1].errback(refusal)
        self.assertEqual(keeper.ready_reason(), "no valid certificate: the token has expired")
        self.assertIsNone(refusal.__traceback__, "its frames lead to who has asked")

    def test_silence_is_a_reason_after_a_while(self) -> None:
        keeper = self.start()
        self.pass_time(TIMEOUT)
        self.assertEqual(keeper.ready_reason(), "no valid certificate: no answer from the identity service within 30 s")
        self.pass_time(1)
        self.assertEqual(len(self.asked), 2)

    def test_a_defect_is_logged_and_is_tried_again(self) -> None:
        keeper = self.start()
        self.asked[0][1].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(keeper.problem, "internal error: ZeroDivisionError")
        self.pass_time(1)
        self.answer()
        self.assertIsNone(keeper.problem)

    def test_an_answer_that_a_peer_would_refuse_is_not_used(self) -> None:
        keeper = self.start()
        arguments, deferred = self.asked[0]
        deferred.callback(Mesh().answer(arguments, self.wall()))
        self.assertIn("does not verify against the trust anchors", keeper.problem or "")
        self.pass_time(1)
        _, deferred = self.asked[1]
        other = self.mesh.credentials(VOTING)
        deferred.callback(CertifyAnswer(*_as_answer(other)))
        self.assertIn("the private key is not the certificate's", keeper.problem or "")
        self.pass_time(2)
        _, deferred = self.asked[2]
        deferred.callback(CertifyAnswer(b""))
        self.assertIn("cannot be read", keeper.problem or "")
        self.assertEqual((keeper.credentials, self.changes), (None, []))

    def test_an_answer_that_is_there_at_once_is_taken(self) -> None:
        keeper = self.make()
        keeper._certify = lambda arguments: _fired(self.mesh.answer(arguments, self.wall()))
        keeper.startService()
        self.addCleanup(self.stop, keeper)
        self.assertIsNotNone(keeper.credentials)
        self.pass_time(RENEWAL)
        self.assertEqual(len(self.changes), 2)

    def test_a_stop_in_the_middle_of_a_request_ends_it_quietly(self) -> None:
        keeper = self.start()
        keeper.stopService()
        self.assertTrue(self.asked[0][1].called)
        self.assertEqual((self.refreshes, self.clock.getDelayedCalls()), ([], []))

    def test_after_a_stop_it_can_be_started_again(self) -> None:
        keeper = self.start()
        keeper.stopService()
        keeper.startService()
        self.assertEqual(len(self.asked), 2)
        self.answer()
        keeper.stopService()
        keeper.startService()
        self.pass_time(RENEWAL)
        self.assertEqual(len(self.asked), 3)


class TimeTests(Case):
    def test_renewal_comes_after_two_thirds_and_not_before(self) -> None:
        self.certified()
        self.pass_time(RENEWAL - 1)
        self.assertEqual(len(self.asked), 1)
        self.pass_time(1)
        self.assertEqual(len(self.asked), 2)

    def test_a_failing_renewal_leaves_the_certificate_in_use_and_readiness_green(self) -> None:
        keeper = self.certified()
        first = keeper.credentials
        self.pass_time(RENEWAL)
        for _ in range(5):
            self.asked[-1][1].errback(PeerError("unavailable"))
            self.pass_time(61)
        self.assertIs(keeper.credentials, first)
        self.assertEqual((keeper.ready_reason(), keeper.problem), (None, "unavailable"))
        self.assertEqual((self.changes, len(self.asked)), ([first], 7))

    def test_readiness_is_red_in_the_last_two_minutes(self) -> None:
        keeper = self.certified()
        self.pass_time(RENEWAL)
        self.asked[-1][1].errback(PeerError("unavailable"))
        self.wall_ahead += DAY - 121 - (self.wall() - START)
        self.assertIsNone(keeper.ready_reason())
        self.wall_ahead += 1
        self.assertIn("the certificate expires at", keeper.ready_reason() or "")

    def test_an_expired_certificate_is_withdrawn_and_the_asking_goes_on(self) -> None:
        keeper = self.certified()
        self.pass_time(RENEWAL)
        self.pass_time(DAY - RENEWAL)
        self.assertEqual((keeper.credentials, self.changes[-1]), (None, None))
        self.assertEqual(len(self.flushLoggedErrors()), 0)
        count = len(self.asked)
        while len(self.asked) == count:
            self.pass_time(1)
        self.answer()
        self.assertIsNotNone(keeper.credentials)

    def test_a_machine_that_slept_asks_within_a_minute_of_waking(self) -> None:
        keeper = self.certified()
        self.pass_time(100)
        self.wall_ahead += 3 * DAY  # the reactor's and the monotonic clock stood still
        self.pass_time(LONGEST_SLEEP)
        self.assertEqual((keeper.credentials, len(self.asked)), (None, 2))
        self.answer()
        self.assertIsNone(keeper.ready_reason())

    def test_a_wall_clock_set_back_does_not_put_the_renewal_off(self) -> None:
        self.certified()
        self.pass_time(100)
        self.wall_ahead -= 10 * DAY
        self.pass_time(RENEWAL - 100)
        self.assertEqual(len(self.asked), 2)

    def test_the_clocks_are_looked_at_once_a_minute_and_nothing_else_happens(self) -> None:
        self.certified()
        self.pass_time(600)
        (timer,) = self.clock.getDelayedCalls()
        self.assertEqual((timer.getTime() - self.clock.seconds(), len(self.asked)), (LONGEST_SLEEP, 1))


class AnchorsTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.anchors = Path(self.mktemp())
        self.anchors.write_bytes(self.mesh.trust.to_pem())

    def test_new_anchors_are_used_from_the_next_look_on(self) -> None:
        keeper = self.start(self.anchors)
        self.answer()
        other = Mesh()
        both = TrustBundle((*self.mesh.trust.anchors, *other.trust.anchors))
        self.anchors.write_bytes(both.to_pem())
        self.clock.advance(INTERVAL)
        self.assertEqual((keeper.trust, len(self.changes), len(self.asked)), (both, 2, 1))

    def test_anchors_without_our_own_ask_for_another_certificate_at_once(self) -> None:
        keeper = self.start(self.anchors)
        self.answer()
        first = keeper.credentials
        self.mesh = Mesh()
        self.anchors.write_bytes(self.mesh.trust.to_pem())
        self.clock.advance(INTERVAL)
        self.assertIs(keeper.credentials, first)
        self.assertEqual(self.asked[-1][0].trust, self.mesh.trust)
        self.answer()
        self.assertEqual((keeper.ready_reason(), len(self.asked)), (None, 2))
        self.assertIsNot(keeper.credentials, first)

    def test_anchors_that_change_before_the_first_certificate(self) -> None:
        keeper = self.start(self.anchors)
        self.mesh = Mesh()
        self.anchors.write_bytes(self.mesh.trust.to_pem())
        self.clock.advance(INTERVAL)
        self.answer()
        self.assertIsNone(keeper.ready_reason())

    def test_anchors_that_are_none_are_rejected_and_the_old_stay(self) -> None:
        keeper = self.start(self.anchors)
        self.anchors.write_bytes(b"hello")
        self.clock.advance(INTERVAL)
        self.assertEqual((keeper.trust, self.reloads), (self.mesh.trust, [Reload.REJECTED]))

    def test_an_unusable_file_is_an_error_at_the_start(self) -> None:
        self.anchors.write_bytes(b"hello")
        error = self.assertRaises(ConfigError, self.start, self.anchors)
        self.assertIn("holds no PEM block", str(error))


class KeyFolderTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp())
        self.path.mkdir()
        device = self.path.stat().st_dev
        mounts = Path(self.mktemp())
        mounts.write_text(f"1 1 {device >> 8 & 0xFFF}:{device & 0xFF} / / rw - tmpfs tmpfs rw\n")
        self.folder = KeyFolder(self.path, mounts)

    def test_a_restarted_program_serves_with_what_it_had(self) -> None:
        self.folder.lock()
        first = self.start(folder=self.folder)
        self.answer()
        first.stopService()
        self.folder.lock()  # which the first gave up when it stopped
        second = self.start(folder=self.folder)
        self.assertEqual((second.ready_reason(), len(self.asked)), (None, 1))
        assert first.credentials
        assert second.credentials
        self.assertEqual(second.credentials.chain, first.credentials.chain)
        self.assertEqual(self.refreshes, [Refresh.OK])
        self.pass_time(RENEWAL)
        self.assertEqual(len(self.asked), 2)

    def test_what_is_no_longer_good_is_asked_for_anew(self) -> None:
        self.folder.store(self.mesh.credentials(), self.mesh.trust)
        self.wall_ahead += 2 * DAY
        keeper = self.start(folder=self.folder)
        self.assertEqual((keeper.credentials, len(self.asked)), (None, 1))

    def test_a_folder_that_cannot_be_written_does_not_keep_the_certificate_out_of_use(self) -> None:
        keeper = self.start(folder=self.folder)
        self.path.rmdir()
        self.path.write_text("in the way")
        self.answer()
        self.assertIsNone(keeper.ready_reason())


class ShortLifeTests(Case):
    def test_certificates_of_seconds_are_renewed_in_time(self) -> None:
        self.mesh = Mesh(timedelta(seconds=30))
        keeper = self.start()
        for _ in range(5):
            self.answer()
            self.assertIsNone(keeper.ready_reason())
            self.pass_time(20)
        self.assertEqual(len(self.asked), 6)


def _fired(answer: CertifyAnswer) -> Deferred[CertifyAnswer]:
    deferred: Deferred[CertifyAnswer] = Deferred()
    deferred.callback(answer)
    return deferred


def _as_answer(credentials: Credentials) -> tuple[bytes, tuple[bytes, ...]]:

    leaf, *others = (each.public_bytes(Encoding.DER) for each in credentials.chain)
    return leaf, tuple(others)
