"""The services as twistd's users run them: daemons with a pid file and a log, as another user, and ended by SIGTERM."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshtx.demo.lab import wait_until
from meshtx.net.redirect import RedirectRules
from meshtx.supervisor.processes import TWISTD
from tests.mesh import asker, web_server
from tests.mesh.town import PATIENCE, Town, whole_root, why_not

NOBODY = 65534


class Daemon:
    """A program of twistd's that has gone to the background of a host."""

    def __init__(self, town: Town, host: str, port: int, *options: str) -> None:
        self._town = town
        self.host = host
        self.log = town.folder / "run" / f"{host}.log"
        self.pid_file = town.folder / "run" / f"{host}.pid"
        files = [f"--pidfile={self.pid_file}", f"--logfile={self.log}"]
        said = town.run(host, *TWISTD, *files, *options)
        if said:
            raise AssertionError(f"it is no daemon: {said}")
        wait_until(self.pid_file.is_file, f"{self.pid_file}", PATIENCE)
        self.pid = int(self.pid_file.read_text())
        wait_until(lambda: town.is_ready(host, port), f"{host} is ready", PATIENCE)

    def kill(self) -> None:
        """End it, if it has not ended: it has left the town's processes."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        os.kill(self.pid, signal.SIGTERM)

    @property
    def user(self) -> tuple[set[str], set[str]]:
        """Its user and group ids."""
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        return set(status["Uid"].split()), set(status["Gid"].split())

    def ended(self) -> None:
        """Wait until it has ended and taken its pid file along."""
        wait_until(lambda: not Path(f"/proc/{self.pid}").exists(), f"the end of {self.host}'s {self.pid}", PATIENCE)
        if self.pid_file.exists():
            raise AssertionError(f"{self.pid_file} is left; the log says:\n{self.log.read_text()}")


class Tale(SynchronousTestCase):
    skip = why_not() or whole_root()

    def setUp(self) -> None:
        self.town = Town(["client", "server"])
        self.addCleanup(self.town.remove)
        for folder in (self.town.folder / "run", self.town.ca):
            folder.mkdir(exist_ok=True)
            for path in (folder, *folder.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        self.web = f"{self.town.addresses['server']}"

    def daemon(self, host: str, port: int, *options: str) -> Daemon:
        daemon = Daemon(self.town, host, port, *options)
        self.addCleanup(daemon.kill)
        return daemon

    def test_daemons_as_another_user_with_another_reactor(self) -> None:
        user = [f"--uid={NOBODY}", f"--gid={NOBODY}", "--reactor=poll"]
        identity = self.daemon("identity", 9990, *user, "meshidentity", *self.town.identity_options())
        proxies = {}
        for host in self.town.meshed:
            proxies[host] = self.daemon(host, 4191, *user, "meshproxy", *self.town.sidecar(host, mark=None))
            self.town.redirect(host, RedirectRules(uid=NOBODY))
        for daemon in (identity, *proxies.values()):
            self.assertEqual(daemon.user, ({str(NOBODY)}, {str(NOBODY)}))
            self.assertIn("PollReactor", daemon.log.read_text())
        self.assertMeshed()
        self.assertDrains(proxies["server"])
        identity.terminate()
        identity.ended()

    def assertMeshed(self) -> None:
        """Check that a request crosses as mutual TLS."""
        self.town.python("server", web_server, "0.0.0.0", "80", ready="serving")
        wire = self.town.capture()
        self.assertEqual(
            self.town.run("client", "curl", "-sS", "--noproxy", "*", "-m", "20", f"http://{self.web}/"), "hello"
        )
        _, streams = wire.end()
        self.assertEqual({stream.server.port for stream in streams if stream.sent}, {4143})  # perhaps a spare leg too

    def assertDrains(self, proxy: Daemon) -> None:
        """Check that SIGTERM lets what runs go on, and takes nothing new."""
        stop = str(self.town.folder / "stop")
        client = self.town.python("client", asker, self.web, "80", stop, ready="asked 10\n")
        proxy.terminate()
        wait_until(lambda: not self.town.is_ready(proxy.host, 4191), "nothing new is taken", PATIENCE)
        wanted = len(client.lines) + 20
        client.until(lambda: len(client.lines) >= wanted, "20 more rounds")
        self.assertTrue(Path(f"/proc/{proxy.pid}").exists())
        self.town.write("stop", "")
        result = json.loads(client.answer().splitlines()[-1])
        self.assertGreaterEqual(result["answered"], 30)
        self.assertEqual({error.partition("(")[0] for error in result["errors"]}, {"ConnectionResetError"})
        proxy.ended()
        self.assertRegex(proxy.log.read_text(), r"(?s)waiting 30 s for \d connections.*Server Shut Down")
