"""TLS to servers outside the mesh: who is let through, with real certificates and a real OpenSSL on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import URI, HTTPConnectionPool
from twisted.web.error import SchemeNotSupported

from meshtx.net.https import Borrowed, HttpsEndpoints, ServerTls
from meshtx.pki.credentials import Credentials
from tests.net.certificates import DAY, Ca, make_ca, make_leaf, now

CA = make_ca()
NAME, ADDRESS = "kubernetes.default.svc", "10.96.0.1"
BOTH = [x509.DNSName(NAME), x509.IPAddress(ip_address(ADDRESS)), x509.IPAddress(ip_address("fd00::1"))]


def server(credentials: Credentials) -> SSL.Connection:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(credentials.chain[0])
    context.use_privatekey(credentials.key)
    for issuer in credentials.chain[1:]:
        context.add_extra_chain_cert(issuer)
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    connection = SSL.Connection(context, None)
    connection.set_accept_state()
    return connection


def move(source: SSL.Connection, target: SSL.Connection) -> None:
    try:
        while True:
            target.bio_write(source.bio_read(65536))
    except SSL.WantReadError:
        pass


def shake(client: SSL.Connection, server: SSL.Connection) -> bool:
    """Return whether the client takes the server."""
    done = set()
    for mine, other in ((client, server), (server, client)) * 3:
        try:
            mine.do_handshake()
            done.add(mine)
        except SSL.WantReadError:
            pass
        except SSL.Error:
            return False
        move(mine, other)
    return client in done


class TestServerTls(SynchronousTestCase):
    def taken(
        self,
        expected: str,
        names: Sequence[x509.GeneralName] = BOTH,
        issuer: Ca = CA,
        trusted: Ca = CA,
        **leaf: object,
    ) -> bool:
        self.tls = ServerTls(expected, trusted.trust)
        credentials = make_leaf(issuer, sans=names, **leaf)  # type: ignore[arg-type]  # whatever make_leaf takes
        return shake(self.tls.clientConnectionForTLS(None), server(credentials))  # type: ignore[arg-type]  # unused

    def test_a_server_of_that_name_or_address_is_taken(self) -> None:
        for expected in (NAME, ADDRESS, "fd00::1", "fd00:0::0:1"):
            self.assertTrue(self.taken(expected), expected)
            self.assertIsNone(self.tls.refused)

    def test_a_server_of_another_name_or_address_is_refused(self) -> None:
        for expected in ("kubernetes.default", "10.96.0.2", "fd00::2", "api.example.org"):
            self.assertFalse(self.taken(expected), expected)
            self.assertEqual(self.tls.refused, f"its certificate is not one for {expected} (VerificationError)")

    def test_an_address_is_none_that_stands_where_names_do(self) -> None:
        self.assertFalse(self.taken(ADDRESS, [x509.DNSName(ADDRESS)]))
        self.assertFalse(self.taken(NAME, [x509.UniformResourceIdentifier(f"https://{NAME}/")]))

    def test_what_names_nobody_is_refused(self) -> None:
        """Twisted's own check lets all of these through."""
        for names in (
            [],
            [x509.RFC822Name("root@example.org")],
            [*BOTH, x509.UniformResourceIdentifier("urn:a:b")],
            [*BOTH, x509.DNSName("*")],
            [x509.DNSName("*.com")],
            [x509.DNSName("42")],
        ):
            for expected in (NAME, ADDRESS):
                self.assertFalse(self.taken(expected, names, common_name=expected), names)

    def test_a_wildcard_stands_for_one_label(self) -> None:
        names = [x509.DNSName("*.eu.example.org")]
        self.assertTrue(self.taken("api.eu.example.org", names))
        self.assertFalse(self.taken("a.api.eu.example.org", names))

    def test_only_the_given_authorities_count(self) -> None:
        self.assertFalse(self.taken(ADDRESS, trusted=make_ca()))
        self.assertIn("unable to get issuer cert", self.tls.refused or "")

    def test_a_chain_through_an_intermediate_is_taken(self) -> None:
        self.assertTrue(self.taken(ADDRESS, issuer=make_ca("intermediate", issuer=CA)))

    def test_dates_and_usage_count(self) -> None:
        self.assertFalse(self.taken(ADDRESS, not_before=now() - DAY / 2, not_after=now() - DAY / 4))
        self.assertIn("expired", self.tls.refused or "")
        self.assertFalse(self.taken(ADDRESS, eku=[ExtendedKeyUsageOID.CLIENT_AUTH]))

    def test_a_server_that_is_taken_clears_what_was_wrong_with_another(self) -> None:
        tls = ServerTls(ADDRESS, CA.trust)
        for names, refused in ((BOTH[:1], True), (BOTH, False)):
            shake(tls.clientConnectionForTLS(None), server(make_leaf(CA, sans=names)))  # type: ignore[arg-type]
            self.assertEqual(tls.refused is not None, refused)

    def test_the_name_is_sent_and_an_address_is_not(self) -> None:
        for expected, sent in ((NAME, NAME.encode()), (ADDRESS, None)):
            peer = server(make_leaf(CA, sans=BOTH))
            shake(ServerTls(expected, CA.trust).clientConnectionForTLS(None), peer)  # type: ignore[arg-type]
            self.assertEqual(peer.get_servername(), sent)

    def test_a_client_certificate_is_presented(self) -> None:
        own = make_leaf(CA)

        def present(context: SSL.Context) -> None:
            context.use_certificate(own.chain[0])
            context.use_privatekey(own.key)

        peer = server(make_leaf(CA, sans=BOTH))
        self.assertTrue(shake(ServerTls(NAME, CA.trust, present).clientConnectionForTLS(None), peer))  # type: ignore[arg-type]
        self.assertEqual(peer.get_peer_certificate(as_cryptography=True), own.chain[0])

    def test_versions_before_1_2_are_not_spoken(self) -> None:
        client = ServerTls(NAME, CA.trust).clientConnectionForTLS(None)  # type: ignore[arg-type]
        with self.assertRaises(SSL.WantReadError):
            client.do_handshake()
        hello = client.bio_read(65536)
        versions = hello.index(b"\x00\x2b\x00")  # supported_versions (RFC 8446, section 4.2.1)
        self.assertEqual(hello[versions + 4 : versions + 9], b"\x04\x03\x04\x03\x03")


