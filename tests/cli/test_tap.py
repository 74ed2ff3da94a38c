from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from click.testing import CliRunner
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from meshtx.cli.tap import command
from meshtx.cli.tap_session import ProxyTarget
from meshtx.config_values import Endpoint
from meshtx.errors import ConfigError
from meshtx.identity import ca_folder
from meshtx.identity.issuer_files import IssuerFiles
from meshtx.identity.local_tokens import LocalValidator
from meshtx.identity.own_certificate import OwnCertificate
from meshtx.identity.service import CertifyService
from meshtx.net.contexts import Contexts
from meshtx.pki.name import InvalidName, MeshScope, Name
from tests.net.certificates import Ca, make_ca, make_leaf
from tests.observe.cases import EMOJI, WEB
from tests.observe.tap_case import TapCase

SCOPE = MeshScope()
IDENTITY = SCOPE.name("meshtx", "meshtx-identity")


class TargetTests(SynchronousTestCase):
    def test_forms_of_a_target(self) -> None:
        for text, host, port, name in (
            ("10.1.0.2", "10.1.0.2", 4190, ""),
            ("10.1.0.2:1", "10.1.0.2", 1, ""),
            ("web.emojivoto@10.1.0.2", "10.1.0.2", 4190, "web.emojivoto"),
            ("fd00::1", "fd00::1", 4190, ""),
            ("[fd00::1]", "fd00::1", 4190, ""),
            ("a@[fd00::1]:1", "fd00::1", 1, "a"),
            ("web", "web", 4190, ""),
            ("web.example:1", "web.example", 1, ""),
        ):
            self.assertEqual(ProxyTarget.parse(text), ProxyTarget(Endpoint(host, port), name), text)

    def test_what_is_no_target(self) -> None:
        for text in ("", "web:", "web:x", "a b", "[fd00::1", "web@", "[fe80::1%eth0]", "fe80::1%eth0"):
            self.assertRaises(ValueError, ProxyTarget.parse, text)

    def test_names_of_the_own_mesh_may_be_short(self) -> None:
        self.assertEqual(SCOPE.complete("web.emojivoto"), WEB)
        self.assertEqual(SCOPE.complete(str(WEB)), WEB)
        for text in ("", "web", "web.", ".emojivoto", "web.emojivoto.x", "*.emojivoto"):
            self.assertRaises(InvalidName, SCOPE.complete, text)


class OptionTests(SynchronousTestCase):
    """What is asked wrongly is said before anything is connected."""

    def error(self, *arguments: str) -> str:
        result = CliRunner().invoke(command, arguments)
        self.assertEqual(result.exit_code, 2, result.output)
        return result.output

    def test_who_i_am_must_be_said_once_and_whole(self) -> None:
        anchors = ("web.emojivoto@10.1.0.2", "--trust-anchors-file", "ca.crt")
        for options in (
            (),
            ("--name", str(EMOJI), "--token-file", "t"),
            ("--certificate-file", "c"),
            ("--certificate-file", "c", "--key-file", "k", "--token-file", "t"),
            ("--certificate-file", "c", "--key-file", "k", "--identity-name", str(IDENTITY)),
            ("--name", str(EMOJI), "--token-file", "t", "--identity-address", "ca:8080", "--key-file", "k"),
        ):
            self.assertIn("who you are is missing or said twice", self.error(*anchors, *options))

    def test_values_are_checked(self) -> None:
        self.assertIn("'x'", self.error("10.1.0.2", "--trust-anchors-file", "ca.crt", "--src", "x"))
        self.assertIn("no port", self.error("web:x", "--trust-anchors-file", "ca.crt"))
        self.assertIn("needs -o json", self.error("web", "--trust-anchors-file", "ca.crt", "--headers"))
        self.assertIn("--trust-anchors-file", self.error("web"))
        self.assertIn("-o json has the time in any case", self.error("web", "-o", "json", "--no-timestamps"))

    def test_a_wrong_name_is_told_with_where_it_stands(self) -> None:
        problem = (
            "'foo' is not SA.NS.serviceaccount.identity.CONTROL-NS.TRUST-DOMAIN; in the own mesh ACCOUNT.NAMESPACE"
        )
        self.assertIn(f"'--peer': {problem}", self.error("10.1.0.2", "--peer", "foo"))
        self.assertIn(
            f"'--proxy-name' (env var: 'MESHTX_TAP_PROXY_NAME'): {problem}", self.error("a", "--proxy-name=foo")
        )
        self.assertIn(f"'foo@10.1.0.2': {problem}", self.error("foo@10.1.0.2", "--trust-anchors-file=ca.crt"))
        self.assertIn("Invalid value for 'web.shop@': ''", self.error("web.shop@", "--trust-anchors-file=ca.crt"))

    def test_a_cluster_and_places_are_asked_for_apart(self) -> None:
        self.assertIn("not both at once", self.error("deploy/web", "10.1.0.2"))
        self.assertIn("one thing of a cluster at a time", self.error("deploy/web", "deploy/emoji"))
        self.assertIn("--proxy-name says nothing of 'deploy/web'", self.error("deploy/web", "--proxy-name", "a.b"))
        self.assertIn("--namespace says nothing of '10.1.0.2'", self.error("10.1.0.2", "-n", "emojivoto"))

    def test_what_only_the_environment_gives_may_be_for_other_calls(self) -> None:
        environment = {"MESHTX_TAP_PROXY_NAME": "a.b", "KUBECONFIG": "/nonexistent"}
        result = CliRunner().invoke(command, ["deploy/web"], env=environment)
        self.assertIsInstance(result.exception, ConfigError)

    def test_help_names_the_environment(self) -> None:
        self.assertIn("MESHTX_TAP_TOKEN_FILE", CliRunner().invoke(command, ["--help"]).output)


class Meshtx(ProcessProtocol):
    """A running ``meshtx``."""

    def __init__(self) -> None:
        self.out = b""
        self.err = b""
        self.status: Deferred[int] = Deferred()
        self._waiting: list[tuple[bytes, Deferred[None]]] = []

    def outReceived(self, data: bytes) -> None:
        self.out += data
        self._tell()

    def errReceived(self, data: bytes) -> None:
        self.err += data
        self._tell()

    def until(self, text: bytes) -> Deferred[None]:
        waiter: Deferred[None] = Deferred()
        self._waiting.append((text, waiter))
        self._tell()
        return waiter

    def _tell(self) -> None:
        for entry in list(self._waiting):
            if entry[0] in self.out + self.err:
                self._waiting.remove(entry)
                entry[1].callback(None)

    def processEnded(self, reason: Failure) -> None:
        reason.trap(ProcessDone, ProcessTerminated)
        for text, waiter in self._waiting:
            waiter.errback(AssertionError(f"ended without saying {text!r}: {self.err!r}"))
        self.status.callback(reason.value.exitCode)


class TapCommandCase(TapCase):
    """The command itself, in a process of its own, against a proxy's tap port here."""

    timeout = 30

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        super().setUp()

    def start(self, *arguments: str, terminal: bool = False, **environment: str) -> Meshtx:
        """Run ``meshtx tap``, perhaps on a terminal; it is gone when the test ends."""
        process = Meshtx()
        code = "from meshtx.cli.main import main; main()"
        clean = {key: value for key, value in os.environ.items() if not key.startswith("MESHTX_")}
        running = reactor.spawnProcess(
            process,
            sys.executable,
            [sys.executable, "-c", code, "tap", *arguments],
            env={**clean, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
            usePTY=terminal,
        )

        def end() -> Deferred[int] | None:
            if process.status.called:
                return None
            running.signalProcess("KILL")
            return process.status

        self.addCleanup(end)
        self.running = running
        return process

    def files(self, ca: Ca | None = None, name: Name = EMOJI) -> list[str]:
        """Options that give the command its certificate."""
        credentials = make_leaf(ca or self.ca, name)
        (self.folder / "tap.crt").write_bytes(credentials.chain_pem())
        (self.folder / "tap.key").write_bytes(credentials.key_pem())
        (self.folder / "anchors").write_text(self.ca.pem)
        return [
            "--certificate-file",
            str(self.folder / "tap.crt"),
            "--key-file",
            str(self.folder / "tap.key"),
            "--trust-anchors-file",
            str(self.folder / "anchors"),
        ]

    @inlineCallbacks
    def refused(self, *arguments: str, status: int = 1):
        """Run it to its failure; return the one line that it says."""
        tap = self.start(*arguments)
        self.assertEqual((yield tap.status), status, tap.err)
        self.assertEqual(tap.out, b"")
        (line,) = tap.err.decode().splitlines()
        return line


class TapCommandTests(TapCommandCase):
    @inlineCallbacks
    def test_lines_until_there_are_enough(self):
        tap = self.start(f"web.emojivoto@{self.address}", "--max-lines", "2", "--path", "/api", *self.files())
        yield tap.until(b"the tap is open")
        self.exchange("/other")
        self.exchange("/api/list")
        self.assertEqual((yield tap.status), 0)
        first, second = tap.out.decode().splitlines()
        self.assertEqual(
            first,
            "req id=1:0 proxy=in  src=10.1.0.4:48210 dst=10.1.0.2:80 tls=true"
            " :method=GET :authority=web:80 :path=/api/list",
        )
        self.assertTrue(second.startswith("rsp id=1:0 proxy=in  "))
        self.assertEqual(tap.err.decode(), f"meshtx: {self.address}: the tap is open\n")

    @inlineCallbacks
    def test_an_interrupt_ends_it_cleanly(self):
        tap = self.start(f"{WEB}@{self.address}", *self.files())
        yield tap.until(b"the tap is open")
        self.running.signalProcess("INT")
        self.assertEqual((yield tap.status), 0)
        self.assertEqual(tap.err.decode(), f"meshtx: {self.address}: the tap is open\n")

    @inlineCallbacks
    def test_several_proxies_end_together(self):
        other = self.serve(make_leaf(self.ca, WEB), {EMOJI})
        tap = self.start(
            str(self.address), str(other), *self.files(), "--proxy-name", "web.emojivoto", "--max-lines", "1"
        )
        yield tap.until(f"{self.address}: the tap is open".encode())
        yield tap.until(f"{other}: the tap is open".encode())
        self.exchange()
        self.assertEqual((yield tap.status), 0)
        self.assertEqual(len(tap.out.splitlines()), 1)

    @inlineCallbacks
    def test_one_that_fails_is_said_and_the_others_go_on(self):
        tap = self.start(
            f"web.emojivoto@{self.address}", "web.emojivoto@127.0.0.1:1", *self.files(), "--max-lines", "1"
        )
        yield tap.until(b"the tap is open")
        yield tap.until(b"meshtx: 127.0.0.1:1: connecting to 127.0.0.1:1: ")
        self.exchange()
        self.assertEqual((yield tap.status), 1)
        self.assertEqual(len(tap.out.splitlines()), 1)

    @inlineCallbacks
    def test_a_proxy_with_another_name_is_not_listened_to(self):
        line = yield self.refused(f"voting.emojivoto@{self.address}", *self.files())
        self.assertIn(f"meshtx: {self.address}: name_mismatch: ", line)

    @inlineCallbacks
    def test_who_is_not_listed_is_told_what_to_do(self):
        line = yield self.refused(f"web.emojivoto@{self.address}", *self.files(name=WEB))
        self.assertIn(f"PERMISSION_DENIED: {WEB} may not tap; name it in this proxy's tap_identity", line)

    @inlineCallbacks
    def test_without_a_name_to_expect_nothing_is_connected(self):
        line = yield self.refused(str(self.address), *self.files(), status=2)
        self.assertIn(f"nobody says whom to expect there; write NAME@{self.address}, or give --proxy-name", line)
        self.assertEqual(self.hub.subscriptions, ())

    @inlineCallbacks
    def test_a_file_that_is_missing_is_said_in_one_line(self):
        files = self.files()
        (self.folder / "tap.key").unlink()
        line = yield self.refused(f"web.emojivoto@{self.address}", *files, status=2)
        self.assertIn("tap.key", line)

    @inlineCallbacks
    def test_an_own_certificate_of_another_mesh_is_found_out_here(self):
        line = yield self.refused(f"web.emojivoto@{self.address}", *self.files(make_ca()))
        self.assertIn("certificate", line)
        self.assertEqual(self.hub.subscriptions, ())

    @inlineCallbacks
    def test_the_directory_names_the_proxy(self):
        directory = self.folder / "mesh.toml"
        directory.write_text(f'[[workload]]\naddresses = ["127.0.0.1"]\nidentity = "{WEB}"\n')
        arguments = [str(self.address), *self.files(), "--directory-file", str(directory), "--max-lines", "1"]
        tap = self.start(*arguments)
        yield tap.until(b"the tap is open")
        self.exchange()
        self.assertEqual((yield tap.status), 0)
        directory.write_text("workload = []")
        line = yield self.refused(*arguments)
        self.assertIn(f"the directory file has no name for 127.0.0.1; write NAME@{self.address}", line)


class TapByTokenTests(TapCommandCase):
    """The certificate comes from an identity service here."""

    def setUp(self) -> None:
        super().setUp()
        self.made = ca_folder.init(self.folder / "ca", SCOPE, datetime.now(UTC))
        self.issuer = IssuerFiles(self.made.issuer, reactor, name=IDENTITY)
        own = OwnCertificate(IDENTITY, lambda: self.issuer.loaded, reactor).credentials
        contexts = Contexts(own, self.issuer.loaded.trust)
        validator = LocalValidator.from_pem((self.folder / "ca" / ca_folder.TOKEN_PUBLIC).read_bytes())
        service = CertifyService(lambda: self.issuer.loaded, validator, SCOPE, reactor, time.time)
        self.identity = self.listen(service.handlers(), contexts, require_peer=False)
        self.token = self.folder / "token"

    @inlineCallbacks
    def test_a_token_gets_the_certificate(self):
        token = ca_folder.create_token(self.folder / "ca", "emojivoto", "emoji", time.time())
        self.token.write_text(token + "\n")
        web = OwnCertificate(WEB, lambda: self.issuer.loaded, reactor).credentials
        address = self.serve(web, {EMOJI}, self.issuer.loaded.trust)
        tap = self.start(
            f"web.emojivoto@{address}",
            "--max-lines=1",
            "--output=json",
            MESHTX_TAP_NAME=str(EMOJI),
            MESHTX_TAP_TOKEN_FILE=str(self.token),
            MESHTX_TAP_IDENTITY_ADDRESS=str(self.identity),
            MESHTX_TAP_TRUST_ANCHORS_FILE=str(self.folder / "ca" / ca_folder.BUNDLE),
        )
        yield tap.until(b"the tap is open")
        self.exchange()
        self.assertEqual((yield tap.status), 0)
        self.assertTrue(tap.out.startswith(b'{"event":"req",'))
        self.assertNotIn(token.encode(), tap.out + tap.err)

    @inlineCallbacks
    def test_a_bad_token_is_the_identity_services_word(self):
        self.token.write_text("e30.e30.e30")
        line = yield self.refused(
            f"web.emojivoto@{self.address}",
            f"--name={EMOJI}",
            f"--token-file={self.token}",
            f"--identity-address={self.identity}",
            f"--trust-anchors-file={self.folder / 'ca' / ca_folder.BUNDLE}",
        )
        self.assertIn(f"the identity service {self.identity} gives no certificate: ", line)
        self.assertNotIn("e30.e30", line)

    @inlineCallbacks
    def test_an_identity_service_that_is_another_gets_no_token(self):
        self.token.write_text("secret")
        line = yield self.refused(
            f"web.emojivoto@{self.address}",
            f"--name={EMOJI}",
            f"--token-file={self.token}",
            f"--identity-address={self.identity}",
            f"--identity-name={WEB}",
            f"--trust-anchors-file={self.folder / 'ca' / ca_folder.BUNDLE}",
        )
        self.assertIn("name_mismatch", line)
