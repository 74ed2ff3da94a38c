"""Type the README's sections on a laptop and on servers on new Debians, and restart what runs on the servers.

    python3 -m tools.servers [--suite SUITE] [--restarts COUNT]         as root; 10 restarts unless said

    laptop              the whole section
    first  192.0.2.1    identity service, proxy, a web server        second  192.0.2.2    proxy, clients

Each machine is a container (systemd-nspawn) with a systemd of its own, the system that `tools.fresh` makes, and a
network namespace of `meshtx.demo.lab`. An ordinary user, who may use sudo, types the README's blocks as they stand
there; only on the second machine the name is another. The machines have no network but each other: what pip needs is
put there before.

Prints what tap shows, how exposed systemd calls the units, and what became of the requests during the restarts and
without the proxy; the exit status is 0 if everything is as the README says and all requests were answered.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from meshtx.demo.lab import Host, Lab, wait_until
from tests.mesh import restarts, web_server
from tests.mesh.laptop import type_section
from tests.mesh.town import Program
from tools.fresh import SUITES, USER, new_system
from tools.readme import ROOT, blocks, section

PACKAGES = "curl systemd systemd-sysv dbus sudo nftables iproute2 python3-venv"
SERVERS = "On a virtual machine"
"""The section's title, as far as it is needed."""
LAPTOP, FIRST, SECOND = "192.0.2.3", "192.0.2.1", "192.0.2.2"
PORT = 8000
BOOT = 120.0
"""Seconds to boot a machine: many times what it takes."""
UNITS = ("meshidentity", "meshproxy", "meshredirect")

_REFUSED = 7
"""curl's exit status for a connection that is refused."""
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
        return bool(children) and self.enter("systemctl", "is-system-running").stdout.strip() in _UP

    def _command(self, *argv: str) -> list[str]:
        enter = ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]
        return [*enter, "env", "-i", _PATH, *argv]

    def enter(self, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command as root."""
        return subprocess.run(self._command(*argv), input=stdin, capture_output=True, text=True, check=False)

    def run(self, *argv: str, stdin: str = "") -> str:
        """Run a command as root, and return what it wrote.

        :raises AssertionError: it failed.
        """
        done = self.enter(*argv, stdin=stdin)
        if done.returncode:
            said = done.stdout + done.stderr
            raise AssertionError(f"{shlex.join(argv)} on {self.host.name}: {done.returncode}\n{said}")
        return done.stdout

    def type(self, script: str) -> str:
        """Have the ordinary user type commands in the clone, up to the first that fails; return what these wrote."""
        return self.run(*self._login(script))

    def terminal(self, what: str, script: str) -> Program:
        """Have the ordinary user begin to type commands in the clone, in a terminal of this name."""
        said = self.folder / f"{what}.said"
        with said.open("wb") as file:
            process = subprocess.Popen(
                self._command(*self._login(script)), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
            )
        return Program(what, process, said)

    def _login(self, script: str) -> list[str]:
        """Show what the user types, and return the command that does it."""
        print(f"+ {self.host.name}:", script, sep="\n", flush=True)
        return ["runuser", "--login", USER, "--command", f"set -e; cd meshtx\n{script}"]

    @property
    def folder(self) -> Path:
        """The clone, as seen from outside."""
        return Path(f"/proc/{self._leader}/root/home/{USER}/meshtx")

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
        f"cp --recursive {clone} {fetch}/meshtx",  # or what root builds there would be in the user's way
        f"{fetch}/bin/pip wheel --quiet --wheel-dir /var/wheels {fetch}/meshtx setuptools",
        f"rm -r {fetch}",
    ):
        enter = ["chroot", str(folder), "env", _PATH, *environment]
        subprocess.run([*enter, *command.split()], check=True, stdout=sys.stderr)
    for wheel in (folder / "var/wheels").glob("meshtx-*"):
        wheel.unlink()
    (folder / "etc/environment").write_text("")
    (folder / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /var/wheels\n")
    (folder / "etc/hosts").write_text("127.0.0.1 localhost laptop first second\n")
    (folder / "etc/hostname").unlink()  # each machine has its own


@contextmanager
def machines(folder: Path) -> Iterator[tuple[Machine, Machine, Machine]]:
    """Boot machines of one system: the laptop, the first server and the second."""
    with Lab() as lab:
        lab.build_fabric()
        hosts = [lab.add_host("laptop", LAPTOP), lab.add_host("first", FIRST), lab.add_host("second", SECOND)]
        booted: list[Machine] = []
        try:
            for host in hosts:
                booted.append(Machine(host, folder))
            laptop, first, second = booted
            yield laptop, first, second
        finally:
            for machine in booted:
                machine.close()


def set_up(first: Machine, second: Machine) -> None:
    """Type the README's blocks on both."""
    install, authority, proxy = (text for _, text in blocks(SERVERS))
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


def restart(first: Machine, second: Machine, count: int) -> Counter[str]:
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
    return Counter(json.loads(results))


def is_closed_until_disabled(machine: Machine) -> bool:
    """Tell whether connections are refused without the proxy, and the README's command takes the redirect away."""
    ask = ["curl", "--silent", f"http://{FIRST}:{PORT}/"]
    machine.run("systemctl", "stop", "meshproxy")
    status = machine.enter(*ask).returncode
    (disable,) = re.findall(r"`(sudo systemctl disable [^`]*)`", section(SERVERS))
    machine.type(disable)
    rules = machine.run("nft", "list", "ruleset")
    print(f"without the proxy: curl ends with {status}; without the redirect, nft lists: {rules!r}")
    return (status, rules) == (_REFUSED, "")


def main(argv: Sequence[str]) -> int:
    """Do all of it, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="servers", description="Type the README's sections on a laptop and on servers."
    )
    parser.add_argument("--suite", default=SUITES[0], help="of Debian, or noble; default: %(default)s")
    parser.add_argument("--restarts", type=int, default=10, metavar="COUNT", help="default: %(default)s")
    options = parser.parse_args(argv)
    with new_system(options.suite) as folder:
        prepare(folder)
        with machines(folder) as (laptop, first, second):
            print(type_section(laptop.terminal, laptop.folder), flush=True)
            first.host.start(sys.executable, "-m", web_server.__name__, FIRST, str(PORT), log="web")
            set_up(first, second)
            for unit in UNITS:
                print(first.run("systemd-analyze", "verify", f"{unit}.service"), end="")
                print(unit, first.run("systemd-analyze", "security", unit).splitlines()[-1])
            if not is_mutual_tls(first, second):
                return 1
            results = restart(first, second, options.restarts)
            print(f"requests: {restarts.summary(results)}", flush=True)
            is_closed = is_closed_until_disabled(second)
    return int(set(results) != {"answered"} or not is_closed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
