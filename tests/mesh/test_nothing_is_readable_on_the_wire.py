"""Between two hosts no byte of a request can be read, and it needs no identity service for that to go on."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.mesh import asker, web_server
from tests.mesh.town import Program, Town, why_not

REQUEST = ("POST /path-of-the-request", "X-Secret: header-of-the-request", "body-of-the-request")
SECRETS = (
    *(b"path-of-the-request", b"header-of-the-request", b"body-of-the-request", b"X-Secret", b"POST"),
    *(b"x-served", b"content-length", b"HTTP/1.1", b"server-svc", b"the same again", b"X-Asker"),
)


class Tale(SynchronousTestCase):
    skip = why_not()

    def setUp(self) -> None:
        self.town = Town(["client", "server"], ["outside"])
        self.addCleanup(self.town.remove)
        self.identity = self.town.identity()
        self.town.sidecars()
        self.town.python("server", web_server, "0.0.0.0", "80", ready="serving")
        self.server = self.town.addresses["server"]

    def ask(self, host: str) -> str:
        return self.town.run(
            host,
            *("curl", "-sS", "-m", "20", "--noproxy", "*", "-D", "-", "-H", REQUEST[1], "-d", REQUEST[2]),
            f"http://{self.server}/{REQUEST[0].partition('/')[2]}",
        )

    def test_nothing_is_readable_on_the_wire_with_or_without_the_identity_service(self) -> None:
        wire = self.town.capture()
        self.assertIn(REQUEST[2], self.ask("client"))
        clients = self.keep_asking()
        self.identity.stop()
        self.more(clients)
        self.assertIn(REQUEST[2], self.ask("client"))
        self.town.write("stop", "")
        result = json.loads(clients.answer().splitlines()[-1])
        self.assertEqual(result["errors"], [])

        raw, streams = wire.end()
        self.assertEqual([secret for secret in SECRETS if secret in raw], [])
        ends = [(str(s.client.ip), str(s.server)) for s in streams if s.server.host == self.server]
        self.assertEqual(set(ends), {(self.town.addresses["client"], f"{self.server}:4143")})
        self.assertGreater(sum(len(s.sent) for s in streams), len(REQUEST[2]) * result["answered"])

    def test_the_same_request_of_an_unmeshed_client_is_readable(self) -> None:
        """So the capture sees what there is to see."""
        wire = self.town.capture()
        self.assertIn(REQUEST[2], self.ask("outside"))
        raw, _ = wire.end()
        self.assertEqual([secret for secret in SECRETS[:5] if secret not in raw], [])

    def keep_asking(self) -> Program:
        stop = str(self.town.folder / "stop")
        return self.town.python("client", asker, self.server, "80", stop, ready="asked 10\n")

    def more(self, clients: Program) -> None:
        """Wait until many more requests were answered."""
        wanted = len(clients.lines) + 20
        clients.until(lambda: len(clients.lines) >= wanted, "20 more rounds")
