"""Try the README's two commands as a newcomer does: a system made just now, an ordinary user, a fresh clone.

    python3 -m tools.fresh [SUITE ...]        as root; bookworm and trixie, if none is named; noble, too
    python3 -m tools.fresh --in-turn          one of them, another one each day

For each suite: debootstrap makes a small system in a folder of its own, with updates and security fixes; an ordinary
user who may use sudo clones what HEAD is here, and types the commands in namespaces whose root is that folder
(not in a chroot, where the kernel lets nobody make user namespaces). The network is this machine's. Nothing is left
behind but debootstrap's packages, in a cache.

Prints how long each command took and what `make test` counted; the exit status is 0 if all of them succeeded.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tools.mutants import copy_tree

ROOT = Path(__file__).resolve().parent.parent
SUITES = ("bookworm", "trixie")
COMMANDS = ("make demo", "make test")
PACKAGES = ("ca-certificates", "git", "make", "python3", "sudo")
"""What the README asks for."""

USER = "newcomer"

NEEDED_BY_NETWORK = ("etc/resolv.conf", "etc/hosts", "etc/pip.conf", "usr/local/share/ca-certificates/*.crt")
"""Files of this machine by which its package indexes are reached; those that it has are copied."""

KEPT_VARIABLES = re.compile(r"PIP_\w+|REQUESTS_CA_BUNDLE|(https?|no)_proxy", re.IGNORECASE)
"""Variables to the same end."""

_COUNTS = re.compile(r"^\d+ passed, \d+ failed.*$", re.MULTILINE)

_ENTER = f"""
set -u
cd "$1"
mount --bind . .
cd "$1"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs -o size=75% tmpfs tmp
mkdir -p .outside
pivot_root . .outside
umount -l /.outside
rmdir /.outside
su --login {USER} --command "$2"
exit $?
"""
"""Makes a folder the root of this mount namespace, and runs a command there as the ordinary user.

The shell stays, as process 1: it reaps whatever loses its parent, as an init does."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Where a distribution's packages are.

    :param keyring: the file of the keys that sign them.
    :param script: what debootstrap does there; it may not know the suite by its name yet.
    """

    mirror: str
    security: str
    components: str
    keyring: str
    script: str


DEBIAN = Archive(
    "http://deb.debian.org/debian",
    "http://deb.debian.org/debian-security",
    "main",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/debootstrap/scripts/sid",
)
UBUNTU = Archive(
    "http://archive.ubuntu.com/ubuntu",
    "http://archive.ubuntu.com/ubuntu",
    "main universe",
    "/usr/share/keyrings/ubuntu-archive-keyring.gpg",  # package ubuntu-keyring
    "/usr/share/debootstrap/scripts/gutsy",
)
ARCHIVES = {"noble": UBUNTU}
"""Those of the suites that are not Debian's."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one command fared.

    :param counts: the line of `make test` that counts its tests, or ``""``.
    """

    suite: str
    command: str
    status: int
    seconds: float
    counts: str

    def __str__(self) -> str:
        verdict = "ok" if self.status == 0 else f"exit status {self.status}"
        return f"{self.suite:10} {self.command:10} {self.seconds:5.0f} s  {verdict}  {self.counts}".rstrip()


def make_system(folder: Path, suite: str, packages: Sequence[str]) -> None:
    """Make a system of a suite in a folder, which reaches the package indexes as this machine does.

    :param packages: that it has besides the essential ones.
    :raises subprocess.CalledProcessError: a step failed; it has said why.
    """
    install_debootstrap()
    cache = Path.home() / ".cache" / "meshtx" / "debs"
    cache.mkdir(parents=True, exist_ok=True)
    archive = ARCHIVES.get(suite, DEBIAN)
    options = ("--variant=minbase", f"--keyring={archive.keyring}", f"--include={','.join(packages)}")
    _run("debootstrap", *options, f"--cache-dir={cache}", suite, folder, archive.mirror, archive.script)
    pockets = ((archive.mirror, suite), (archive.mirror, f"{suite}-updates"))
    sources = [
        f"deb {mirror} {name} {archive.components}\n"
        for mirror, name in (*pockets, (archive.security, f"{suite}-security"))
    ]
    (folder / "etc/apt/sources.list").write_text("".join(sources))
    for file in (found for pattern in NEEDED_BY_NETWORK for found in Path("/").glob(pattern)):
        shutil.copy(file, folder / file.relative_to("/"))
    for command in ("update-ca-certificates", "apt-get update", "apt-get -y upgrade"):
        _run("chroot", folder, *command.split())


@contextmanager
def new_system(suite: str) -> Iterator[Path]:
    """Make a system with an ordinary user and a clone, give its root folder, and remove it.

    :raises subprocess.CalledProcessError: a step failed; it has said why.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"meshtx-fresh-{suite}-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        make_system(folder, suite, PACKAGES)
        kept = {name: value for name, value in os.environ.items() if KEPT_VARIABLES.fullmatch(name)}
        (folder / "etc/environment").write_text("".join(f"{name}={value}\n" for name, value in kept.items()))
        _run("chroot", folder, "useradd", "--create-home", "--shell", "/bin/bash", USER)
        (folder / "etc/sudoers.d/newcomer").write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
        home = folder / "home" / USER
        if (ROOT / ".git").exists():
            _run("git", "clone", "--quiet", "--no-hardlinks", ROOT, home / "meshtx")
        else:  # an archive of the source
            copy_tree(ROOT, home / "meshtx")
        _run("chroot", folder, "chown", "--recursive", f"{USER}:", f"/home/{USER}")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(*command: str | Path) -> None:
    print("+", *command, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, env=environment, stdout=sys.stderr, check=True)


