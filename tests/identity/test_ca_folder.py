"""A certificate authority on disk, made once, with issuers that follow one another."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import ConfigError
from meshtx.identity import ca_folder
from meshtx.identity.issuer_files import IssuerFiles
from meshtx.identity.local_tokens import LocalValidator
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.name import MeshScope
from meshtx.pki.pem import read_certificates
from meshtx.watch import INTERVAL
from tests.identity.made import START
from tests.net.certificates import make_ca
from tests.pki.made import NOW, SCOPE, WEB

DAY = timedelta(days=1)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def modes(self) -> dict[str, int]:
        return {
            str(path.relative_to(self.folder)): stat.S_IMODE(path.stat().st_mode)
            for path in self.folder.rglob("*")
            if ".." not in str(path.relative_to(self.folder))
        }


class InitTests(Case):
    def test_everything_is_there_and_private_is_what_must_be(self) -> None:
        ca_folder.init(self.folder, SCOPE, NOW)
        self.assertEqual(
            self.modes(),
            {
                "ca-bundle.crt": 0o644,
                "root.crt": 0o644,
                "root.key": 0o600,
                "issuer": 0o700,
                "issuer/tls.crt": 0o644,
                "issuer/tls.key": 0o600,
                "issuer/ca.crt": 0o644,
                "token.key": 0o600,
                "token.pub": 0o644,
            },
        )
        self.assertEqual(stat.S_IMODE(self.folder.stat().st_mode), 0o700)

    def test_it_says_what_it_made_and_until_when(self) -> None:
        made = ca_folder.init(self.folder, SCOPE, NOW, 10 * DAY, 2 * DAY)
        self.assertEqual(made, ca_folder.Made(self.folder, self.folder / "issuer", NOW + 10 * DAY, NOW + 2 * DAY))

    def test_the_identity_service_takes_the_issuer_and_workloads_the_bundle(self) -> None:
        ca_folder.init(self.folder, SCOPE, NOW)
        loaded = IssuerFiles(self.folder / "issuer", Clock(), name=WEB, wall=lambda: START).loaded
        self.assertEqual(loaded.trust, TrustBundle.from_pem((self.folder / "ca-bundle.crt").read_bytes()))
        self.assertEqual(
            [each.subject.rfc4514_string() for each in loaded.issuer.chain],
            ["CN=identity.meshtx.cluster.local", "CN=root.meshtx.cluster.local"],
        )

    def test_a_folder_that_holds_an_anchor_is_left_alone(self) -> None:
        ca_folder.init(self.folder, SCOPE, NOW)
        before = {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        error = self.assertRaises(ConfigError, ca_folder.init, self.folder, SCOPE, NOW)
        self.assertEqual(str(error), f"{self.folder}: holds a trust anchor already (root.crt); name an empty folder")
        self.assertEqual({path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}, before)

    def test_any_part_of_an_authority_is_in_the_way(self) -> None:
        for name in ("root.crt", "root.key", "ca-bundle.crt", "token.key", "issuer"):
            folder = Path(self.mktemp())
            folder.mkdir()
            (folder / name).write_text("")
            self.assertRaises(ConfigError, ca_folder.init, folder, SCOPE, NOW)
            self.assertEqual([each.name for each in folder.iterdir()], [name])

    def test_the_mode_of_a_folder_with_other_files_is_not_changed(self) -> None:
        self.folder.mkdir()
        self.folder.chmod(0o755)
        (self.folder / "README").write_text("ours")
        ca_folder.init(self.folder, SCOPE, NOW)
        self.assertEqual(stat.S_IMODE(self.folder.stat().st_mode), 0o755)
        self.assertEqual(self.modes()["root.key"], 0o600)

    def test_an_empty_folder_is_made_private(self) -> None:
        self.folder.mkdir()
        self.folder.chmod(0o755)
        ca_folder.init(self.folder, SCOPE, NOW)
        self.assertEqual(stat.S_IMODE(self.folder.stat().st_mode), 0o700)

    def test_a_folder_that_cannot_be_made_is_an_error(self) -> None:
        self.folder.write_text("a file")
        error = self.assertRaises(ConfigError, ca_folder.init, self.folder / "mesh", SCOPE, NOW)
        self.assertEqual(str(error), f"{self.folder / 'mesh'}: not a directory; name another folder")


class IssuerTests(Case):
    def test_a_running_identity_service_takes_the_next_issuer_up(self) -> None:
        ca_folder.init(self.folder, SCOPE, NOW)
        clock, changes = Clock(), [0]
        files = IssuerFiles(
            self.folder / "issuer", clock, name=WEB, wall=lambda: START, changed=lambda: changes.append(1)
        )
        files.startService()
        self.addCleanup(files.stopService)
        before = files.loaded.issuer
        made = ca_folder.issuer(self.folder, NOW, 30 * DAY)
        clock.advance(INTERVAL)
        after = files.loaded.issuer
        self.assertNotEqual(after.certificate, before.certificate)
        self.assertEqual((after.chain[1], len(changes)), (before.chain[1], 2))
        self.assertEqual((made.issuer_not_after, after.not_after), (NOW + 30 * DAY, NOW + 30 * DAY))

    def test_the_scope_is_the_root_s(self) -> None:
        scope = MeshScope("linkerd", "example.org")
        ca_folder.init(self.folder, scope, NOW)
        ca_folder.issuer(self.folder, NOW)
        (issuer,) = read_certificates((self.folder / "issuer/tls.crt").read_bytes(), "issuer")
        self.assertEqual(issuer.subject.rfc4514_string(), "CN=identity.linkerd.example.org")

    def test_a_root_of_another_maker_serves_too(self) -> None:
        ca_folder.init(self.folder, SCOPE, NOW)
        other = Path(self.mktemp())
        ca_folder.init(other, SCOPE, NOW)
        for name in ("tls.crt", "tls.key"):  # an authority with another kind of subject
            target = "root." + name[4:]
            (self.folder / target).write_bytes((other / "issuer" / name).read_bytes())
        self.assertIsInstance(ca_folder.issuer(self.folder, NOW), ca_folder.Made)

    def test_all_anchors_of_the_bundle_go_with_it(self) -> None:
        ca_folder.init(self.folder, SCOPE, NOW)
        other = Path(self.mktemp())
        ca_folder.init(other, SCOPE, NOW)
        bundle = self.folder / "ca-bundle.crt"
        bundle.write_bytes(bundle.read_bytes() + (other / "ca-bundle.crt").read_bytes())
        ca_folder.issuer(self.folder, NOW)
        self.assertEqual((self.folder / "issuer/ca.crt").read_bytes(), bundle.read_bytes())

    def test_an_anchor_that_handshakes_refuse_is_found_here(self) -> None:
        ca_folder.init(self.folder, SCOPE, NOW)
        weak = make_ca("old", key=rsa.generate_private_key(65537, 1024))
        with (self.folder / "ca-bundle.crt").open("a") as bundle:
            bundle.write(weak.pem)
        self.assertIn("ca-bundle.crt: certificate 2 (CN=old): has an RSA key of 1024 bits", self.problem())

    def problem(self, at: timedelta = timedelta()) -> str:
        return str(self.assertRaises(ConfigError, ca_folder.issuer, self.folder, NOW + at))

    def test_each_problem_is_one_sentence(self) -> None:
        hint = "name a folder that 'meshtx ca init' has made, and bring the root key back if it is kept elsewhere"
        self.assertEqual(self.problem(), f"{self.folder / 'root.crt'}: no such file or directory; {hint}")
        ca_folder.init(self.folder, SCOPE, NOW, DAY)
        self.assertIn("root.crt: the root expired at", self.problem(2 * DAY))
        key = (self.folder / "root.key").read_bytes()
        (self.folder / "root.key").write_bytes((self.folder / "token.key").read_bytes())
        self.assertEqual(self.problem(), f"{self.folder / 'root.key'}: is not the key of root.crt; {hint}")
        (self.folder / "root.key").write_bytes(b"hello")
        self.assertIn("root.key: holds no PEM block", self.problem())
        (self.folder / "root.key").unlink()
        self.assertEqual(self.problem(), f"{self.folder / 'root.key'}: no such file or directory; {hint}")
        (self.folder / "root.key").write_bytes(key)
        ca_folder.issuer(self.folder, NOW)


class TokenTests(Case):
    def test_the_validator_with_the_public_key_takes_it(self) -> None:
        ca_folder.init(self.folder, SCOPE, NOW)
        token = ca_folder.create_token(self.folder, "emojivoto", "web", START)
        validator = LocalValidator.from_pem((self.folder / "token.pub").read_bytes())
        self.assertEqual(validator.validate(token.encode(), SCOPE, START), WEB)

    def test_each_problem_is_one_sentence(self) -> None:
        def problem(namespace: str = "shop", account: str = "web", lifetime: timedelta = DAY) -> str:
            return str(
                self.assertRaises(ConfigError, ca_folder.create_token, self.folder, namespace, account, START, lifetime)
            )

        hint = "name a folder that 'meshtx ca init' has made"
        path = self.folder / "token.key"
        self.assertEqual(problem(), f"{path}: no such file or directory; {hint}")
        ca_folder.init(self.folder, SCOPE, NOW)
        self.assertIn("shop/web.v2: service account 'web.v2' is not a DNS label", problem(account="web.v2"))
        self.assertEqual(
            problem(lifetime=2 * DAY),
            "lifetime: a lifetime of 2 days, 0:00:00 is outside 1 s to 24 h; ask for less, and again before it ends",
        )
        path.write_bytes(b"hello")
        self.assertEqual(problem(), f"token key: {path}: holds no PEM block (-----BEGIN ...-----); {hint}")
