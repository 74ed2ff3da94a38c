"""What a user gets wrong: one sentence that says what to do, a status that is not 0, and no traceback."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshtx.identity import ca_folder
from meshtx.supervisor.processes import TWISTD
from tests.mesh.town import PATIENCE, SCOPE, environment, name, whole_root, why_not

WITHOUT_PRIVILEGE = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""Still root by name, but what is not its own is closed to it."""
ALONE = ("unshare", "--net")
"""Nothing that is done to the network is done to this machine."""


class Case(SynchronousTestCase):
    """Runs programs in a folder that holds all that they need to start."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        now = datetime.now(UTC)
        ca_folder.init(self.folder / "ca", SCOPE, now)
        self.file("token", ca_folder.create_token(self.folder / "ca", "town", "web", now.timestamp()))
        self.file("mesh.toml", "workload = []\n")

    def file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def run_program(self, argv: Sequence[str], env: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            cwd=self.folder,
            env={**environment(), **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def assertSentence(self, sentence: str, argv: Sequence[str], env: Mapping[str, str] = {}) -> None:
        """Check that a command line ends with this sentence and nothing else."""
        done = self.run_program(argv, env)
        self.assertEqual((done.stdout, done.stderr), ("", sentence + "\n"), argv)
        self.assertIn(done.returncode, (1, 2))

    def meshtx(self, *arguments: str, prefix: Sequence[str] = ()) -> list[str]:
        return [*prefix, sys.executable, "-m", "meshtx", *arguments]


class ServiceCase(Case):
    """The two services, in the foreground and as daemons."""

    program: str
    good: Mapping[str, str]

    def service(self, *mode: str, **changed: str) -> list[str]:
        """Return a command line; what is changed to "" is left out."""
        options = {**self.good, **changed}
        flags = [f"--{key.replace('_', '-')}={text}" for key, text in options.items() if text]
        return [*TWISTD, *mode, "--pidfile=pid", "--logfile=log", self.program, *flags]

    def assertMistake(
        self, sentence: str, env: Mapping[str, str] = {}, prefix: Sequence[str] = (), **changed: str
    ) -> None:
        """Check what both modes say of a mistake, and that nothing was left."""
        for mode in (["--nodaemon"], []):
            argv = [*prefix, *self.service(*mode, **changed)]
            self.assertSentence(f"{self.program}: {sentence}", argv, env)
            self.assertFalse((self.folder / "pid").exists())

    def busy(self) -> str:
        """Return an address where somebody listens."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        return f"127.0.0.1:{listener.getsockname()[1]}"