def type_command(system: Path, suite: str, command: str) -> Outcome:
    """Run one of the README's commands, show what it prints, and return how it fared."""
    print(f"+ {suite}: {command}", flush=True)
    begin, lines = time.monotonic(), []
    namespaces = ("unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child")
    script = ("sh", "-c", _ENTER, "enter", str(system), f"cd meshtx && {command}")
    with subprocess.Popen(
        [*namespaces, *script],
        env={"PATH": os.environ["PATH"], "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    counts = _COUNTS.findall("".join(lines))
    return Outcome(suite, command, process.returncode, time.monotonic() - begin, counts[-1] if counts else "")


def install_debootstrap() -> None:
    """Install debootstrap unless it is there.

    :raises subprocess.CalledProcessError: it cannot be installed.
    """
    if shutil.which("debootstrap") is None:
        _run("apt-get", "update", "-q")
        _run("apt-get", "install", "-q", "-y", "--no-install-recommends", "debootstrap")


def arguments(argv: Sequence[str], day: int) -> list[str]:
    """Return the suites that the command line names.

    :param day: a number that grows by one each day.
    """
    parser = argparse.ArgumentParser(prog="fresh", description="Run the README's two commands on a new Debian.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"a suite of Debian; default: {' '.join(SUITES)}")
    parser.add_argument("--in-turn", action="store_true", help="one suite of these only, another one each day")
    options = parser.parse_args(argv)
    suites = options.suites or list(SUITES)
    return [suites[day % len(suites)]] if options.in_turn else suites


def main(argv: Sequence[str]) -> int:
    """Try each suite, print a table, and return the exit status."""
    suites = arguments(argv, datetime.now(UTC).toordinal())
    if os.geteuid() != 0:
        print("fresh: only root can make a system; try: sudo python3 -m tools.fresh", file=sys.stderr)
        return 2
    outcomes: list[Outcome] = []
    try:
        for suite in suites:
            with new_system(suite) as system:
                outcomes += [type_command(system, suite, command) for command in COMMANDS]
    except subprocess.CalledProcessError as error:
        print(f"fresh: {error}", file=sys.stderr)
        return 1
    finally:
        print(*outcomes, sep="\n")
    return int(any(outcome.status for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
