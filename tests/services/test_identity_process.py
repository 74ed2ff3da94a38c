"""``twistd meshidentity`` as a process: how it starts, how it ends, and what it says when it cannot."""

from __future__ import annotations

import grp
import os
import pwd
import re
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from meshtx.identity import ca_folder
from tests.services.identity_case import IdentityCase

ROOT = Path(__file__).parent.parent.parent
TWISTD = [sys.executable, "-c", "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"]
LISTENING = re.compile(r" listen: listening on 127\.0\.0\.1:(\d+)")
READY = "admin_listen: listening on"


class Twistd(ProcessProtocol):
    """A process, what it has said, and how it ended."""

    def __init__(self) -> None:
        self.out = self.err = ""
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[int] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.out += data.decode()
        if READY in self.out and not self.ready.called:
            self.ready.callback(None)

    def errReceived(self, data: bytes) -> None:
        self.err += data.decode()

    def processEnded(self, reason: Failure) -> None:
        why: Any = reason.value
        status = 0 if reason.check(ProcessDone) else why.exitCode
        self.ended.callback(-why.signal if status is None else status)


class ProcessCase(IdentityCase):
    packages: Path | None = None
    """A folder of Python packages that the program finds before the project."""

    def twistd(self, *options: str, **changed: str) -> Twistd:
        """Start it in a folder of its own, with the flags of `IdentityCase`."""
        flags = [f"--{key.replace('_', '-')}={value}" for key, value in self.flags(**changed).items()]
        process = Twistd()
        command = [*TWISTD, *options, "meshidentity", *flags]
        python_path = os.pathsep.join(str(each) for each in (self.packages, ROOT) if each)
        environment = {**os.environ, "PYTHONPATH": python_path, "PYTHONWARNINGS": "ignore"}
        transport = reactor.spawnProcess(process, command[0], command, environment, str(self.folder))

        def kill() -> Deferred[int] | None:
            if process.ended.called:
                return None
            transport.signalProcess("KILL")
            return process.ended

        self.addCleanup(kill)
        self.transport = transport
        return process

    def setUp(self) -> None:
        super().setUp()
        self.mesh = self.mesh.absolute()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def found(self, log: str) -> int:
        """Return the port that a log names."""
        match = LISTENING.search(log)
        assert match, log
        return int(match[1])


class Running(ProcessCase):
    async def test_in_the_foreground_with_another_reactor_until_it_is_told_to_stop(self) -> None:
        process = self.twistd("-n", "--reactor=poll", "--pidfile=here.pid")
        await process.ready
        self.assertTrue((self.folder / "here.pid").exists())
        self.assertIn("PollReactor", process.out)
        await self.certify(self.found(process.out))
        self.transport.signalProcess("TERM")
        self.assertEqual((await process.ended, process.err), (-signal.SIGTERM, ""))  # twistd ends as it was told to
        self.assertFalse((self.folder / "here.pid").exists())
        self.assertIn("issued a certificate to web.emojivoto.", process.out)
        self.assertNotIn(" object at 0x", process.out)
        self.assertNotIn(self.token().decode().split(".")[1], process.out)

    async def test_as_a_daemon_of_another_user(self) -> None:
        options = ["--pidfile=d.pid", "--logfile=d.log"]
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            options += [f"--uid={nobody.pw_name}", f"--gid={grp.getgrgid(nobody.pw_gid).gr_name}"]
        process = self.twistd(*options)
        self.assertEqual((await process.ended, process.out, process.err), (0, "", ""))
        pid = int((self.folder / "d.pid").read_text())
        self.addCleanup(self.stopped, pid)
        port = self.found((self.folder / "d.log").read_text())
        await self.certify(port)
        if os.geteuid() == 0:
            self.assertEqual(Path(f"/proc/{pid}").stat().st_uid, nobody.pw_uid)  # noqa: ASYNC240
        os.kill(pid, signal.SIGHUP)
        await self.certify(port)

    async def stopped(self, pid: int) -> None:
        """Stop a daemon and wait until it is gone."""
        os.kill(pid, signal.SIGTERM)
        while True:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            await deferLater(reactor, 0.05)


class Refusing(ProcessCase):
    async def end(self, *options: str, **changed: str) -> tuple[int, list[str]]:
        """Return the exit status and the lines of a program that does not start; twistd's own go to stdout."""
        process = self.twistd(*options, **changed)
        status = await process.ended
        self.assertNotIn("Traceback", process.out + process.err)
        return status, (process.err + process.out).splitlines()

    async def test_a_busy_port_in_the_foreground_and_as_a_daemon(self) -> None:
        port: Any = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        address = f"127.0.0.1:{port.getHost().port}"
        line = (
            f"meshidentity: listen: cannot listen on {address}: address already in use; "
            "stop what listens there, or choose another port"
        )
        for options in (["-n", "--pidfile="], ["--pidfile=d.pid", "--logfile=d.log"]):
            self.assertEqual(await self.end(*options, listen=address), (2, [line]))
        self.assertEqual(os.listdir(self.folder), [])

    async def test_a_file_that_is_not_there(self) -> None:
        missing = str(self.mesh / "nothing.pub")
        status, lines = await self.end("-n", "--pidfile=", token_key_file=missing)
        self.assertEqual((status, len(lines), sum(missing in line for line in lines)), (2, 1, 1), lines)

    async def test_a_file_that_is_no_issuer(self) -> None:
        (self.mesh / ca_folder.ISSUER / "tls.key").write_text("no key\n")
        status, lines = await self.end("-n", "--pidfile=")
        self.assertEqual((status, len(lines)), (2, 1), lines)
        self.assertTrue(lines[0].startswith("meshidentity: issuer in "), lines)
