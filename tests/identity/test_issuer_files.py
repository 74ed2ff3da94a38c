"""The issuer follows its folder, in both layouts, and a bad one is not taken."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import ConfigError, CredentialsError
from meshtx.files import write_folder
from meshtx.identity.issuer_files import IssuerFiles
from meshtx.pki.issuer import Issuer, start_certificate
from meshtx.pki.keys import new_key
from meshtx.watch import INTERVAL, Reload
from tests.identity.made import START, Mesh, issuer_pems
from tests.pki.made import NOW, WEB

DAY = timedelta(days=1)


class IssuerFilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.mesh = Mesh()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.now = START
        self.changes: list[Issuer] = []
        self.reloads: list[Reload] = []

    def write(self, issuer: Issuer, names: tuple[str, str] = ("tls.crt", "tls.key"), anchors: bool = True) -> None:
        for name, text in zip(names, issuer_pems(issuer), strict=True):
            (self.folder / name).write_bytes(text)
        if anchors:
            (self.folder / "ca.crt").write_bytes(self.mesh.trust.to_pem())

    def start(self, trust_file: Path | None = None) -> IssuerFiles:
        files = IssuerFiles(
            self.folder,
            self.clock,
            name=WEB,
            trust_file=trust_file,
            wall=lambda: self.now,
            changed=lambda: self.changes.append(files.loaded.issuer),
            reloaded=self.reloads.append,
        )
        files.startService()
        self.addCleanup(files.stopService)
        return files

    def said_at_next_look(self) -> str:
        with capturedLogs() as events:
            self.clock.advance(INTERVAL)
        return "\n".join(map(formatEvent, events))

    def test_cert_manager_s_layout(self) -> None:
        self.write(self.mesh.issuer)
        loaded = self.start().loaded
        self.assertEqual((loaded.issuer.chain, loaded.trust), (self.mesh.issuer.chain, self.mesh.trust))

    def test_linkerd_s_layout_with_anchors_elsewhere(self) -> None:
        self.write(self.mesh.issuer, ("crt.pem", "key.pem"), anchors=False)
        anchors = Path(self.mktemp())
        anchors.write_bytes(self.mesh.trust.to_pem())
        loaded = self.start(anchors).loaded
        self.assertEqual((loaded.issuer.chain, loaded.trust), (self.mesh.issuer.chain, self.mesh.trust))

    def test_a_new_issuer_is_taken_up_and_told(self) -> None:
        self.write(self.mesh.issuer)
        files = self.start()
        self.assertEqual(self.changes, [])
        new = self.mesh.next_issuer()
        self.write(new)
        self.clock.advance(INTERVAL)
        self.assertEqual((files.loaded.issuer.certificate, self.reloads), (new.certificate, [Reload.OK]))
        self.assertEqual(self.changes, [files.loaded.issuer])

    def test_the_kubelet_s_swap_is_taken_up(self) -> None:
        def mount(issuer: Issuer) -> None:
            certificate, key = issuer_pems(issuer)
            files = {"tls.crt": certificate, "tls.key": key, "ca.crt": self.mesh.trust.to_pem()}
            write_folder(self.folder, files, private={"tls.key"})

        mount(self.mesh.issuer)
        files = self.start()
        new = self.mesh.next_issuer()
        mount(new)
        self.clock.advance(INTERVAL)
        self.assertEqual(files.loaded.issuer.certificate, new.certificate)

    def test_issuer_and_anchors_change_together(self) -> None:
        self.write(self.mesh.issuer)
        files = self.start()
        self.mesh = Mesh()
        self.write(self.mesh.issuer)
        self.clock.advance(INTERVAL)
        self.assertEqual((files.loaded.issuer.chain, files.loaded.trust), (self.mesh.issuer.chain, self.mesh.trust))

    def test_a_bad_one_keeps_the_old(self) -> None:
        self.write(self.mesh.issuer)
        files = self.start()
        before = files.loaded
        bad = Mesh().issuer
        for name, text, problem in (
            ("tls.crt", b"hello", "holds no PEM block"),
            ("tls.crt", issuer_pems(bad)[0], "the private key is not the certificate's"),
            ("tls.key", issuer_pems(bad)[1], "does not verify against the trust anchors"),
            ("ca.crt", b"", "the file is empty"),
        ):
            (self.folder / name).write_bytes(text)
            self.assertIn(problem, self.said_at_next_look())
            self.assertIs(files.loaded, before)
        self.assertEqual((self.changes, self.reloads), ([], [Reload.REJECTED] * 4))

    def test_one_whose_certificates_nobody_would_believe_keeps_the_old(self) -> None:
        self.write(self.mesh.issuer)
        files = self.start()
        before = files.loaded
        for subtree, problem in (("example.org", "permitted subtree violation"), ("cluster.local", "")):
            self.write(self.constrained(subtree))
            said = self.said_at_next_look()
            self.assertIn(problem or "loaded again", said)
            self.assertEqual(files.loaded is before, bool(problem))
        self.assertEqual(self.reloads, [Reload.REJECTED, Reload.OK])

    def constrained(self, subtree: str) -> Issuer:
        """Return an issuer below the mesh's root for names below one, which is good otherwise."""
        key = new_key()
        certificate = (
            start_certificate(self.mesh.issuer.certificate.subject, self.mesh.root.subject, NOW, NOW + DAY)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.NameConstraints([x509.DNSName(subtree)], None), critical=True)
            .sign(self.mesh.root_key, SHA256())
        )
        return Issuer(key, (certificate,))

    def test_half_a_change_is_waited_out(self) -> None:
        self.write(self.mesh.issuer)
        self.start()
        certificate, key = issuer_pems(self.mesh.next_issuer())
        (self.folder / "tls.crt").write_bytes(certificate)
        self.assertIn("private key is not", self.said_at_next_look())
        (self.folder / "tls.key").write_bytes(key)
        self.clock.advance(INTERVAL)
        self.assertEqual((len(self.changes), self.reloads), (1, [Reload.REJECTED, Reload.OK]))

    def test_an_issuer_of_tomorrow_is_taken_up_tomorrow(self) -> None:
        self.write(self.mesh.issuer)
        files = self.start()
        new = self.mesh.next_issuer(NOW + DAY)
        self.write(new)
        self.assertIn("not yet valid", self.said_at_next_look())
        self.now += DAY.total_seconds()
        self.clock.advance(INTERVAL)
        self.assertEqual(files.loaded.issuer.certificate, new.certificate)

    def test_what_was_good_when_loaded_can_be_checked_again(self) -> None:
        self.write(self.mesh.issuer)
        loaded = self.start().loaded
        loaded.check(NOW)
        self.assertRaises(CredentialsError, loaded.check, NOW + 91 * DAY)

    def test_at_the_start_each_problem_is_one_sentence(self) -> None:
        def problem() -> str:
            return str(
                self.assertRaises(ConfigError, IssuerFiles, self.folder, self.clock, name=WEB, wall=lambda: self.now)
            )

        self.assertEqual(
            problem(),
            f"{self.folder}: holds neither tls.crt nor crt.pem; "
            "name a folder that 'meshtx ca init' or cert-manager has made",
        )
        self.write(self.mesh.issuer, anchors=False)
        self.assertIn("ca.crt: no such file or directory; ", problem())
        self.write(self.mesh.issuer)
        self.now += 91 * 86400
        self.assertIn("certificate has expired", problem())
        key = self.folder / "tls.key"
        key.write_bytes(b"no key")
        self.assertIn(f"{key}: holds no PEM block", problem())
        key.unlink()
        self.assertIn("tls.key: no such file or directory; ", problem())
