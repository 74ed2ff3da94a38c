"""``meshtx wait`` against an admin site that becomes ready, or does not."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from tests.cli.test_main import Case


class WaitTests(Case):
    def serve(self, ready: Callable[[], bool], says: bytes = b"not ready: no certificate yet\n") -> int:
        """Return the port of a site that says whether it is ready."""

        class Site(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if ready() and self.path == "/ready" else 503)
                self.end_headers()
                self.wfile.write(says)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Site)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        return server.server_port

    def test_it_ends_when_the_proxy_is_ready(self) -> None:
        answers = iter([False, False, True])
        port = self.serve(lambda: next(answers))
        self.assertEqual(self.run_line("wait", f"--port={port}", "--timeout=10s"), (0, "", ""))
        self.assertEqual(list(answers), [])

    def test_a_proxy_that_is_never_ready_fails_it_with_its_reason(self) -> None:
        port = self.serve(lambda: False)
        self.assertEqual(
            self.run_line("wait", f"--port={port}", "--timeout=0.1s"),
            (1, "", "meshtx: the proxy is not ready after 0.1 s: not ready: no certificate yet\n"),
        )

    def test_somebody_else_s_page_is_one_line_too(self) -> None:
        for says, line in (
            (b"<html>\r\n<h1>\x1b[31mno</h1>\n", r"<html> <h1>\x1b[31mno</h1>"),
            (b"", "port {port}: HTTP status 503"),
        ):
            port = self.serve(lambda: False, says)
            self.assertEqual(
                self.run_line("wait", f"--port={port}", "--timeout=0.1s"),
                (1, "", f"meshtx: the proxy is not ready after 0.1 s: {line.format(port=port)}\n"),
            )

    def test_where_nobody_listens_it_waits_and_says_so(self) -> None:
        self.assertEqual(
            self.run_line("wait", "--port=1", "--timeout=0.1s"),
            (1, "", "meshtx: the proxy is not ready after 0.1 s: port 1: connection refused\n"),
        )
