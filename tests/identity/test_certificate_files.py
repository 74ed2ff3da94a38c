"""Credentials follow their files until they expire."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import ConfigError
from meshtx.identity.certificate_files import CertificateFiles
from meshtx.identity.source import ICredentialsSource
from meshtx.pki.credentials import Credentials
from meshtx.pki.name import Name
from meshtx.watch import INTERVAL
from tests.identity.made import START, Mesh, write_credentials
from tests.pki.made import VOTING, WEB

DAY = 86_400.0


class CertificateFilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.mesh = Mesh()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.anchors = self.folder / "ca.crt"
        self.anchors.write_bytes(self.mesh.trust.to_pem())
        self.now = START
        self.changes: list[Credentials | None] = []
        self.first = self.mesh.credentials()
        write_credentials(self.folder, self.first)

    def make(self, name: Name | None = None, fixed: bool = False) -> CertificateFiles:
        return CertificateFiles(
            self.folder / "tls.crt",
            self.folder / "tls.key",
            self.mesh.trust if fixed else self.anchors,
            self.clock,
            name=name,
            wall=lambda: self.now,
        )

    def start(self, name: Name | None = None, fixed: bool = False) -> CertificateFiles:
        source = self.make(name, fixed)
        source.subscribe(lambda: self.changes.append(source.credentials))
        source.startService()
        self.addCleanup(source.stopService)
        return source

    def serials(self, *credentials: Credentials | None) -> list[int | None]:
        return [each and each.chain[0].serial_number for each in credentials]

    def test_they_are_there_before_the_start(self) -> None:
        source: ICredentialsSource = self.make()
        self.assertEqual(self.serials(source.credentials), self.serials(self.first))
        self.assertEqual((source.trust, source.ready_reason()), (self.mesh.trust, None))
        self.successResultOf(source.first())

    def test_new_ones_are_swapped_in(self) -> None:
        source = self.start()
        second = self.mesh.credentials()
        write_credentials(self.folder, second)
        self.clock.advance(INTERVAL)
        self.assertEqual(self.serials(*self.changes), self.serials(second))
        self.assertEqual(self.serials(source.credentials), self.serials(second))

    def test_new_anchors_are_swapped_in_with_them(self) -> None:
        source = self.start()
        self.mesh = Mesh()
        self.anchors.write_bytes(self.mesh.trust.to_pem())
        write_credentials(self.folder, self.mesh.credentials())
        self.clock.advance(INTERVAL)
        self.assertEqual((source.trust, len(self.changes)), (self.mesh.trust, 1))

    def test_anchors_may_be_given_as_a_value(self) -> None:
        self.anchors.unlink()
        self.assertIsNone(self.start(fixed=True).ready_reason())

    def test_what_does_not_verify_is_not_taken_and_the_old_stays(self) -> None:
        source = self.start(WEB)
        for bad, problem in (
            (Mesh().credentials(), "does not verify against the trust anchors"),
            (self.mesh.credentials(now=START + DAY), "not yet valid"),
            (self.mesh.credentials(VOTING), "name_mismatch"),
        ):
            write_credentials(self.folder, bad)
            self.clock.advance(INTERVAL)
            self.assertIn(problem, source.problem or "")
        self.assertEqual(self.serials(source.credentials), self.serials(self.first))
        self.assertEqual((self.changes, source.ready_reason()), ([], None))

    def test_expired_ones_are_withdrawn_until_new_ones_come(self) -> None:
        source = self.start()
        self.now += DAY - 60
        self.clock.advance(INTERVAL)
        self.assertIn("the certificate expires at", source.ready_reason() or "")
        self.now += 61
        self.clock.advance(INTERVAL)
        self.assertEqual((source.credentials, source.ready_reason()), (None, "no valid certificate"))
        second = self.mesh.credentials(now=self.now)
        write_credentials(self.folder, second)
        self.clock.advance(INTERVAL)
        self.assertEqual(self.serials(*self.changes), self.serials(None, second))
        self.assertIsNone(source.ready_reason())

    def test_those_that_a_wrong_clock_took_for_expired_are_used_again_once_it_is_right(self) -> None:
        """The files are the same, and there may be no others for months."""
        source = self.start()
        self.now += 2 * DAY
        self.clock.advance(INTERVAL)
        self.assertIsNone(source.credentials)
        self.now -= 2 * DAY
        self.clock.pump([INTERVAL] * 3)
        self.assertEqual(self.serials(*self.changes), self.serials(None, self.first))
        self.assertIsNone(source.ready_reason())

    def test_expired_ones_at_the_start_are_waited_out(self) -> None:
        self.now += 2 * DAY
        with capturedLogs() as events:
            source = self.start()
        waiting = source.first()
        self.assertIsNone(source.credentials)
        self.assertIn("certificate has expired", source.ready_reason() or "")
        problem = f"certificate: does not verify against the trust anchors: certificate has expired (CN={WEB})"
        self.assertEqual(
            [formatEvent(event) for event in events],
            [f"certificate in {self.folder / 'tls.crt'}: none is in use: {problem}"],
        )
        write_credentials(self.folder, self.mesh.credentials(now=self.now))
        self.clock.advance(INTERVAL)
        self.successResultOf(waiting)

    def test_at_the_start_a_bad_file_is_an_error(self) -> None:
        (self.folder / "tls.key").write_bytes(self.mesh.credentials().key_pem())
        error = self.assertRaises(ConfigError, self.make)
        self.assertIn("the private key is not the certificate's; mend the file and start again", str(error))
        key = self.folder / "tls.key"
        key.write_bytes(b"no key")
        error = self.assertRaises(ConfigError, self.make)
        self.assertTrue(error.problem.startswith(f"{key}: holds no PEM block"), error.problem)
        (self.folder / "tls.crt").unlink()
        error = self.assertRaises(ConfigError, self.make)
        self.assertEqual((error.key, error.problem), (str(self.folder / "tls.crt"), "no such file or directory"))
