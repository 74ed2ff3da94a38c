"""Over IPv6 it is the same."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.mesh import bytes_peer, web_server
from tests.mesh.town import Town, why_not


class Tale(SynchronousTestCase):
    skip = why_not()

    def setUp(self) -> None:
        self.town = Town(["client", "server"])
        self.addCleanup(self.town.remove)
        self.town.identity()
        self.town.sidecars("--inbound-listen=0.0.0.0:4143,[::]:4143", "--outbound-listen=127.0.0.1:4140,[::1]:4140")
        self.server = self.town.addresses6["server"]

    def test_a_request_over_ipv6_is_mutual_tls_and_tap_shows_it(self) -> None:
        self.town.python("server", web_server, "::", "80", ready="serving")
        tap = self.town.tap("client", "server", options=["--path", "/six", "--max-lines", "6"])
        wire = self.town.capture()
        url = f"http://[{self.server}]/six"
        self.assertEqual(self.town.run("client", "curl", "-sS", "--noproxy", "*", "-m", "20", url), "hello")
        raw, streams = wire.end()
        client = self.town.addresses6["client"]
        ends = {(stream.client.host, str(stream.server)) for stream in streams if stream.sent}
        self.assertEqual(ends, {(client, f"[{self.server}]:4143")})
        self.assertNotIn(b"/six", raw)
        lines = [line for line in tap.answer().splitlines() if line.startswith(("req", "rsp", "end"))]
        where = rf"src=\[{client}\]:\d+ dst=\[{self.server}\]:80 tls=true"
        self.assertEqual(len(lines), 6, lines)
        for proxy in ("out", "in "):
            for kind in ("req", "rsp", "end"):
                self.assertEqual(
                    len([line for line in lines if re.match(rf"{kind} id=\S+ proxy={proxy} {where}", line)]), 1, lines
                )

    def test_bytes_over_ipv6(self) -> None:
        self.town.python("server", bytes_peer, "listen", "::", "4444", "exchange", "1000000", ready="listening")
        client = self.town.python("client", bytes_peer, "connect", self.server, "4444", "exchange", "1000000")
        self.assertIn('"size": 1000000', client.answer())
