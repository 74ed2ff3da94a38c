"""Certificates of peers share their keys, and stay what they were."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, _util
from twisted.trial.unittest import SynchronousTestCase

from meshtx.net import peer_keys
from meshtx.net.contexts import Contexts
from meshtx.net.legs import LegEnd
from meshtx.net.records import records
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf
from tests.net.test_contexts import shake
from tests.net.tls_wire import Half, Side, WireCase, join, outcomes

ROOT = make_ca()
CA = make_ca("identity.meshtx.cluster.local", issuer=ROOT)
CLIENT = Contexts(make_leaf(CA, WEB), ROOT.trust)
SERVER = Contexts(make_leaf(CA, VOTING), ROOT.trust)
ANOTHER = Contexts(make_leaf(CA, VOTING), ROOT.trust)


def kept(connection: SSL.Connection) -> list[Any]:
    """Return the certificates that OpenSSL keeps of the peer, the leaf first."""
    lib, ssl = _util.lib, connection._ssl
    leaf, chain = lib.SSL_get_peer_certificate(ssl), lib.SSL_get_peer_cert_chain(ssl)
    lib.X509_free(leaf)  # the connection has it too
    items = [lib.sk_X509_value(chain, number) for number in range(lib.sk_X509_num(chain))]
    return [leaf, *(each for each in items if each != leaf)]


def keys(connection: SSL.Connection) -> list[int]:
    """Return where the keys of those certificates are."""
    found = []
    for each in kept(connection):
        key = _util.lib.X509_get_pubkey(each)
        found.append(int(_util.ffi.cast("intptr_t", key)))
        _util.lib.EVP_PKEY_free(key)
    return found


def shaken(server: Contexts = SERVER) -> tuple[SSL.Connection, SSL.Connection]:
    """Return both ends of a new connection."""
    ends = CLIENT.client(VOTING), server.server()
    shake(*ends)
    return ends


class PeerKeysTests(SynchronousTestCase):
    def setUp(self) -> None:
        peer_keys._keys.clear()

    def shared(self, server: Contexts = SERVER) -> tuple[SSL.Connection, SSL.Connection]:
        ends = shaken(server)
        for each in ends:
            peer_keys.share(each)
        return ends

    def test_the_same_certificates_have_the_same_keys(self) -> None:
        first, second = self.shared(), self.shared()
        for one, other in zip(first, second, strict=True):
            self.assertEqual(len(keys(one)), 2)
            self.assertEqual(keys(one), keys(other))

    def test_without_it_each_has_its_own(self) -> None:
        first, second = shaken(), shaken()
        for one, other in zip(first, second, strict=True):
            self.assertEqual(set(keys(one)) & set(keys(other)), set())

    def test_another_certificate_of_the_same_name_has_another_key(self) -> None:
        (one, _), (other, _) = self.shared(), self.shared(ANOTHER)
        self.assertNotEqual(keys(one)[0], keys(other)[0])
        self.assertEqual(keys(one)[1], keys(other)[1])

    def test_the_certificates_stay_what_they_were(self) -> None:
        self.shared()
        client, server = self.shared()
        for end, peer in ((client, SERVER), (server, CLIENT)):
            assert peer.credentials is not None
            leaf, issuer = peer.credentials.chain
            found = end.get_peer_certificate(as_cryptography=True)
            assert found is not None
            self.assertEqual(found.public_bytes(Encoding.DER), leaf.public_bytes(Encoding.DER))
            chain = end.get_peer_cert_chain(as_cryptography=True)
            assert chain is not None
            self.assertEqual(chain[-1], issuer)

    def test_the_connection_goes_on(self) -> None:
        self.shared()
        client, server = (records(each) for each in self.shared())
        self.assertEqual(server.open(client.seal(b"ping")), b"ping")
        self.assertEqual(client.open(server.seal(b"pong")), b"pong")

    def test_a_key_outlives_the_connection_that_it_came_with(self) -> None:
        before = keys(self.shared()[0])
        self.assertEqual(keys(self.shared()[0]), before)

    def test_a_client_without_a_certificate_has_none(self) -> None:
        client, server = Contexts(None, ROOT.trust).client(VOTING), SERVER.server(require_peer=False)
        shake(client, server)
        peer_keys.share(server)
        self.assertEqual(len(peer_keys._keys), 0)

    def test_so_many_are_kept_and_no_more(self) -> None:
        self.patch(peer_keys, "KEPT", 3)
        for server in (SERVER, ANOTHER, SERVER):
            self.shared(server)
            self.assertLessEqual(len(peer_keys._keys), 3)

    def test_another_pyopenssl_shares_none(self) -> None:
        self.patch(peer_keys, "AVAILABLE", False)
        self.shared()
        self.assertEqual(len(peer_keys._keys), 0)


class Lasting(Half):
    lasting = True


class LastingTests(WireCase):
    """Whoever is above says that a connection is to last."""

    def test_legs_do(self) -> None:
        self.assertTrue(LegEnd.lasting)

    async def shared_by(self, client: Half, server: Half) -> int:
        """Return how many keys there are to share, after a handshake."""
        peer_keys._keys.clear()
        c, s = Side(CLIENT.client(VOTING), client), Side(SERVER.server(), server)
        join(self, c, s)
        await outcomes(c, s)
        assert c.app.transport is not None
        c.app.transport.write(b"ping")
        self.assertEqual(await s.app.has(4), b"ping")
        return len(peer_keys._keys)

    async def test_one_that_is_to_last_shares(self) -> None:
        self.assertEqual(await self.shared_by(Lasting(), Lasting()), 3)  # two leaves, one issuer

    async def test_any_other_spends_no_time_on_it(self) -> None:
        self.assertEqual(await self.shared_by(Half(), Half()), 0)
