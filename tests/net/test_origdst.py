"""Where a redirected connection was going. (What a real kernel answers: `tests.net.test_redirect`.)"""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from meshtx.net.origdst import AlreadyGone, NoOriginalDestination, Original, original_destination
from meshtx.wire.address import Address


class Socket:
    """Answers getsockopt as the kernel does.

    :param there: the connection stands.
    :param state: 1 established, 8 ended by the client (linux/tcp_states.h), which has acknowledged nothing for so long.
    :param quiet: milliseconds.
    """

    def __init__(
        self, answers: dict[tuple[int, int, int], bytes], *, there: bool = True, state: int = 1, quiet: int = 0
    ) -> None:
        info = bytes([state]) + bytes(55) + quiet.to_bytes(4, sys.byteorder)
        self._answers = {**answers, (socket.IPPROTO_TCP, socket.TCP_INFO, len(info)): info}
        self._there = there

    def getpeername(self) -> tuple[str, int]:
        if not self._there:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return "192.0.2.1", 40000

    def getsockopt(self, *asked: int) -> bytes:
        if asked not in self._answers:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self._answers[cast("tuple[int, int, int]", asked)]


ANSWER = {(0, 80, 16): b"\2\0" + b"\x1f\x90" + bytes([10, 1, 0, 2]) + bytes(8)}
V4 = Socket(ANSWER)
V6 = Socket(
    {(41, 80, 28): b"\x0a\0" + b"\x1f\x90" + bytes(4) + socket.inet_pton(socket.AF_INET6, "fd00::2") + bytes(4)}
)


def ask(sock: Socket, local: str) -> Original:
    return original_destination(cast("socket.socket", sock), Address.parse(local))


class OriginalDestinationTests(SynchronousTestCase):
    def test_an_ipv4_connection_is_asked_for_as_one(self) -> None:
        self.assertEqual(ask(V4, "10.1.0.2:4143"), Original(Address.parse("10.1.0.2:8080"), True))

    def test_an_ipv6_connection_is_asked_for_as_one(self) -> None:
        self.assertEqual(ask(V6, "[fd00::2]:4143"), Original(Address.parse("[fd00::2]:8080"), True))

    def test_an_ipv4_client_on_an_ipv6_socket_is_known_as_ipv4(self) -> None:
        self.assertEqual(ask(V4, "[::ffff:10.1.0.2]:4143"), Original(Address.parse("10.1.0.2:8080"), True))

    def test_our_own_address_means_that_nobody_redirected(self) -> None:
        self.assertEqual(ask(V4, "10.1.0.2:8080"), Original(Address.parse("10.1.0.2:8080"), False))
        self.assertEqual(ask(V6, "[fd00::2]:8080"), Original(Address.parse("[fd00::2]:8080"), False))

    def test_a_connection_that_the_kernel_has_forgotten_has_none(self) -> None:
        failed = self.assertRaises(NoOriginalDestination, ask, V6, "10.1.0.2:4143")
        self.assertEqual(str(failed), "the kernel knows no original destination: No such file or directory")

    def test_a_connection_that_has_ended_has_none_for_it_may_be_another_s(self) -> None:
        failed = self.assertRaises(AlreadyGone, ask, Socket(ANSWER, there=False), "10.1.0.2:4143")
        self.assertEqual(str(failed), "the connection is gone: Transport endpoint is not connected")

    def test_nor_has_one_that_its_client_ended_long_before_it_was_accepted(self) -> None:
        failed = self.assertRaises(AlreadyGone, ask, Socket(ANSWER, state=8, quiet=61_000), "10.1.0.2:4143")
        self.assertEqual(str(failed), "the connection is gone: its client ended it 61 s before it was accepted")
        for state, quiet in ((8, 10_000), (1, 3_600_000)):
            ask(Socket(ANSWER, state=state, quiet=quiet), "10.1.0.2:4143")

    def test_a_kernel_that_tells_less_of_a_connection_is_believed(self) -> None:
        short = Socket(ANSWER)
        short._answers[(socket.IPPROTO_TCP, socket.TCP_INFO, 60)] = b"\x08"
        ask(short, "10.1.0.2:4143")
