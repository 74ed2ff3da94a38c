"""What a user gets from the wheel, in an environment that has nothing else."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
BUILD_NEEDS = ["setup.cfg", "pyproject.toml", "README.md", "LICENSE", "meshtx", "twisted", "examples"]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command outside the checkout and return what it prints on both streams."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COVERAGE"))}
    done = subprocess.run(
        [str(each) for each in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    if done.returncode:
        raise AssertionError(f"{command} exits with {done.returncode}:\n{output}")
    return output


class TestWheel(SynchronousTestCase):
    """One story in one test: each step needs the one before it, and takes seconds."""

    def test_an_installed_wheel_has_both_programs_and_the_demos_services(self) -> None:
        folder = Path(self.mktemp()).absolute()
        wheel = self.build(folder)
        self.assert_contents(wheel)
        python = self.install(wheel, folder / "venv")
        help_text = run(python.parent / "twistd", "--help", cwd=folder)
        for command in ("meshproxy", "meshidentity"):
            self.assertIn(f"\n    {command} ", help_text)
            own_help = run(python.parent / "twistd", command, "--help", cwd=folder)
            self.assertIn("--admin-listen=", own_help)
        self.assertNotIn("Traceback", help_text)
        self.assertIn("\n    meshtx\t", run(python.parent / "twistd", "--help-reactors", cwd=folder))
        self.assertIn("Usage: meshtx", run(python.parent / "meshtx", "--help", cwd=folder))
        services = python.parent.parent / "share" / "meshtx" / "examples" / "emojivoto"
        self.assertTrue((services / "web.py").is_file())

    def build(self, folder: Path) -> Path:
        """Build from a copy: setuptools would leave a build folder in the checkout."""
        copy = folder / "source"
        copy.mkdir(parents=True)
        for name in BUILD_NEEDS:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
            else:
                shutil.copy(ROOT / name, copy)
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, copy]
        run(*pip, cwd=folder)
        (wheel,) = folder.glob("meshtx-*.whl")
        return wheel

    def assert_contents(self, wheel: Path) -> None:
        names = set(zipfile.ZipFile(wheel).namelist())
        expected = {
            "meshtx/py.typed",
            "meshtx/cli/main.py",
            "meshtx/plugins/__init__.py",
            "meshtx/rpc/messages/identity.proto",
            "meshtx/rpc/messages/identity_pb2.pyi",
            "twisted/plugins/meshtx_plugins.py",
        }
        self.assertEqual(expected - names, set())
        folders = {name.split("/")[0] for name in names if not name.startswith("meshtx-")}  # metadata and data
        self.assertEqual(folders, {"meshtx", "twisted"})
        self.assertEqual([name for name in names if name.startswith("twisted/") and "__init__" in name], [])

    def install(self, wheel: Path, folder: Path) -> Path:
        venv.create(folder, with_pip=True)
        python = folder / "bin" / "python"
        run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel, cwd=folder)
        return python