class ProxyTests(ServiceCase):
    program = "meshproxy"
    good = {
        "name": str(name("web")),
        "identity_address": "127.0.0.1:1",
        "trust_anchors_file": "ca/ca-bundle.crt",
        "token_file": "token",
        "directory_file": "mesh.toml",
        "inbound_listen": "127.0.0.1:0",
        "outbound_listen": "127.0.0.1:0",
        "tap_listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
    }

    def test_a_bad_value(self) -> None:
        self.assertMistake(
            "--tap-listen: 'tap' is not ADDRESS:PORT; write ADDRESS:PORT, such as 0.0.0.0:4143", tap_listen="tap"
        )

    def test_an_unknown_key(self) -> None:
        self.file("proxy.toml", "tap_lisen = '127.0.0.1:4190'\n")
        self.assertMistake("proxy.toml: tap_lisen: unknown key; did you mean 'tap_listen'?", config="proxy.toml")
        self.assertMistake(
            "MESHTX_PROXY_TAP_LISEN: unknown environment variable; did you mean 'MESHTX_PROXY_TAP_LISTEN'?",
            {"MESHTX_PROXY_TAP_LISEN": "127.0.0.1:4190"},
        )
        self.assertMistake("option --tap-lisen not recognized; did you mean '--tap-listen'?", tap_lisen="127.0.0.1:1")

    def test_a_key_folder_of_another_process(self) -> None:
        if not Path("/dev/shm").is_dir():
            raise SkipTest("no /dev/shm")
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            lock = os.open(folder, os.O_RDONLY)
            self.addCleanup(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.assertMistake(
                f"{folder}: another process keeps its key there; "
                "give each program a folder of its own, or stop the other one",
                key_folder=folder,
            )

    def test_a_missing_file(self) -> None:
        self.assertMistake(
            f"--token-file: {self.folder}/none: no such file or directory; "
            "name one that exists and that this user may read",
            token_file="none",
        )
        self.assertMistake("none: no such file or directory; name a TOML file that this user may read", config="none")

    def test_an_unreadable_token(self) -> None:
        if reason := why_not("setpriv"):
            raise SkipTest(reason)
        self.file("closed", "a token").chmod(0)
        self.assertMistake(
            f"--token-file: {self.folder}/closed: permission denied to user {os.geteuid()}; "
            f"run 'chown {os.geteuid()} {self.folder}/closed' as root, and let that user enter its folder, "
            "or name another file",
            prefix=WITHOUT_PRIVILEGE,
            token_file="closed",
        )

    def test_a_busy_port(self) -> None:
        busy = self.busy()
        for key in ("inbound_listen", "outbound_listen", "tap_listen", "admin_listen"):
            self.assertMistake(
                f"{key}: cannot listen on {busy}: address already in use; "
                "stop what listens there, or choose another port",
                **{key: busy},
            )

    def test_a_directory_with_a_mistake(self) -> None:
        self.file("mesh.toml", '[[workload]]\naddresses = ["10.1.0.2"]\nidentity = "web"\n')
        self.assertMistake(
            f"{self.folder}/mesh.toml: workload 1 (web): identity: 'web' is not "
            "SA.NS.serviceaccount.identity.CONTROL-NS.TRUST-DOMAIN; write the name that its certificate has"
        )


class IdentityTests(ServiceCase):
    program = "meshidentity"
    good = {
        "issuer": "ca/issuer",
        "token_key_file": "ca/token.pub",
        "listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
    }

    def test_a_bad_value(self) -> None:
        self.assertMistake("--lifetime: 'soon' is no duration; write DURATION, such as 24h", lifetime="soon")

    def test_a_missing_file(self) -> None:
        hint = "no such file or directory; name one that exists and that this user may read"
        self.assertMistake(f"--token-key-file: {self.folder}/none: {hint}", token_key_file="none")
        self.assertMistake(f"--issuer: {self.folder}/none: {hint}", issuer="none")
        self.assertMistake("issuer: not set; name the folder that 'meshtx ca issuer' has made", issuer="")

    def test_a_busy_port(self) -> None:
        busy = self.busy()
        for key in ("listen", "admin_listen"):
            self.assertMistake(
                f"{key}: cannot listen on {busy}: address already in use; "
                "stop what listens there, or choose another port",
                **{key: busy},
            )


class CommandTests(Case):
    def test_ca(self) -> None:
        self.assertSentence(
            "meshtx: ca: holds a trust anchor already (root.crt); name an empty folder", self.meshtx("ca", "init", "ca")
        )
        self.assertSentence(
            "meshtx: none/root.crt: no such file or directory; name a folder that 'meshtx ca init' has made, "
            "and bring the root key back if it is kept elsewhere",
            self.meshtx("ca", "issuer", "none"),
        )
        self.assertSentence(
            "meshtx: /proc/ca: no such file or directory; name another folder", self.meshtx("ca", "init", "/proc/ca")
        )

    def test_token(self) -> None:
        self.assertSentence(
            "meshtx: none/token.key: no such file or directory; name a folder that 'meshtx ca init' has made",
            self.meshtx("token", "create", "town/web", "--ca=none"),
        )
        self.assertSentence(
            "meshtx token create: Invalid value for NAMESPACE/ACCOUNT: 'web' is not NAMESPACE/ACCOUNT; "
            "see 'meshtx token create --help'",
            self.meshtx("token", "create", "web", "--ca=ca"),
        )

    def test_tap(self) -> None:
        own = ["--name", str(name("web")), "--identity-address", "127.0.0.1:1"]
        tap = ["tap", "web.town@127.0.0.1:1", "--trust-anchors-file=ca/ca-bundle.crt", *own]
        self.assertSentence(
            "meshtx: none: no such file or directory; write a token of 'meshtx token create' there",
            self.meshtx(*tap, "--token-file=none"),
        )
        self.assertSentence(
            "meshtx: the identity service 127.0.0.1:1 gives no certificate: "
            "connecting to 127.0.0.1:1: Connection refused",
            self.meshtx(*tap, "--token-file=token"),
        )

    def test_demo(self) -> None:
        self.assertSentence(
            "meshtx demo: Invalid value for '--break': 'tls' is not one of 'plaintext', 'wrong-ca', 'no-proxy'; "
            "see 'meshtx demo --help'",
            self.meshtx("demo", "--break", "tls"),
        )
        self.assertSentence(
            "meshtx: demo: needs curl; install curl", self.meshtx("demo", "--explicit"), {"PATH": "/nowhere"}
        )


class RedirectTests(Case):
    """In a network namespace of its own: a mistake in a test must not turn this machine's traffic."""

    skip = why_not("setpriv")
    apply = ("redirect", "apply", "--proxy-uid=2102")

    def test_nothing_tells_the_proxy_apart(self) -> None:
        self.assertSentence(
            "meshtx: redirect: nothing tells the proxy's own connections apart, "
            "they would be turned back to it for ever; "
            "give its user, its group or its socket mark (--proxy-uid, --proxy-gid, --proxy-mark)",
            self.meshtx("redirect", "apply", prefix=ALONE),
        )

    def test_no_permission(self) -> None:
        for command in (self.apply, ("redirect", "show"), ("redirect", "remove")):
            self.assertSentence(
                "meshtx: nft: may not see or change the rules here; run this as root, or with the capability "
                "NET_ADMIN, in the network namespace of the workload",
                self.meshtx(*command, prefix=[*ALONE, *WITHOUT_PRIVILEGE]),
            )

    def test_no_nft(self) -> None:
        if reason := whole_root():
            raise SkipTest(reason)
        hidden = 'for each in /usr/sbin /sbin; do mount -t tmpfs none $each; done; exec "$@"'
        without = ["unshare", "--net", "--mount", "/bin/sh", "-c", hidden, "sh"]
        self.assertSentence(
            "meshtx: nft: is not installed; install the package nftables, "
            "or let the proxy listen on addresses of its own without a redirect",
            self.meshtx(*self.apply, prefix=without),
        )