class TestHttpsEndpoints(SynchronousTestCase):
    def test_plain_http_is_refused(self) -> None:
        endpoints = HttpsEndpoints(MemoryReactorClock(), ADDRESS, 443, ServerTls(NAME, CA.trust))
        with self.assertRaises(SchemeNotSupported):
            endpoints.endpointForURI(URI.fromBytes(b"http://10.96.0.1/"))


class Connection:
    """One of a pool's, as far as `Borrowed` looks at it."""

    state = "QUIESCENT"
    aborted = False

    @property
    def transport(self) -> Connection:
        return self

    def abortConnection(self) -> None:
        self.aborted = True


class Pool(HTTPConnectionPool):
    """Gives its connections in turn."""

    def __init__(self, *connections: Connection) -> None:
        super().__init__(MemoryReactorClock())
        self.connections = list(connections)

    def getConnection(self, key: object, endpoint: object) -> Deferred[Connection]:
        return succeed(self.connections.pop(0))


class BorrowedTests(SynchronousTestCase):
    def borrow(self, pool: Pool) -> tuple[Borrowed, Connection]:
        borrowed = Borrowed(pool)
        connection: Connection = self.successResultOf(borrowed.getConnection("", None))  # type: ignore[arg-type]
        return borrowed, connection

    def test_one_that_was_aborted_is_not_used_again(self) -> None:
        first, second = Connection(), Connection()
        pool = Pool(first, first, second)  # its answer was whole when it was aborted: the pool has it back
        borrowed, connection = self.borrow(pool)
        self.assertIs(connection, first)
        borrowed.abort()
        self.assertTrue(first.aborted)
        self.assertIs(self.borrow(pool)[1], second)

    def test_one_that_is_lost_is_left_alone(self) -> None:
        lost = Connection()
        borrowed, _ = self.borrow(Pool(lost))
        lost.state = "CONNECTION_LOST"
        borrowed.abort()
        self.assertFalse(lost.aborted)
