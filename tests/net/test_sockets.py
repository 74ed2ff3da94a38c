"""The options of every TCP socket of ours."""

from __future__ import annotations

import os
import socket
import struct
import sys
from types import SimpleNamespace

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshtx.net import sockets
from meshtx.net.sockets import SocketOptions, arm, disarm, prepared, retransmits, set_mark


def linger(sock: socket.socket) -> tuple[int, int]:
    return struct.unpack("ii", sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))


def tcp_option(sock: socket.socket, name: str) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))


class Recorder:
    """A socket that records its options."""

    def __init__(self) -> None:
        self.options: list[tuple[int, int, int | bytes]] = []

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        self.options.append((level, name, value))


class SocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sock = socket.socket()
        self.addCleanup(self.sock.close)

    def test_an_armed_socket_resets_on_close_and_a_disarmed_one_does_not(self) -> None:
        arm(self.sock, SocketOptions())
        self.assertEqual(linger(self.sock), (1, 0))
        disarm(self.sock)
        self.assertEqual(linger(self.sock)[0], 0)

    def test_a_dead_peer_is_noticed_within_a_minute(self) -> None:
        arm(self.sock, SocketOptions())
        self.assertEqual(self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
        idle, interval, probes, timeout = (
            tcp_option(self.sock, name) for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        )
        self.assertEqual((idle, interval, probes, timeout), (20, 10, 3, 30_000))
        self.assertLess(idle + interval * probes, 60)

    def test_small_writes_are_not_delayed(self) -> None:
        arm(self.sock, SocketOptions())
        self.assertNotEqual(tcp_option(self.sock, "TCP_NODELAY"), 0)

    def test_what_the_user_chose_is_set(self) -> None:
        arm(self.sock, SocketOptions(keepalive=7, user_timeout=1.5))
        self.assertEqual(tcp_option(self.sock, "TCP_KEEPIDLE"), 7)
        self.assertEqual(tcp_option(self.sock, "TCP_USER_TIMEOUT"), 1500)

    def test_a_user_timeout_that_the_kernel_cannot_hold_is_the_nearest(self) -> None:
        for seconds, milliseconds in ((1e-9, 1), (1e9, 2**31 - 1)):
            arm(self.sock, SocketOptions(user_timeout=seconds))
            self.assertEqual(tcp_option(self.sock, "TCP_USER_TIMEOUT"), milliseconds)

    def test_a_mark_is_set_where_one_is_wanted(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("needs root, to mark a socket")
        set_mark(self.sock, SocketOptions())
        self.assertEqual(self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK), 0)
        set_mark(self.sock, SocketOptions(mark=0x4D))
        self.assertEqual(self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK), 0x4D)

    def test_a_socket_that_could_not_be_prepared_is_closed(self) -> None:
        unfit = socket.socket(socket.AF_UNIX)
        self.addCleanup(unfit.close)
        with self.assertRaises(OSError):  # it has no options of TCP
            prepared(unfit, SocketOptions())
        self.assertEqual(unfit.fileno(), -1)

    def test_what_was_sent_again_is_none_where_nothing_was_or_nobody_says(self) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname()) as sock,
        ):
            self.assertEqual(retransmits(sock), 0)
        short = SimpleNamespace(getsockopt=lambda *_: bytes(96))
        self.assertEqual(retransmits(short), 0)  # type: ignore[arg-type]  # a stand-in
        self.patch(sys, "platform", "darwin")
        self.assertEqual(retransmits(sock), 0)  # closed: it is not even asked


class PlatformTests(SynchronousTestCase):
    """macOS: other names, and options that it does not have."""

    def setUp(self) -> None:
        macos = SimpleNamespace(
            SOL_SOCKET=0xFFFF,
            SO_LINGER=0x80,
            SO_KEEPALIVE=8,
            IPPROTO_TCP=6,
            TCP_NODELAY=1,
            TCP_KEEPALIVE=0x10,
            TCP_KEEPINTVL=0x101,
            TCP_KEEPCNT=0x102,
        )
        self.patch(sockets, "socket", macos)
        sockets._connection_options.cache_clear()
        self.addCleanup(sockets._connection_options.cache_clear)

    def test_options_that_a_platform_lacks_are_left_out(self) -> None:
        sock = Recorder()
        arm(sock, SocketOptions())  # type: ignore[arg-type]  # a stand-in
        self.assertEqual(
            sock.options,
            [
                (0xFFFF, 0x80, struct.pack("ii", 1, 0)),
                (0xFFFF, 8, 1),
                (6, 1, 1),
                (6, 0x10, 20),
                (6, 0x101, 10),
                (6, 0x102, 3),
            ],
        )

    def test_a_mark_that_cannot_be_set_is_an_error(self) -> None:
        sock = Recorder()
        set_mark(sock, SocketOptions())  # type: ignore[arg-type]  # a stand-in
        failed = self.assertRaises(OSError, set_mark, sock, SocketOptions(mark=1))
        self.assertIn("this platform has no socket marks", str(failed))
