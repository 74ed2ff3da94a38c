"""``meshtx demo`` shows a mesh that is well, finds each thing that is broken, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshtx.demo.lab import TimedOut, wait_until
from tests.mesh.town import PATIENCE, ROOT, Program, whole_root, why_not

NOBODY = 65534
PACKAGES = os.pathsep.join((str(ROOT), sysconfig.get_path("purelib")))
"""Ours first."""


class Case(SynchronousTestCase):
    """Runs demos, each of whose processes is known by a word in its environment."""

    skip = why_not()

    def demo(self, *options: str, python: str = sys.executable, prefix: tuple[str, ...] = ()) -> Program:
        """Start one with a folder for temporary files of its own, beside its output."""
        self.folder = Path(tempfile.mkdtemp(prefix="meshtx-tale-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.folder.chmod(0o1777)
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir()
        self.temporary.chmod(0o1777)
        self.tag = uuid4().hex
        said = self.folder / "said"
        argv = [*prefix, python, "-m", "meshtx", "demo", *options]
        environment = {"PYTHONPATH": PACKAGES, "TMPDIR": str(self.temporary), "COLUMNS": "200", "TALE": self.tag}
        kept = os.environ
        if prefix:  # another user can write no coverage here
            kept = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
        with said.open("wb") as output:
            process = subprocess.Popen(
                argv, env={**kept, **environment}, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return Program(" ".join(["meshtx demo", *options]), process, said)

    def processes(self) -> dict[int, Path]:
        """Return the demo's processes, each with its network namespace."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if f"TALE={self.tag}".encode() in (process / "environ").read_bytes():
                    found[int(process.name)] = (process / "ns" / "net").readlink()
            except OSError:
                continue  # it has ended
        return found

    def namespaces(self) -> set[Path]:
        """Return the network namespaces of the demo's own."""
        return set(self.processes().values()) - {Path("/proc/self/ns/net").readlink()}

    def assertNothingLeft(self, namespaces: set[Path]) -> None:
        """Check that there is no process, namespace or file of a demo that has gone; it may take a moment."""

        def held() -> set[Path | None]:
            return namespaces & {self.namespace(process) for process in Path("/proc").glob("[0-9]*")}

        gone = lambda: not self.processes() and not held()  # noqa: E731
        try:
            wait_until(lambda: gone() and not list(self.temporary.iterdir()), "nothing is left", 10)
        except TimedOut:
            self.fail(f"left: {self.processes()} {held()} {list(self.temporary.rglob('*'))}")
        mounted = Path("/proc/mounts").read_text()
        self.assertEqual([each for each in namespaces if str(each) in mounted], [])

    @staticmethod
    def namespace(process: Path) -> Path | None:
        try:
            return (process / "ns" / "net").readlink()
        except OSError:
            return None

    def assertWell(self, output: str) -> None:
        """Check what a demo that is well has shown."""
        for request, side in (
            (":method=GET :authority=web-svc.emojivoto:80 :path=/api/list", "80"),
            (":method=POST :authority=emoji-svc.emojivoto:8080 :path=/emojivoto.v1.EmojiService/ListAll", "8080"),
        ):
            for proxy in ("out", "in "):
                line = rf"(?m)^req id=\d+:\d+ proxy={proxy} src=10\.1\.0\.\d+:\d+ dst=10\.1\.0\.\d+:{side} tls=true "
                self.assertRegex(output, line + re.escape(request) + r"$")
        self.assertRegex(
            output, r"(?m)^req id=\S+ proxy=in  src=10\.1\.0\.20:\d+ dst=10\.1\.0\.2:80 tls=no_tls_from_remote "
        )
        self.assertRegex(output, r"outside +│ web +│ +6 │ +\d+ │ 0 % +│ no_tls_from_remote")
        for pair in ("vote-bot │ web   ", "web      │ emoji ", "web      │ voting"):
            self.assertRegex(output, rf"{pair} │ +6 │ +\d+ │ 100 % +│ +│")
        self.assertIn("All is well: every connection between meshed workloads was mutual TLS.", output)


