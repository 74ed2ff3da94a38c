"""The example's services, when they cannot do what they are asked to."""

import socket
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from meshtx.demo.plan import examples

NOWHERE = "127.0.0.1:1"
OTHERS = {"web": ["--emoji", NOWHERE, "--voting", NOWHERE], "emoji": [], "voting": []}


class ServiceTests(SynchronousTestCase):
    def end(self, program: str, *options: str) -> tuple[int, str]:
        """Return the exit status, and the last line that it says."""
        command = [sys.executable, str(examples() / f"{program}.py"), *options]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        self.assertNotIn("Traceback", ended.stderr)
        return ended.returncode, ended.stderr.splitlines()[-1]

    def test_a_port_that_is_taken_is_said_in_one_line(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            listen = f"127.0.0.1:{taken.getsockname()[1]}"
            for program, others in OTHERS.items():
                status, said = self.end(program, "--listen", listen, *others)
                self.assertEqual(status, 1)
                self.assertRegex(said, rf"{program}\.py: .*([Aa]ddress already in use|Failed to bind)")

    def test_a_place_that_is_none_is_said_in_one_line(self) -> None:
        for program, others in OTHERS.items():
            self.assertEqual(self.end(program, "--listen", "here", *others)[0], 2)
        self.assertIn("'web:99999' is not ADDRESS:PORT", self.end("vote_bot", "--web", "web:99999")[1])

    def test_a_file_that_cannot_be_written_is_said_in_one_line(self) -> None:
        status, said = self.end("vote_bot", "--web", NOWHERE, "--rounds=1", "--counts", "/nonexistent/counts")
        self.assertEqual((status, said.count("/nonexistent/counts")), (1, 1))
