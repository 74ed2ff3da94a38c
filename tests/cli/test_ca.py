"""``meshtx ca``, from the words to the files."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from meshtx.pki.pem import read_certificates
from tests.cli.test_main import Case


class CaTests(Case):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def facts(self, *arguments: str) -> dict[str, str]:
        status, out, err = self.run_line("ca", *arguments)
        self.assertEqual((status, err), (0, ""))
        return dict(line.split("=", 1) for line in out.splitlines())

    def in_days(self, when: datetime, days: float) -> None:
        self.assertLess(abs(when - datetime.now(UTC) - timedelta(days=days)), timedelta(minutes=1))

    def test_init_answers_with_what_it_made(self) -> None:
        facts = self.facts("init", str(self.folder))
        self.assertEqual(
            {name: value for name, value in facts.items() if "until" not in name},
            {
                "trust_anchors": f"{self.folder}/ca-bundle.crt",
                "issuer": f"{self.folder}/issuer",
                "token_key": f"{self.folder}/token.pub",
            },
        )
        until = datetime.strptime(facts["issuer_until"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        self.in_days(until, 90)

    def test_scope_and_lifetimes_are_options(self) -> None:
        self.facts(
            "init",
            str(self.folder),
            "--trust-domain=example.org",
            "--control-namespace=linkerd",
            "--root-lifetime=30d",
            "--issuer-lifetime=12h",
        )
        (root,) = read_certificates((self.folder / "root.crt").read_bytes(), "root")
        (issuer,) = read_certificates((self.folder / "issuer/tls.crt").read_bytes(), "issuer")
        self.assertEqual(root.subject.rfc4514_string(), "CN=root.linkerd.example.org")
        self.in_days(root.not_valid_after_utc, 30)
        self.in_days(issuer.not_valid_after_utc, 0.5)

    def test_issuer_makes_the_next_one(self) -> None:
        self.facts("init", str(self.folder))
        before = (self.folder / "issuer/tls.crt").read_bytes()
        status, out, _ = self.run_line("ca", "issuer", str(self.folder), "--lifetime=1d", "-o", "json")
        self.assertEqual((status, json.loads(out)["issuer"]), (0, f"{self.folder}/issuer"))
        self.assertNotEqual((self.folder / "issuer/tls.crt").read_bytes(), before)

    def test_a_second_init_is_refused_in_one_line(self) -> None:
        self.facts("init", str(self.folder))
        self.assertEqual(
            self.run_line("ca", "init", str(self.folder)),
            (2, "", f"meshtx: {self.folder}: holds a trust anchor already (root.crt); name an empty folder\n"),
        )

    def test_a_scope_that_is_none_is_refused(self) -> None:
        status, _, err = self.run_line("ca", "init", str(self.folder), "--trust-domain=Example.org")
        self.assertEqual((status, err.count("\n"), self.folder.exists()), (2, 1, False))
        self.assertIn("'Example' is not a DNS label", err)

    def test_a_lifetime_that_is_none_is_refused(self) -> None:
        status, _, err = self.run_line("ca", "init", str(self.folder), "--root-lifetime=3y")
        self.assertEqual(status, 2)
        self.assertIn("'3y' is no duration; write it like '24h'", err)
        status, _, err = self.run_line("ca", "init", str(self.folder), "--root-lifetime", "9999999d")
        self.assertEqual((status, err.count("\n")), (2, 1))
        self.assertIn("'9999999d' is longer than 100 years", err)
