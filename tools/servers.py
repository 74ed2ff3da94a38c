"""Type the README's section on servers on two new Debians under systemd, and restart what runs there.

    python3 -m tools.servers [--suite SUITE] [--restarts COUNT]         as root; 10 restarts unless said

    first  192.0.2.1    identity service, proxy, a web server        second  192.0.2.2    proxy, clients

Each machine is a container (systemd-nspawn) with a systemd of its own, the system that `tools.fresh` makes, and a
network namespace of `meshtx.demo.lab`. An ordinary user with sudo types the README's blocks as they stand there; only
on the second machine the name is another. They have no network but each other: what pip needs is put there before.

Prints what tap shows, how exposed systemd calls the units, and what became of the requests during the restarts; the
exit status is 0 if all of them were answered.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from meshtx.demo.lab import Host, Lab, wait_until
from tests.mesh import restarts, web_server
from tools.fresh import ROOT, SUITES, USER, new_system

PACKAGES = "curl systemd systemd-sysv dbus sudo nftables iproute2 python3-venv"
FIRST, SECOND = "192.0.2.1", "192.0.2.2"
PORT = 8000
BOOT = 120.0
"""Seconds to boot a machine: many times what it takes."""
UNITS = ("meshidentity", "meshproxy", "meshredirect")

_UP = {"running", "degraded"}
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

DIRECTORY = "".join(
    f"""[[workload]]