class WellTests(Case):
    def test_it_shows_mutual_tls_and_leaves_nothing(self) -> None:
        demo = self.demo("--rounds", "3")
        demo.says("services: up")
        namespaces = self.namespaces()
        self.assertEqual(len(namespaces), 8, "one a host, and the network")
        self.assertWell(demo.answer())
        self.assertNothingLeft(namespaces)

    def test_with_explicit_listeners_it_needs_no_namespace(self) -> None:
        demo = self.demo("--rounds", "3", "--explicit")
        demo.says("services: up")
        self.assertEqual(self.namespaces(), set())
        output = demo.answer()
        for proxy in ("out", "in "):
            self.assertRegex(output, rf"(?m)^req id=\S+ proxy={proxy} .* tls=true :method=GET .*:path=/api/list$")
        self.assertRegex(output, r"outside +│ web +│ +6 │ +\d+ │ 0 % +│ no_tls_from_remote")
        self.assertIn("All is well", output)
        self.assertNothingLeft(set())

    def test_an_ordinary_user_sees_the_same(self) -> None:
        if reason := whole_root():
            raise SkipTest(reason)
        prefix = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        pythons = (sys.executable, "/usr/bin/python{}.{}".format(*sys.version_info))
        python = next((each for each in pythons if self.can_run(each, *prefix)), None)
        if python is None:
            raise SkipTest("another user cannot read the sources here")
        demo = self.demo("--rounds", "3", python=python, prefix=prefix)
        output = demo.answer()
        if "This user may make no network namespaces" not in output:
            self.assertWell(output)
        self.assertIn("All is well", output)
        self.assertNothingLeft(set())

    @staticmethod
    def can_run(python: str, *prefix: str) -> bool:
        """Tell whether a user can run it with these sources."""
        command = ["/bin/sh", "-c", f"PYTHONPATH={PACKAGES} exec {python} -m meshtx --version"]
        return subprocess.run([*prefix, *command], capture_output=True, check=False).returncode == 0


class BrokenTests(Case):
    def test_each_thing_that_is_broken_is_found_and_named(self) -> None:
        expected = {
            "plaintext": (
                r"WRONG: web -> emoji: not TLS to emoji\.emojivoto\.\S+: 'PRI \* HTTP/2",
                r"WRONG: in clear from 10\.1\.0\.2:\d+ to 10\.1\.0\.3:8080: 'emojivoto\.v1\.'",
            ),
            "wrong-ca": (
                r"WRONG: web -> emoji: no request was answered",
                r"refused id=\S+ proxy=out src=10\.1\.0\.2:\d+ dst=10\.1\.0\.3:8080 tls=\S+ reason=unknown_issuer",
            ),
            "no-proxy": (
                r"WRONG: web -> emoji: no connection on the wire",
                r"refused id=\S+ proxy=out src=10\.1\.0\.2:\d+ dst=10\.1\.0\.3:8080 tls=\S+ reason=connect_failed",
            ),
        }
        demos = {what: self.demo("--rounds", "2", "--break", what) for what in expected}
        for what, patterns in expected.items():
            self.assertEqual(demos[what].ended(), 1, demos[what].log)
            for pattern in patterns:
                self.assertRegex(demos[what].log, pattern)
            self.assertNotIn("All is well", demos[what].log)
            self.assertNotIn("Traceback", demos[what].log)


class EndTests(Case):
    def test_ctrl_c_leaves_nothing(self) -> None:
        demo = self.demo("--rounds", "10000")
        demo.says("\nreq ")
        namespaces = self.namespaces()
        demo.signal(signal.SIGINT)
        self.assertEqual(demo.ended(), 130, demo.log)
        self.assertNotIn("Traceback", demo.log)
        self.assertNothingLeft(namespaces)

    def test_it_can_stay_up_to_try_things_and_a_crash_leaves_nothing(self) -> None:
        demo = self.demo("--rounds", "1", "--keep")
        demo.says("tcpdump")
        namespaces = self.namespaces()
        commands = [line.strip() for line in demo.lines if line.startswith("  nsenter ")]
        self.assertEqual(len(commands), 3, demo.log)
        tap, curl, _ = commands
        self.assertIn(":doughnut:", self.shell(curl))
        lines = self.shell(f"{tap} --proxy in --path /api/list --max-lines 1").splitlines()
        self.assertRegex(lines[-1], "^req id=.* proxy=in .* tls=true .*:path=/api/list$")
        demo.signal(signal.SIGKILL)
        self.assertEqual(demo.ended(), -signal.SIGKILL)
        self.assertNothingLeft(namespaces)

    def shell(self, command: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            env={**os.environ, "PYTHONPATH": PACKAGES},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout
