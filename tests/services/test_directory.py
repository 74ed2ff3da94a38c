"""``meshdirectory`` where there is no cluster; the rest is told by ``tests.kube.test_directory_program``."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from meshtx.config_load import load
from meshtx.errors import ConfigError
from meshtx.kube.settings.directory import DirectoryConfig
from meshtx.services.directory import DirectoryProgram, make
from tests.services.directory_files import CA, flags, write_files
from tests.services.test_identity_process import TWISTD

ENVIRONMENT = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}


class WithoutAClusterTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        write_files(self.folder, "t", CA.pem)

    def make(self, environ: dict[str, str] = ENVIRONMENT, **changed: str) -> DirectoryProgram:
        return make(reactor, load(DirectoryConfig, flags(self.folder, **changed), {}), environ)

    def test_outside_a_pod_it_says_what_is_missing(self) -> None:
        error = self.assertRaises(ConfigError, self.make, {})
        self.assertIn("KUBERNETES_SERVICE_HOST", error.key)

    def test_without_a_token_it_says_where_it_should_be(self) -> None:
        (self.folder / "token").unlink()
        error = self.assertRaises(ConfigError, self.make)
        self.assertIn(str(self.folder / "token"), str(error))

    async def test_as_a_program_it_says_so_in_one_line_and_ends(self) -> None:
        options = [f"--{key.replace('_', '-')}={value}" for key, value in flags(self.folder).items()]
        command, *arguments = [*TWISTD, "--nodaemon", "--pidfile=", "meshdirectory", *options]
        environment = {"PATH": os.environ["PATH"], "PYTHONWARNINGS": "ignore"}
        out, err, status = await getProcessOutputAndValue(command, arguments, environment, str(self.folder))
        self.assertEqual((out, status), (b"", 2))
        self.assertEqual(err.count(b"\n"), 1, err)
        self.assertRegex(err.decode(), r"\Ameshdirectory: KUBERNETES_SERVICE_HOST .*: not set: this is no pod")

    def test_an_address_that_is_taken_is_said(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            error = self.assertRaises(ConfigError, self.make, listen=address)
        self.assertEqual(error.key, "listen")

    async def test_without_an_api_server_it_runs_and_is_not_ready(self) -> None:
        program: Any = self.make()
        self.assertIn("permissions are not checked", program.ready_reason())
        program.privilegedStartService()
        program.startService()
        await program.stopService()
        self.assertIsNotNone(program.ready_reason())
