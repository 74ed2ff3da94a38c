"""The wire of a demo without namespaces, as a process between two sockets."""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshtx.demo import wire
from meshtx.demo.lab import wait_until
from tests.mesh.town import PATIENCE, environment
from tests.ports import reserve_port


class WireTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.server = self.listener()
        kept = reserve_port()
        self.addCleanup(kept.close)
        self.where = kept.getsockname()
        self.target = "{}:{}".format(*self.server.getsockname())
        routes = folder / "routes.json"
        routes.write_text(json.dumps([["vote-bot", "{}:{}".format(*self.where), self.target]]))
        self.output = folder / "wire.json"
        argv = [sys.executable, "-m", wire.__name__, str(routes), str(self.output)]
        self.process = subprocess.Popen(argv, env=environment())
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)
        wait_until(self.output.with_suffix(".ready").is_file, "the wire", PATIENCE)

    def listener(self) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(PATIENCE)
        self.addCleanup(listener.close)
        return listener

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Return a client's connection through the wire, and the server's."""
        client = socket.create_connection(self.where, PATIENCE)
        server, _ = self.server.accept()
        server.settimeout(PATIENCE)
        self.addCleanup(client.close)
        self.addCleanup(server.close)
        return client, server

    def recorded(self) -> list[list[str]]:
        """Stop the wire, and return what it has written down."""
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(PATIENCE), 0)
        return json.loads(self.output.read_text())

    def test_bytes_and_ends_pass_and_are_written_down(self) -> None:
        client, server = self.pair()
        client.sendall(b"ask")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(server.makefile("rb").read(), b"ask")
        server.sendall(b"answer")
        server.shutdown(socket.SHUT_WR)
        self.assertEqual(client.makefile("rb").read(), b"answer")
        self.assertEqual(self.recorded(), [["vote-bot", self.target, b"ask".hex(), b"answer".hex()]])

    def test_a_reset_is_a_reset_on_the_other_side(self) -> None:
        for ours, theirs in (self.pair(), reversed(self.pair())):
            ours.sendall(b"x")
            self.assertEqual(theirs.recv(1), b"x")
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            ours.close()
            self.assertRaises(ConnectionResetError, theirs.recv, 1)

    def test_a_server_that_is_not_there_is_a_reset(self) -> None:
        self.server.close()
        with self.assertRaises(ConnectionResetError), socket.create_connection(self.where, PATIENCE) as client:
            client.recv(1)  # if it had not come before connect(2) returned
