"""A detector that a user has installed and named shows its protocol's requests in the tap of real proxies."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.mesh import redis_client, redis_server
from tests.mesh.town import Town, why_not
from tests.plugins.test_example import install


class Tale(SynchronousTestCase):
    skip = why_not()

    def setUp(self) -> None:
        work = Path(self.mktemp()).absolute()
        work.mkdir()
        install(work / "site", work)
        self.town = Town(["client", "server"], packages=work / "site")
        self.addCleanup(self.town.remove)
        self.town.identity()
        self.town.sidecars("--detectors=http/1.1,h2,redis")

    def test_its_requests_are_in_the_tap_of_both_proxies(self) -> None:
        server = self.town.addresses["server"]
        self.town.python("server", redis_server, "0.0.0.0", "6379", ready="serving")
        tap = self.town.tap("client", "server", options=["--max-lines", "6"])
        self.assertIn("+PONG", self.town.python("client", redis_client, server, "6379").answer())
        lines = tap.answer()
        where = rf"src=\S+ dst={re.escape(server)}:6379 tls=true"
        for proxy in ("out", "in "):
            self.assertRegex(lines, rf"req id=\S+ proxy={proxy} {where} :method=PING")
            self.assertRegex(lines, rf"end id=\S+ proxy={proxy} {where} .*response-length=7B")
