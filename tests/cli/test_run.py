"""``meshtx run``: its options are settings of the proxy, read before anything is started."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from meshtx.cli import run
from meshtx.config import ProxyConfig, settings
from meshtx.identity import ca_folder
from meshtx.pki.name import MeshScope
from meshtx.supervisor.supervisor import ProxyProgram
from tests.cli.test_main import Case


class Supervised:
    """In a supervisor's place."""

    def run(self) -> int:
        return 42


class RunTests(Case):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        ca_folder.init(self.folder, MeshScope(), datetime.now(UTC))
        (self.folder / "mesh.toml").write_text("workload = []\n")
        self.config = self.folder / "proxy.toml"
        self.config.write_text(
            f'trust_anchors_file = "{self.folder}/ca-bundle.crt"\ndirectory_file = "{self.folder}/mesh.toml"\n'
            f'certificate_file = "{self.folder}/issuer/tls.crt"\nkey_file = "{self.folder}/issuer/tls.key"\n'
        )
        self.patch(run, "Supervisor", self.supervisor)
        self.started: list[tuple[ProxyProgram, tuple[str, ...]]] = []
        self.log: Any = None

    def supervisor(self, program: ProxyProgram, command: tuple[str, ...], log: Any, _report: object) -> Supervised:
        self.started.append((program, command))
        self.log = log
        return Supervised()

    def test_the_givenreach_the_proxy_and_the_command_its_options(self) -> None:
        given = ["--admin-listen=127.0.0.1:5191", "--drain-timeout=7s", "--admin-plaintext-metrics"]
        many = ["--detectors=h2", "--detectors=http/1.1", "--outbound-listen="]
        line = ["--ready-timeout=3s", f"--config={self.config}", *given, *many, "curl", "--config", "x"]
        self.assertEqual(self.run_line("run", *line), (42, "", ""))
        ((program, command),) = self.started
        self.assertEqual(command, ("curl", "--config", "x"))
        self.assertEqual(
            sorted(program.argv[program.argv.index("meshproxy") + 1 :]),
            sorted([f"--config={self.config}", *given, "--detectors=h2,http/1.1", "--outbound-listen="]),
        )
        self.assertEqual(
            (program.admin_host, program.admin_port, program.ready_timeout, program.drain_timeout),
            ("127.0.0.1", 5191, 3.0, 7.0),
        )

    def test_where_all_addresses_are_listened_on_the_loopback_is_asked(self) -> None:
        self.assertEqual(self.run_line("run", f"--config={self.config}", "--", "true")[0], 42)
        self.assertEqual((self.started[0][0].admin_host, self.started[0][0].admin_port), ("localhost", 4191))

    def test_the_log_goes_to_a_file(self) -> None:
        file = self.folder / "proxy.log"
        file.write_text("before\n")
        self.run_line("run", f"--config={self.config}", f"--proxy-log={file}", "--", "true")
        self.assertEqual((self.log.name, self.log.mode, file.read_text()), (str(file), "ab", "before\n"))

    def test_a_mistake_starts_nothing(self) -> None:
        for option, told in (
            ("--admin-listen=127.0.0.1:0", "admin_listen: port 0 cannot be asked whether the proxy is ready"),
            ("--tap-listen=tap", "--tap-listen: 'tap' is not ADDRESS:PORT"),
            (f"--proxy-log={self.folder}/none/log", f"--proxy-log: {self.folder}/none/log: no such file or directory"),
        ):
            status, out, err = self.run_line("run", f"--config={self.config}", option, "--", "true")
            self.assertEqual((status, out, err.startswith(f"meshtx: {told}; "), self.started), (2, "", True, []), err)

    def test_every_setting_is_in_the_help(self) -> None:
        _, out, _ = self.run_line("run", "--help")
        self.assertEqual([each.flag for each in settings(ProxyConfig) if f"{each.flag} " not in out], [])
