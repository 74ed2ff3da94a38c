"""The load: what it sends, what it counts, what it charges a pause to."""

import os
import select
import socket
import ssl
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.load import connections, paced, strangers
from benchmarks.load.http import body_length, read_head, whole_length
from benchmarks.load.timer import Timer

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Server:
    """Answers on every connection, each in a thread."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            Thread(target=self._serve, args=(connection,), daemon=True).start()

    @staticmethod
    def _serve(connection: socket.socket) -> None:
        """Answers are not of one length, as with Envoy, which says in each how long it took."""
        number = 0
        try:
            while read_head(connection)[0]:
                number += 1
                connection.sendall(ANSWER.replace(b"\r\n\r\n", b"\r\nNumber: %d\r\n\r\n" % number))
        except OSError:
            pass
        connection.close()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class TestHttp(SynchronousTestCase):
    def test_the_length_is_what_the_head_announces(self) -> None:
        self.assertEqual(body_length(b"HTTP/1.1 200 OK\r\ncOntent-Length: 12\r\nX: y"), 12)
        self.assertEqual(body_length(b"HTTP/1.1 200 OK"), 0)

    def test_a_message_has_no_length_before_its_head_is_there(self) -> None:
        self.assertEqual([whole_length(ANSWER[:-6]), whole_length(ANSWER)], [None, len(ANSWER)])


class TestLoad(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Server()
        self.addCleanup(self.server.close)

    def test_connections_go_on_until_the_time_is_over(self) -> None:
        load = connections.Load(("127.0.0.1", self.server.port))
        load.run(0, 3)
        self.assertEqual((load.done, load.failed, len(load.first_bytes)), (3, 0, 3))

    def test_each_so_manyth_is_reset_and_counts_as_done(self) -> None:
        load = connections.Load(("127.0.0.1", self.server.port), cut=2)
        load.run(0, 4)
        self.assertEqual((load.done, load.failed, len(load.first_bytes)), (7, 0, 4))

    def test_who_refuses_is_a_failure(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        load = connections.Load(("127.0.0.1", port))
        load.run(0, 2)
        self.assertEqual((load.done, load.failed), (0, 2))

    def test_a_steady_load_asks_as_often_as_is_due(self) -> None:
        load = paced.Load("127.0.0.1", self.server.port, 2)
        load.run(0.05, 1000)
        self.assertEqual(len(load.waits), len(load.lates))
        self.assertTrue(len(load.waits) >= 50)


class Refusing(Server):
    """Closes whatever has said something."""

    @staticmethod
    def _serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.close()


class TestStrangers(SynchronousTestCase):
    def stranger(self, server: Server) -> strangers.Stranger:
        self.addCleanup(server.close)
        return strangers.Stranger(("127.0.0.1", server.port), "web", ssl.create_default_context())

    def test_who_answers_in_plaintext_has_let_it_in(self) -> None:
        self.assertTrue(self.stranger(Server()).without_tls())

    def test_both_kinds_come_and_what_became_of_them_is_counted(self) -> None:
        stranger = self.stranger(Refusing())
        self.assertEqual((stranger.without_certificate(), stranger.without_tls()), (False, False))
        refused, taken = stranger.come(0.05, 1000)
        self.assertTrue(refused > 0)
        self.assertEqual(taken, 0)


class TestTimer(SynchronousTestCase):
    def test_it_is_readable_once_it_has_expired(self) -> None:
        timer = Timer(1_000_000)
        self.addCleanup(os.close, timer.descriptor)
        select.select([timer.descriptor], [], [], 5)
        self.assertTrue(timer.expired() >= 1)
