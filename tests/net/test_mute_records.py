"""Records that say nothing to the application, without an end: nobody else waits for one who sends them."""

from __future__ import annotations

import contextlib
import ssl
import sys
from fcntl import ioctl
from pathlib import Path
from termios import FIONREAD
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from meshtx.net.contexts import Contexts
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.records import MUTE, FastRecords, PublicRecords
from meshtx.net.socket_records import SocketRecords
from meshtx.pki.keys import key_to_pem
from tests.net.certificates import VOTING, make_ca, make_leaf
from tests.net.record_ends import End, MemoryEnd, SocketEnd

CA = make_ca()
LEAF = make_leaf(CA, VOTING)
CLIENT = Contexts(None, CA.trust)


class Issuer:
    """A server of another implementation that gives so many tickets behind the handshake, each in a record."""

    def __init__(self, case: SynchronousTestCase, tickets: int) -> None:
        file = Path(case.mktemp())
        file.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in LEAF.chain) + key_to_pem(LEAF.key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        context.num_tickets = tickets
        self._into, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._into, self._out, server_side=True)

    def answer(self, cipher: bytes) -> bytes:
        """Go on with the handshake, and return what is to be sent."""
        self._into.write(cipher)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._out.read()

    def says(self, plain: bytes) -> bytes:
        """Return the record of these bytes."""
        self._tls.write(plain)
        return self._out.read()


class Case(SynchronousTestCase):
    def tickets(self, client: End, tickets: int) -> tuple[Issuer, bytes]:
        """Return who gives tickets, and these, which the client has not got yet."""
        issuer = Issuer(self, tickets)
        client.received(b"")
        while not client.shaken:  # it may ask for a key of another kind first
            client.give(issuer.answer(client.take()))
        return issuer, issuer.answer(client.take())


class SocketTests(Case):
    def test_a_read_gives_way_behind_each(self) -> None:
        """So whoever sends them without an end has one a turn."""
        client = SocketEnd(self, SocketRecords, CLIENT.client(VOTING))
        issuer, tickets = self.tickets(client, 3)
        client.wire.sendall(tickets + issuer.says(b"said"))
        for left in (3, 2, 1):
            before = unread(client)
            client.tcp.doRead()
            self.assertEqual(client.got, b"")
            self.assertLess(unread(client), before)
            self.assertGreaterEqual(unread(client), (left - 1) * len(tickets) // 3)
        client.tcp.doRead()
        self.assertEqual((client.got, unread(client)), (b"said", 0))


class MemoryTests:
    kind: Any

    def test_too_many_in_succession_end_it(self: Any) -> None:
        client = MemoryEnd(self, self.kind, CLIENT.client(VOTING))
        _, tickets = self.tickets(client, 1000)
        self.assertGreater(len(tickets), 2 * MUTE)
        client.give(tickets[:MUTE])
        self.assertIsNone(client.ended)
        client.give(tickets[MUTE:])
        error = client.ended
        assert isinstance(error, TlsError), error
        self.assertEqual(error.reason, TlsFailure.OTHER)
        self.assertEqual(error.detail, "the peer sends key updates and nothing else")

    def test_many_between_bytes_are_no_matter(self: Any) -> None:
        client = MemoryEnd(self, self.kind, CLIENT.client(VOTING))
        issuer, tickets = self.tickets(client, 3)
        client.give(tickets)
        for _ in range(20):
            client.give(issuer.says(bytes(5000)))
        self.assertEqual((client.got, client.ended), (bytes(100_000), None))


class PublicTests(MemoryTests, Case):
    kind = PublicRecords


class FastTests(MemoryTests, Case):
    kind = FastRecords


def unread(end: SocketEnd) -> int:
    """Return how many bytes wait in the kernel."""
    return int.from_bytes(ioctl(end.tcp.socket, FIONREAD, bytes(4)), sys.byteorder)
