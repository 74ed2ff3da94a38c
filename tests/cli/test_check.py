"""``meshtx check``: what it prints, and with which status it ends. The rest is in tests/kube/test_check.py."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from meshtx import __version__
from meshtx.cli import check, check_report, kubeconfig
from meshtx.cli.check_report import MAX_LENGTH, SHOWN, TOLD
from meshtx.kube.api_config import ApiConfig
from meshtx.kube.checks.outcomes import Check, Failed, Group, Outcome, Passed, Report, Skipped, Warned, run
from meshtx.pki.issuer import make_root
from meshtx.pki.name import MeshScope
from tests.cli.test_main import Case
from tests.kube.snapshots import healthy


def report(*outcomes: Outcome) -> Report:
    """Return one of two groups, the first outcome in the first."""
    checks = [
        Check(f"check-{number}", "it is so", lambda _, outcome=outcome: outcome)  # type: ignore[misc]
        for number, outcome in enumerate(outcomes, 1)
    ]
    return run([Group("cluster", tuple(checks[:1])), Group("trust", tuple(checks[1:]))], healthy())


class CheckTests(Case):
    def outcome(self, found: Report, *arguments: str) -> tuple[int, str, str]:
        """Run the command with this report of a cluster."""
        self.asked: list[object] = []
        config = ApiConfig("https://api.example", "")

        def load(*given: object) -> ApiConfig:
            self.asked += given
            return config

        def looked(*given: object, before: bool) -> Report:
            self.asked += [*given[1:], before]
            return found

        self.patch(kubeconfig, "load", load)
        self.patch(check, "_looked", looked)
        return self.run_line("check", *arguments)

    def test_each_check_is_a_line_and_what_to_do_stands_below(self) -> None:
        found = report(
            Passed("v1.36.3"),
            Passed(),
            Skipped("why not"),
            Warned("odd", "mend it"),
            Failed("bad", "do this", ("a", "b")),
        )
        status, out, err = self.outcome(found)
        self.assertEqual((status, err), (1, ""))
        self.assertEqual(
            out.splitlines(),
            [
                "cluster",
                "  passed  check-1: it is so (v1.36.3)",
                "",
                "trust",
                "  passed  check-2: it is so",
                "  skipped check-3: it is so (why not)",
                "  warned  check-4: it is so",
                "      odd",
                "      hint: mend it",
                "  failed  check-5: it is so",
                "      bad:",
                "        a",
                "        b",
                "      hint: do this",
                "",
                "2 passed, 1 skipped, 1 warned, 1 failed",
            ],
        )

    def test_a_warning_is_no_failure(self) -> None:
        self.assertEqual(self.outcome(report(Warned("odd", "mend it"), Skipped("why")))[0], 0)

    def test_of_many_objects_few_are_shown_and_more_are_told_to_programs(self) -> None:
        many = tuple(f"pod-{number}" for number in range(TOLD + 7))
        found = report(Failed("bad", "do this", many))
        _, out, _ = self.outcome(found)
        self.assertEqual(out.count("pod-"), SHOWN)
        self.assertIn(f"        and {TOLD + 7 - SHOWN} more; -o json names them\n", out)
        (told,) = json.loads(self.outcome(found, "-o", "json")[1])["groups"][0]["checks"]
        self.assertEqual((len(told["objects"]), told["more_objects"]), (TOLD, 7))

    def test_no_text_of_an_object_is_a_command_to_the_terminal_or_without_end(self) -> None:
        found = report(Warned("odd\n", "mend it", ("web: \x1b[2J\x9b", "x" * 1000)), Skipped("\r"))
        _, out, _ = self.outcome(found)
        self.assertIn("      odd\\x0a:\n        web: \\x1b[2J\\x9b\n", out)
        self.assertIn(f"        {'x' * (MAX_LENGTH - 1)}…\n", out)
        self.assertIn("(\\x0d)", out)
        told = json.loads(self.outcome(found, "-o", "json")[1])["groups"][0]["checks"][0]
        self.assertEqual(len(told["objects"][1]), MAX_LENGTH)

    def test_programs_get_one_object(self) -> None:
        found = report(Passed("v1.36.3"), Passed(), Skipped("why"), Failed("bad", "do this", ("a",)))
        status, out, _ = self.outcome(found, "-o", "json")
        self.assertEqual(status, 1)
        says = "it is so"
        failed = {"problem": "bad", "hint": "do this", "objects": ["a"], "more_objects": 0}
        self.assertEqual(
            json.loads(out),
            {
                "version": __version__,
                "passed": False,
                "groups": [
                    {
                        "name": "cluster",
                        "checks": [{"name": "check-1", "says": says, "result": "passed", "note": "v1.36.3"}],
                    },
                    {
                        "name": "trust",
                        "checks": [
                            {"name": "check-2", "says": says, "result": "passed"},
                            {"name": "check-3", "says": says, "result": "skipped", "note": "why"},
                            {"name": "check-4", "says": says, "result": "failed", **failed},
                        ],
                    },
                ],
            },
        )

    def test_a_terminal_gets_ticks_and_colours(self) -> None:
        found = report(Passed(), Skipped("why"), Warned("odd", "mend it"), Failed("bad", "do this"))
        coloured = "\n".join(check_report.lines(found, terminal=True))
        self.assertIn("\x1b[31m×\x1b[0m check-4: it is so", coloured)
        plain = re.sub(r"\x1b\[\d+m", "", coloured)
        for line in ("  √ check-1: it is so", "  - check-2: it is so (why)", "  ‼ check-3: it is so"):
            self.assertIn(line, plain.splitlines())

    def test_options_reach_the_cluster(self) -> None:
        arguments = ("--pre", "-n", "mesh", "--kubeconfig=file", "--context=there", "--wait=5m")
        self.outcome(report(Passed()), *arguments)
        self.assertEqual([str(each) for each in self.asked], ["file", "there", "mesh", "0:05:00", "True"])
        self.outcome(report(Passed()))
        self.assertEqual([str(each) for each in self.asked], ["None", "None", "meshtx", "0:00:00", "False"])

    def test_a_namespace_that_is_none_is_asked_wrongly(self) -> None:
        status, _, err = self.run_line("check", "--namespace=My_Mesh")
        self.assertEqual((status, err.count("\n")), (2, 1))
        self.assertIn("--namespace: control namespace 'My_Mesh' is not a DNS label", err)

    def test_a_kubeconfig_that_is_not_there_is_said_in_a_line(self) -> None:
        missing = Path(self.mktemp())
        status, out, err = self.run_line("check", f"--kubeconfig={missing}")
        self.assertEqual((status, out, err.count("\n")), (2, "", 1), err)
        self.assertTrue(err.startswith("meshtx: kubeconfig: "), err)


class ProcessTests(SynchronousTestCase):
    """As a process, which has a reactor, and a server that is of no use."""

    def start(self, port: int, **settings: Any) -> subprocess.Popen[str]:
        file = Path(self.mktemp())
        file.write_text(json.dumps(_kubeconfig(f"https://127.0.0.1:{port}")))
        return subprocess.Popen(
            [sys.executable, "-m", "meshtx", "check", f"--kubeconfig={file}"],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **settings},
        )

    def test_a_server_that_is_not_there_is_the_only_check(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and listens to nobody
            process = self.start(taken.getsockname()[1])
            out, err = process.communicate(timeout=60)
        self.assertEqual((process.returncode, err), (1, ""))
        first, line, problem, hint, _, last = out.splitlines()
        self.assertEqual((first, line), ("cluster", "  failed  api-reached: the API server answers"))
        self.assertIn("GET /version: ", problem)
        self.assertIn("hint: 'kubectl version' must work", hint)
        self.assertEqual(last, "1 failed")

    def test_a_terminal_is_noticed(self) -> None:
        ours, terminal = os.openpty()
        self.addCleanup(os.close, ours)
        process = self.start(1, stdout=terminal, env={**os.environ, "PYTHONIOENCODING": "utf-8"})
        os.close(terminal)
        self.assertEqual(process.communicate(timeout=60), (None, ""))
        self.assertIn("\x1b[31m×\x1b[0m api-reached", os.read(ours, 4096).decode())

    def test_who_interrupts_it_waits_no_more(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(60)
            process = self.start(server.getsockname()[1])
            connection, _ = server.accept()  # it has begun, and hears nothing
            with connection:
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)
        self.assertEqual((process.returncode, out, err), (130, "", ""))


def _kubeconfig(server: str) -> dict[str, object]:
    _, root = make_root(MeshScope(), datetime.now(UTC))
    authority = base64.b64encode(root.public_bytes(Encoding.PEM)).decode()
    return {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
