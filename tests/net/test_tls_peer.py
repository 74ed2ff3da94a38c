"""What a peer's certificate says is read once; whether it may be believed is found out each time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ObjectIdentifier
from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from meshtx.net.contexts import Contexts, peer_check
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.records import records
from meshtx.net.tls_peer import KNOWN, MAX_KNOWN, PeerCheck, known
from meshtx.pki.credentials import Credentials
from meshtx.pki.name import Name
from tests.net.certificates import BOTH, VOTING, WEB, make_ca, make_leaf

CA = make_ca()
LEAF = make_leaf(CA, WEB)
SERVER = Contexts(make_leaf(CA, VOTING), CA.trust)


def judged(leaf: Credentials, expected: Name | None = None) -> PeerCheck:
    """Return the judgement on a leaf whose chain is good."""
    check = PeerCheck(expected, required=True)
    check.judge(crypto.X509.from_cryptography(leaf.chain[0]), 0, 0, 1)
    return check


def accept(server: SSL.Connection, credentials: Credentials) -> None:
    """Shake hands with a client that shows these credentials."""
    client, layer = records(Contexts(credentials, CA.trust).client(VOTING)), records(server)
    client.handshake(b"")
    layer.handshake(client.drain())
    client.handshake(layer.drain())
    layer.handshake(client.drain())


class KnownTests(SynchronousTestCase):
    def setUp(self) -> None:
        known.cache_clear()
        self.addCleanup(known.cache_clear)

    def test_a_certificate_that_comes_again_is_not_read_again(self) -> None:
        first, second = judged(LEAF), judged(LEAF)
        self.assertEqual((known.cache_info().misses, known.cache_info().hits), (1, 1))
        self.assertEqual((second.found, second.expires), (WEB, first.expires))
        self.assertEqual(first.expires, LEAF.chain[0].not_valid_after_utc)

    def test_known_for_anybody_it_is_still_not_who_is_expected(self) -> None:
        judged(LEAF)
        for _ in range(2):
            refused = judged(LEAF, VOTING).refused
            assert refused is not None
            self.assertEqual(refused.reason, TlsFailure.WRONG_NAME)

    def test_what_is_refused_is_not_remembered(self) -> None:
        judged(LEAF, VOTING)
        self.assertEqual(known.cache_info().currsize, 0)

    def test_what_is_known_is_bounded(self) -> None:
        self.assertEqual(known.cache_info().maxsize, KNOWN)

    def test_a_long_one_is_read_each_time(self) -> None:
        long = make_leaf(CA, eku=[*BOTH, *(ObjectIdentifier(f"1.3.6.1.4.1.55555.{number}") for number in range(500))])
        self.assertGreater(len(long.chain[0].public_bytes(Encoding.DER)), MAX_KNOWN)
        self.assertEqual(judged(long).found, WEB)
        self.assertEqual(known.cache_info().misses, 0)

    def test_a_known_leaf_is_refused_once_it_has_expired(self) -> None:
        server = SERVER.server()
        accept(server, LEAF)
        self.assertEqual(peer_check(server).found, WEB)
        late = Contexts(make_leaf(CA, VOTING), CA.trust)
        store = late.server().get_context().get_cert_store()
        assert store is not None
        store.set_time((datetime.now(UTC) + timedelta(days=9999)).replace(tzinfo=None))
        self.assertRaises(TlsError, accept, late.server(), LEAF)

    def test_a_known_leaf_of_another_authority_is_refused(self) -> None:
        other = make_ca()
        stranger = make_leaf(other, WEB)
        judged(stranger)
        error = self.assertRaises(TlsError, accept, SERVER.server(), stranger)
        self.assertEqual(error.reason, TlsFailure.UNKNOWN_CA)
