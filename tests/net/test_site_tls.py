"""A site's certificate over real sockets: what is presented, to whom, and what is left when it ends."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, ITCPTransport
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from meshtx.errors import CredentialsError
from meshtx.kube.serving_certificate import Generation, generate
from meshtx.net import site_tls as module
from meshtx.net.listen import listen
from meshtx.net.site_tls import SiteFactory, SiteTls
from meshtx.net.sockets import SocketOptions
from meshtx.wire.address import Address


class Keeping(ServerFactory):
    """Keeps its connections open, and answers what is said with ``yes``."""

    noisy = False

    def __init__(self) -> None:
        self.protocols: list[Protocol] = []

    def buildProtocol(self, addr: IAddress) -> Protocol:
        protocol = Protocol()
        protocol.dataReceived = lambda _: protocol.transport.write(b"yes")  # type: ignore[method-assign]
        self.protocols.append(protocol)
        return protocol


class SiteTlsTests(TestCase):
    def setUp(self) -> None:
        self.tls = SiteTls()
        self.site = Keeping()
        port = listen(reactor, Address.of("127.0.0.1", 0), SiteFactory(self.tls, self.site), SocketOptions())
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port
        self.addCleanup(lambda: deferLater(reactor, 0.01))

    def present(self) -> Generation:
        generation = generate("site.example.org", datetime.now(UTC))
        self.tls.present(generation.leaf, generation.key)
        return generation

    def connect(self, trusted: Generation, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Deferred[ssl.SSLSocket]:
        """Return a connection to who must prove a name by that authority, once it has been answered."""
        context = ssl.create_default_context(cadata=trusted.authority.public_bytes(Encoding.PEM).decode())
        context.maximum_version = version

        def run() -> ssl.SSLSocket:
            plain = socket.create_connection(("127.0.0.1", self.port), timeout=5)
            try:
                connection = context.wrap_socket(plain, server_hostname="site.example.org")
            except OSError:
                plain.close()
                raise
            connection.send(b"?")
            assert connection.recv(3) == b"yes"
            return connection

        return deferToThread(run)

    async def leaf(self, trusted: Generation) -> x509.Certificate:
        connection = await self.connect(trusted)
        with connection:
            return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")

    async def test_before_there_is_a_certificate_connections_are_closed(self) -> None:
        generation = generate("site.example.org", datetime.now(UTC))
        await self.assertFailure(self.connect(generation), OSError)
        self.assertEqual(self.site.protocols, [])

    async def test_new_connections_get_the_new_certificate_and_old_ones_live_on(self) -> None:
        first = self.present()
        old = await self.connect(first)
        second = self.present()
        self.assertEqual(await self.leaf(second), second.leaf)
        await self.assertFailure(self.connect(first), ssl.SSLCertVerificationError)

        def ask() -> bytes:
            with old:
                old.send(b"?")
                return old.recv(3)

        self.assertEqual(await deferToThread(ask), b"yes")

    async def test_older_tls_is_refused(self) -> None:
        await self.assertFailure(self.connect(self.present(), ssl.TLSVersion.TLSv1_2), ssl.SSLError)

    async def test_a_key_of_another_certificate_changes_nothing(self) -> None:
        generation = self.present()
        other = generate("site.example.org", datetime.now(UTC))
        self.assertRaises(CredentialsError, self.tls.present, other.leaf, generation.key)
        self.assertEqual(await self.leaf(generation), generation.leaf)

    async def test_an_aborted_connection_leaves_nothing_behind(self) -> None:
        """No timer, above all: trial looks for them."""
        connection = await self.connect(self.present())
        ITCPTransport(self.site.protocols[0].transport).abortConnection()
        with connection:
            self.assertEqual(await deferToThread(self.rest, connection), b"")

    async def test_long_records_arrive_whole(self) -> None:
        heard: list[bytes] = []
        connection = await self.connect(self.present())
        self.site.protocols[0].dataReceived = heard.append  # type: ignore[method-assign,assignment]

        def talk() -> None:
            with connection:
                connection.sendall(bytes(10 * module.MUTE))
                connection.unwrap()

        await deferToThread(talk)
        self.assertEqual(b"".join(heard), bytes(10 * module.MUTE))

    async def test_records_that_give_no_plain_bytes_end_it(self) -> None:
        """As key updates are; a long record, which gives none before it is whole, stands for them."""
        heard: list[bytes] = []
        connection = await self.connect(self.present())
        self.site.protocols[0].dataReceived = heard.append  # type: ignore[method-assign,assignment]
        self.patch(module, "MUTE", 4096)
        self.patch(module, "PIECE", 512)

        def talk() -> bytes:
            with connection:
                connection.sendall(bytes(4000))
                connection.sendall(bytes(6000))
                return self.rest(connection)

        self.assertEqual(await deferToThread(talk), b"")
        self.assertEqual(b"".join(heard), bytes(4000))

    async def test_a_handshake_that_fails_is_one_alert_whatever_comes_behind(self) -> None:
        self.present()

        def talk() -> bytes:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as plain:
                plain.sendall(b"\x16\x03\x01\x00\x05\x05\0\0\x01\0" + bytes(4 * module.PIECE))  # no hello of a client
                return b"".join(iter(lambda: plain.recv(1024), b""))

        self.assertEqual(len(await deferToThread(talk)), 7)  # one alert (RFC 8446, section 6)

    def rest(self, connection: ssl.SSLSocket) -> bytes:
        try:
            return connection.recv(1)
        except (ConnectionError, ssl.SSLEOFError):  # a timeout is no end
            return b""
