"""The extension in ``examples/plugins/``, installed as a user installs it and named in the configuration."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.config_case import ConfigCase

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "examples" / "plugins"

IGNORED = shutil.ignore_patterns("__pycache__", "dropin.cache", "_trial_temp*")


def install(into: Path, work: Path) -> None:
    """Install a copy of the example: building one writes beside its sources."""
    copy = work / "source"
    shutil.copytree(EXAMPLE, copy, ignore=IGNORED)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(into)]
    subprocess.run([*pip, *options, str(copy)], check=True, capture_output=True, text=True, timeout=100)


class ExampleTests(ConfigCase):
    def setUp(self) -> None:
        super().setUp()
        self.installed = self.folder / "site"

    def python(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *args],
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(self.installed), str(ROOT)))},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def observe(self, *detectors: str) -> subprocess.CompletedProcess[str]:
        """Run a proxy's observers whose configuration names these detectors."""
        config = self.file("proxy.toml", f"detectors = {json.dumps(detectors)}\n")
        return self.python("-m", "tests.plugins.observe_redis", json.dumps(self.proxy()), str(config))

    def test_installed_and_named_it_shows_requests(self) -> None:
        install(self.installed, self.folder)
        self.assertEqual(list(self.installed.glob("meshtx/**/__init__.py")), [], "it would hide meshtx itself")
        done = self.observe("http/1.1", "h2", "redis")
        where = "proxy=out src=10.1.0.4:48210 dst=10.1.0.5:6379 tls=not_provided_by_service_discovery"
        self.assertEqual(
            done.stdout.splitlines(),
            [
                f"req id=0:0 {where} :method=GET",
                f"rsp id=0:0 {where} :status=0 latency=0µs",
                f"end id=0:0 {where} duration=0µs response-length=11B",
            ],
            done.stderr,
        )

    def test_installed_and_not_named_it_is_not_used(self) -> None:
        shutil.copytree(EXAMPLE, self.installed, ignore=IGNORED)
        lines = self.observe("http/1.1", "h2").stdout.splitlines()
        self.assertEqual([line.split()[0] for line in lines], ["tcp", "end"])

    def test_named_and_not_installed_it_is_missed_in_one_sentence(self) -> None:
        done = self.observe("http/1.1", "redis")
        self.assertEqual((done.stdout, done.returncode), ("", 1))
        self.assertRegex(done.stderr, r"\Ameshtx: detectors: there is no detector 'redis'; [^\n]+\n\Z")

    def test_its_own_tests_pass(self) -> None:
        shutil.copytree(EXAMPLE, self.installed, ignore=IGNORED)
        done = self.python("-m", "twisted.trial", "test_meshtx_redis")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
