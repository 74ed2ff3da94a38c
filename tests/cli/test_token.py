"""``meshtx token``, from the words to a token that is taken."""

from __future__ import annotations

import os
import stat
import time
from datetime import UTC, datetime
from pathlib import Path

from meshtx.identity import ca_folder
from meshtx.identity.local_tokens import LocalValidator
from meshtx.identity.validator import TokenRejected
from meshtx.pki.name import MeshScope
from tests.cli.test_main import Case

SCOPE = MeshScope()


class TokenTests(Case):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        ca_folder.init(self.folder, SCOPE, datetime.now(UTC))
        self.validator = LocalValidator.from_pem((self.folder / "token.pub").read_bytes())

    def test_it_is_printed(self) -> None:
        status, out, err = self.run_line("token", "create", "shop/web", "--ca", str(self.folder))
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(self.validator.validate(out.encode(), SCOPE, time.time()), SCOPE.name("shop", "web"))
        self.assertRaises(TokenRejected, self.validator.validate, out.encode(), SCOPE, time.time() + 3601)

    def test_it_is_written_for_its_owner_only(self) -> None:
        path = Path(self.mktemp())
        arguments = ("token", "create", "shop/web", "--ca", str(self.folder), "--lifetime=24h", "--out", str(path))
        self.assertEqual(self.run_line(*arguments), (0, "", ""))
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.validator.validate(path.read_bytes(), SCOPE, time.time() + 23 * 3600)

    def test_root_gives_it_to_the_user_that_the_proxy_runs_as(self) -> None:
        given: list[tuple[int, int]] = []
        self.patch(os, "fchown", lambda _, user, group: given.append((user, group)))
        path = Path(self.mktemp())
        arguments = ("token", "create", "shop/web", "--ca", str(self.folder), "--out", str(path), "--owner")
        for owner in ("2102", "root"):
            self.assertEqual(self.run_line(*arguments, owner), (0, "", ""))
        self.assertEqual(given, [(2102, -1), (0, -1)])
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)

    def test_a_file_that_may_not_be_given_away_is_not_left_behind(self) -> None:
        self.patch(os, "fchown", lambda *_: (_ for _ in ()).throw(PermissionError(1, "Operation not permitted")))
        path = Path(self.mktemp())
        arguments = ("token", "create", "shop/web", "--ca", str(self.folder), "--out", str(path), "--owner=2102")
        status, _, err = self.run_line(*arguments)
        self.assertEqual((status, path.exists()), (2, False))
        self.assertEqual(err, f"meshtx: {path}: operation not permitted; only root may give it away\n")

    def test_an_owner_is_a_user_and_of_a_file(self) -> None:
        for options, problem in (
            (("--owner=root",), "nothing reads it without --out"),
            (("--owner=nobody-of-that-name", f"--out={self.mktemp()}"), "there is no user 'nobody-of-that-name'"),
        ):
            status, _, err = self.run_line("token", "create", "shop/web", "--ca", str(self.folder), *options)
            self.assertEqual((status, err.count("\n")), (2, 1))
            self.assertIn(problem, err)

    def test_what_is_asked_wrongly_is_one_line(self) -> None:
        for workload, lifetime, problem in (
            ("shop", "1h", "'shop' is not NAMESPACE/ACCOUNT"),
            ("shop/web.v2", "1h", "service account 'web.v2' is not a DNS label"),
            ("shop/web", "25h", "is outside 1 s to 24 h"),
        ):
            status, out, err = self.run_line(
                "token", "create", workload, "--ca", str(self.folder), "--lifetime", lifetime
            )
            self.assertEqual((status, out, err.count("\n")), (2, "", 1))
            self.assertIn(problem, err)
        status, _, err = self.run_line("token", "create", "shop/web", "--ca", "none")
        self.assertEqual(
            (status, err),
            (2, "meshtx: none/token.key: no such file or directory; name a folder that 'meshtx ca init' has made\n"),
        )

    def test_a_key_that_is_none_is_named_once(self) -> None:
        key = self.folder / "token.key"
        key.write_text("garbage")
        status, _, err = self.run_line("token", "create", "shop/web", "--ca", str(self.folder))
        self.assertEqual((status, err.count(str(key)), err.count("\n")), (2, 1, 1), err)
