"""An established connection, protocols for its ends, and what can be asked of it."""

from __future__ import annotations

import contextlib
import resource
import socket

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.interfaces import IConsumer

from meshtx.net.contexts import Contexts, peer_check
from meshtx.net.failures import TlsError, TlsFailure
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf
from tests.net.tls_wire import Half, Plain, Side, WireCase, join, outcomes, turns

CA = make_ca()
CLIENT = Contexts(make_leaf(CA, WEB), CA.trust)
SERVER = Contexts(make_leaf(CA, VOTING), CA.trust)

LOOKS = 4
"""How many looks at a connection must find it the same until it is said to rest."""

BIG = bytes(range(256)) * 4 * 4096
"""4 MiB: more than the kernel's buffers on loopback."""


class Case(WireCase):
    async def pair(self, client: Plain | None = None, server: Plain | None = None, **options) -> tuple[Side, Side]:
        """Return both ends, established; the options are of the client."""
        c = Side(CLIENT.client(VOTING), client or Half(), **options)
        s = Side(SERVER.server(), server or Half())
        join(self, c, s)
        await outcomes(c, s)
        await turns()
        return c, s

    def assert_truncated(self, error: object) -> None:
        assert isinstance(error, TlsError), error
        self.assertEqual(
            (error.reason, error.detail), (TlsFailure.TRUNCATED, "the peer ended TCP without close_notify")
        )


class WritesAtOnce(Half):
    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.write(b"early")


class EndsAtOnce(WritesAtOnce):
    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.loseWriteConnection()


class PausedFromTheStart(Half):
    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.pauseProducing()


class Source:
    """A push producer that writes as fast as it may, from a turn of its own."""

    def __init__(self, consumer: IConsumer, size: int = 16384) -> None:
        self.consumer = consumer
        self.size = size
        self.log: list[str] = []
        self.written = 0
        self.going = False

    def resumeProducing(self) -> None:
        self.log.append("resume")
        self.going = True
        reactor.callLater(0, self.produce)

    def pauseProducing(self) -> None:
        if self.log[-1:] != ["pause"]:
            self.log.append("pause")
        self.going = False

    def stopProducing(self) -> None:
        self.log.append("stop")
        self.going = False

    def produce(self, at_most: int = 2**28) -> None:
        while self.going and self.written < at_most:
            self.written += self.size
            self.consumer.write(bytes(self.size))


def flood(port: int, size: int) -> None:
    """Send that many bytes, end, and wait for the other end."""
    like = CLIENT.client(VOTING)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(None)
        connection = SSL.Connection(like.get_context(), sock)
        connection.set_app_data(peer_check(like))
        connection.set_connect_state()
        for _ in range(size // 2**16):
            connection.sendall(bytes(2**16))
        connection.shutdown()
        with contextlib.suppress(SSL.ZeroReturnError):
            connection.recv(1)


def resident() -> int:
    """Bytes of memory that this process has in use."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def unsent(tcp) -> int:
    """Bytes that our side of the connection holds, outside the kernel."""
    return len(tcp.dataBuffer) - tcp.offset + tcp._tempDataLen


async def settled(tcp) -> None:
    """Wait until nothing moves any more: kernel and peer hold what they can.

    Several looks must agree: on a busy machine the kernel may rest between two.
    """
    looks = [b"", b"?"]
    while len(set(looks)) > 1:
        looks = [*looks[-LOOKS + 1 :], tcp.getHandle().getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)[120:128]]
        await turns(0.05)