addresses = ["{address}"]
identity = "{account}.shop.serviceaccount.identity.meshtx.cluster.local"
authority = "{account}.shop"
"""
    for account, address in (("web", FIRST), ("client", SECOND))
)


class Machine:
    """A booted system.

    :param host: its network.
    :param folder: its root; what it writes is gone with it.
    """

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        # Without this nspawn grants it only in a network namespace that nspawn has made.
        what = [
            "--capability=CAP_NET_ADMIN",
            f"--directory={folder}",
            f"--machine={host.name}",
            f"--network-namespace-path=/proc/{host.pid}/ns/net",
        ]
        self._nspawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--volatile=overlay", *what],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        wait_until(self._is_up, f"{host.name} is up", BOOT)

    def _is_up(self) -> bool:
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        self._leader = children[0] if children else ""
        return bool(children) and self._enter("systemctl", "is-system-running").stdout.strip() in _UP

    def _enter(self, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]
        command = [*enter, "env", "-i", _PATH, *argv]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)

    def run(self, *argv: str, stdin: str = "") -> str:
        """Run a command as root, and return what it wrote.

        :raises AssertionError: it failed.
        """
        done = self._enter(*argv, stdin=stdin)
        if done.returncode:
            said = done.stdout + done.stderr
            raise AssertionError(f"{shlex.join(argv)} on {self.host.name}: {done.returncode}\n{said}")
        return done.stdout

    def type(self, script: str) -> str:
        """Have the ordinary user type commands in the clone, up to the first that fails; return what these wrote."""
        print(f"+ {self.host.name}:", script, sep="\n", flush=True)
        return self.run("runuser", "--login", USER, "--command", f"set -e; cd meshtx\n{script}")

    def close(self) -> None:
        """Turn it off."""
        self._nspawn.terminate()
        self._nspawn.wait()


def prepare(folder: Path) -> None:
    """Put into a system what the README's commands fetch: Debian's packages, and Python's as wheels."""
    clone, fetch = f"/home/{USER}/meshtx", "/root/fetch"
    environment = (folder / "etc/environment").read_text().splitlines()
    for command in (
        f"apt-get install --yes --quiet --no-install-recommends {PACKAGES}",
        f"python3 -m venv {fetch}",
        f"{fetch}/bin/pip wheel --quiet --wheel-dir /var/wheels {clone} setuptools",
        f"rm -r {fetch} {clone}/build",
    ):
        enter = ["chroot", str(folder), "env", _PATH, *environment]
        subprocess.run([*enter, *command.split()], check=True, stdout=sys.stderr)
    for wheel in (folder / "var/wheels").glob("meshtx-*"):
        wheel.unlink()
    (folder / "etc/environment").write_text("")
    (folder / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /var/wheels\n")
    (folder / "etc/hosts").write_text("127.0.0.1 localhost first second\n")
    (folder / "etc/hostname").unlink()  # each machine has its own


@contextmanager
def machines(folder: Path) -> Iterator[tuple[Machine, Machine]]:
    """Boot two machines of one system."""
    with Lab() as lab:
        lab.build_fabric()
        hosts = [lab.add_host("first", FIRST), lab.add_host("second", SECOND)]
        booted: list[Machine] = []
        try:
            for host in hosts:
                booted.append(Machine(host, folder))
            first, second = booted
            yield first, second
        finally:
            for machine in booted:
                machine.close()


def blocks() -> list[str]:
    """Return the README's commands for servers."""
    section = (ROOT / "README.md").read_text().partition("\n## On a virtual machine")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


def set_up(first: Machine, second: Machine) -> None:
    """Type the README's blocks on both."""
    install, authority, proxy = blocks()
    for machine in (first, second):
        machine.type(install)
        machine.run("mkdir", "/etc/meshtx")
        machine.run("tee", "/etc/meshtx/mesh.toml", stdin=DIRECTORY)
    first.type(authority)
    for account in ("client", "admin"):
        first.run("meshtx", "token", "create", f"shop/{account}", "--ca", "/etc/meshtx/ca", "--out", f"/root/{account}")
    second.run("install", "-m", "600", "/dev/stdin", "/etc/meshtx/token", stdin=first.run("cat", "/root/client"))
    second.run("tee", "/etc/meshtx/ca-bundle.crt", stdin=first.run("cat", "/etc/meshtx/ca-bundle.crt"))
    first.type(proxy)
    second.type(proxy.replace('"web.shop', '"client.shop'))


def is_mutual_tls(first: Machine, second: Machine) -> bool:
    """Send a request from the second machine to the first, and show what the first one's proxy says of it."""
    admin = ["--name=admin.shop.serviceaccount.identity.meshtx.cluster.local", "--token-file=/root/admin"]
    where = ["--trust-anchors-file=/etc/meshtx/ca-bundle.crt", f"--identity-address={FIRST}:8080"]
    first.run("sh", "-c", f"meshtx tap web.shop@{FIRST} {shlex.join([*admin, *where])} >/root/tap 2>&1 &")
    wait_until(lambda: "the tap is open" in first.run("cat", "/root/tap"), "the tap is open", BOOT)
    second.run("curl", "--silent", "--fail", f"http://{FIRST}:{PORT}/")
    wait_until(lambda: "end id=" in first.run("cat", "/root/tap"), "tap shows the end of the answer", BOOT)
    shown = first.run("cat", "/root/tap")
    print(shown)
    return " tls=true " in shown


def restart(first: Machine, second: Machine, count: int) -> dict[str, int]:
    """Restart the programs in turn while clients of the second machine ask; return what became of the requests."""
    enter = ["nsenter", f"--net=/proc/{second.host.pid}/ns/net", sys.executable, "-m", restarts.__name__]
    with subprocess.Popen([*enter, FIRST, str(PORT)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as load:
        begin = time.monotonic()
        units = ((first, "meshproxy"), (second, "meshproxy"), (first, "meshidentity"))
        for number in range(count):
            machine, unit = units[number % len(units)]
            machine.run("systemctl", "restart", unit)
        print(f"{count} restarts in {time.monotonic() - begin:.0f} s")
        results, _ = load.communicate()
    return dict(json.loads(results))


def main(argv: Sequence[str]) -> int:
    """Do all of it, and return the exit status."""
    parser = argparse.ArgumentParser(prog="servers", description="Type the README's section on servers.")
    parser.add_argument("--suite", default=SUITES[0], help="of Debian; default: %(default)s")
    parser.add_argument("--restarts", type=int, default=10, metavar="COUNT", help="default: %(default)s")
    options = parser.parse_args(argv)
    with new_system(options.suite) as folder:
        prepare(folder)
        with machines(folder) as (first, second):
            first.host.start(sys.executable, "-m", web_server.__name__, FIRST, str(PORT), log="web")
            set_up(first, second)
            for unit in UNITS:
                print(first.run("systemd-analyze", "verify", f"{unit}.service"), end="")
                print(unit, first.run("systemd-analyze", "security", unit).splitlines()[-1])
            if not is_mutual_tls(first, second):
                return 1
            results = restart(first, second, options.restarts)
    print(f"requests: {results}")
    return int(set(results) != {"answered"})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
