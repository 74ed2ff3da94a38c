"""The stranger that knocks without a certificate tells whether it was let in."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from meshtx.demo import stranger
from tests.demo.hellos import server_context


class KnockTests(SynchronousTestCase):
    def knock(self, serve: Callable[[socket.socket], None]) -> str | None:
        """Knock at a server that does this with its one connection."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=lambda: serve(listener.accept()[0]))
            thread.start()
            self.addCleanup(thread.join)
            return stranger.knock("127.0.0.1", listener.getsockname()[1], "web")

    def tls(self, then: Callable[[ssl.SSLSocket], None], **settings: ssl.VerifyMode) -> Callable[[socket.socket], None]:
        def serve(plain: socket.socket) -> None:
            context = server_context()
            for key, value in settings.items():
                setattr(context, key, value)
            try:
                with context.wrap_socket(plain, server_side=True) as tls:
                    then(tls)
            except ssl.SSLError:
                plain.close()

        return serve

    def test_who_demands_a_certificate_refuses(self) -> None:
        how = self.knock(self.tls(lambda tls: None, verify_mode=ssl.CERT_REQUIRED))
        self.assertIn("CERTIFICATE_REQUIRED", str(how))

    def test_who_closes_refuses(self) -> None:
        self.assertEqual(self.knock(self.tls(lambda tls: None)), "closed")

    def test_who_speaks_plaintext_or_resets_refuses(self) -> None:
        self.assertIsNotNone(self.knock(lambda plain: plain.close()))

    def test_who_answers_lets_in(self) -> None:
        self.assertIsNone(self.knock(self.tls(lambda tls: tls.sendall(b"x"))))

    def test_who_keeps_it_waiting_has_let_it_in(self) -> None:
        self.patch(stranger, "PATIENCE", 0.2)
        self.assertIsNone(self.knock(self.tls(lambda tls: tls.recv(1))))
