"""Two thousand requests by other people's load generators, over HTTP/1.1 and HTTP/2: none fails."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.mesh import web_server
from tests.mesh.town import Town, why_not

MANY = 2000


class Tale(SynchronousTestCase):
    skip = why_not("wrk", "h2load")

    def setUp(self) -> None:
        self.town = Town(["client", "server"])
        self.addCleanup(self.town.remove)
        self.town.identity()
        self.town.sidecars()
        self.server = self.town.python("server", web_server, "0.0.0.0", "80", ready="serving")
        self.url = f"http://{self.town.addresses['server']}:80/"  # wrk would look its port up in /etc/services

    def test_wrk_and_h2load_see_no_error(self) -> None:
        wire = self.town.capture()
        self.wrk()
        self.h2load()
        _, streams = wire.end()
        self.assertEqual({stream.server.port for stream in streams if stream.sent}, {4143})

    def wrk(self) -> None:
        """Ask for as long as it takes: wrk knows a time, and no number."""
        done = 0
        for _ in range(20):
            said = self.town.run("client", "wrk", "-t1", "-c16", "-d2s", "--timeout", "20s", self.url)
            done += self.number(r"(\d+) requests in", said)
            self.assertNotIn("Socket errors", said)
            self.assertNotIn("Non-2xx", said)
            if done >= MANY:
                return
        self.fail(f"wrk got {done} answers in 40 s")

    def h2load(self) -> None:
        said = self.town.run("client", "h2load", f"-n{MANY}", "-c8", "-m8", self.url)
        pattern = r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored"
        found = re.search(pattern, said)
        assert found, said
        self.assertEqual([int(each) for each in found.groups()], [MANY] * 4 + [0, 0])
        self.assertEqual(self.number(r"status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx", said), MANY)

    def number(self, pattern: str, text: str) -> int:
        found = re.search(pattern, text)
        assert found, text
        return int(found[1])
