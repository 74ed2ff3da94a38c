"""What every connection of ours speaks, whatever the peer."""

from __future__ import annotations

from socket import socketpair

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, _util, crypto
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import CredentialsError
from meshtx.net import openssl
from meshtx.net.contexts import Contexts, on_socket, peer_check
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.records import records
from meshtx.net.tls import Session
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf

CA = make_ca()
CLIENT = Contexts(make_leaf(CA, WEB), CA.trust)
SERVER = Contexts(make_leaf(CA, VOTING), CA.trust)


def shake(client: SSL.Connection, server: SSL.Connection) -> int:
    """Move bytes until both are done; return how many the server sent."""
    a, b = records(client), records(server)
    a.handshake(b"")
    b.handshake(a.drain())
    sent = b.drain()
    a.handshake(sent)
    b.handshake(a.drain())
    last = b.drain()
    a.open(last)
    return len(sent + last)


def first_flight(client: SSL.Connection) -> bytes:
    """Return the record of its ClientHello."""
    layer = records(client)
    layer.handshake(b"")
    return layer.drain()


def key_shares(record: bytes) -> list[int]:
    """Return the groups of which a ClientHello has keys (RFC 8446, section 4.2.8)."""
    at = record.index(bytes.fromhex("0033"), 100)  # behind everything of fixed length: the extension
    end = at + 4 + int.from_bytes(record[at + 2 : at + 4], "big")
    at += 6
    groups = []
    while at < end:
        groups.append(int.from_bytes(record[at : at + 2], "big"))
        at += 4 + int.from_bytes(record[at + 2 : at + 4], "big")
    return groups


class ContextsTests(SynchronousTestCase):
    def session(self, client: SSL.Connection, server: SSL.Connection) -> tuple[Session, Session]:
        shake(client, server)
        return Session.of(client), Session.of(server)

    def test_both_sides_know_the_session(self) -> None:
        client, server = self.session(CLIENT.client(VOTING, ["meshtx/1"]), SERVER.server(["meshtx/1"]))
        ends = [contexts.credentials.not_after for contexts in (SERVER, CLIENT) if contexts.credentials]
        self.assertEqual(client, Session(VOTING, "meshtx/1", server_name=str(VOTING), peer_expires=ends[0]))
        self.assertEqual(server, Session(WEB, "meshtx/1", server_name=str(VOTING), peer_expires=ends[1]))

    def test_what_is_spoken(self) -> None:
        connections = CLIENT.client(VOTING), SERVER.server()
        shake(*connections)
        for each in connections:
            self.assertEqual(each.get_protocol_version_name(), "TLSv1.3")
            self.assertEqual(each.get_cipher_name(), "TLS_AES_128_GCM_SHA256")

    def test_the_key_exchange_is_hybrid(self) -> None:
        connections = CLIENT.client(VOTING), SERVER.server()
        shake(*connections)
        for each in connections:
            self.assertEqual(each.get_group_name(), "X25519MLKEM768")

    def test_a_client_makes_one_key(self) -> None:
        hello = first_flight(CLIENT.client(VOTING))
        self.assertEqual(key_shares(hello), [0x11EC])

    def test_a_server_without_the_hybrid_gets_the_key_that_it_asks_for(self) -> None:
        for group, name in ((b"X25519", "x25519"), (b"P-256", "secp256r1"), (b"ffdhe2048", "ffdhe2048")):
            server = Contexts(SERVER.credentials, CA.trust)
            self.assertTrue(openssl.set_groups(server.server().get_context(), group))
            connections = CLIENT.client(VOTING), server.server()
            a, b = (records(each) for each in connections)
            a.handshake(b"")
            for _ in range(3):
                b.handshake(a.drain())
                a.handshake(b.drain())
            self.assertEqual([each.get_group_name() for each in connections], [name] * 2)
            self.assertEqual([Session.of(each).peer for each in connections], [VOTING, WEB])

    def test_groups_that_openssl_does_not_know_change_nothing(self) -> None:
        client = Contexts(CLIENT.credentials, CA.trust)
        self.assertFalse(openssl.set_groups(client.client(VOTING).get_context(), b"nonsense"))
        self.assertEqual(key_shares(first_flight(client.client(VOTING))), [0x11EC])

    def test_a_pyopenssl_without_the_call_has_openssl_s_own_groups(self) -> None:
        self.patch(openssl, "_lib", object())
        client, server = CLIENT.client(VOTING), SERVER.server()
        self.assertFalse(openssl.set_groups(client.get_context(), b"P-256"))
        shake(client, server)
        self.assertEqual(client.get_group_name(), "X25519MLKEM768")

    def test_the_server_s_order_of_ciphers_decides(self) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_tls13_ciphersuites(b"TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256")
        client = SSL.Connection(context)
        client.set_app_data(peer_check(CLIENT.client(VOTING)))
        client.set_connect_state()
        shake(client, SERVER.server(require_peer=False))
        self.assertEqual(client.get_cipher_name(), "TLS_AES_128_GCM_SHA256")

    def test_the_server_s_order_of_protocols_decides(self) -> None:
        ours, theirs = ["meshtx/1", "transport.l5d.io/v1"], ["transport.l5d.io/v1", "meshtx/1"]
        self.assertEqual(self.session(CLIENT.client(VOTING, theirs), SERVER.server(ours))[0].alpn, "meshtx/1")

    def test_no_protocol_is_a_choice_of_either_side(self) -> None:
        for offered, taken in (([], ["meshtx/1"]), (["meshtx/1"], [])):
            client, server = self.session(CLIENT.client(VOTING, offered), SERVER.server(taken))
            self.assertEqual((client.alpn, server.alpn), ("", ""))

    def test_protocols_without_a_common_one_are_refused(self) -> None:
        error = self.assertRaises(TlsError, shake, CLIENT.client(VOTING, ["h2"]), SERVER.server(["meshtx/1"]))
        self.assertEqual((error.reason, error.detail), (TlsFailure.NO_ALPN, "no application protocol"))

    def test_another_server_name_can_be_sent(self) -> None:
        _, server = self.session(CLIENT.client(VOTING, sni="gateway.example"), SERVER.server())
        self.assertEqual((server.server_name, server.peer), ("gateway.example", WEB))

    def test_a_server_name_that_openssl_would_drop_silently_is_an_error(self) -> None:
        for sni in ("", "a" * 254, "10.0.0.1", "::1", "bücher.example", "a\0b"):
            self.assertRaises(ValueError, CLIENT.client, VOTING, sni=sni)

    def test_a_context_is_made_once_a_role_and_choice(self) -> None:
        for make in (
            lambda: CLIENT.client(VOTING, ["meshtx/1"]),
            lambda: CLIENT.client(VOTING),
            lambda: SERVER.server(["meshtx/1"]),
            lambda: SERVER.server(["meshtx/1"], require_peer=False),
        ):
            self.assertIs(make().get_context(), make().get_context())
        self.assertIsNot(SERVER.server().get_context(), SERVER.server(require_peer=False).get_context())

    def test_without_credentials_one_can_only_be_a_client(self) -> None:
        anonymous = Contexts(None, CA.trust)
        client, server = self.session(anonymous.client(VOTING), SERVER.server(require_peer=False))
        self.assertEqual((client.peer, server.peer, server.peer_expires), (VOTING, None, None))
        self.assertRaises(ValueError, anonymous.server)

    def test_a_certificate_that_is_not_asked_for_is_known_all_the_same(self) -> None:
        self.assertEqual(self.session(CLIENT.client(VOTING), SERVER.server(require_peer=False))[1].peer, WEB)

    def test_a_key_that_is_not_the_certificate_s_is_an_error_at_once(self) -> None:
        good, other = make_leaf(CA), make_leaf(CA)
        mixed = Credentials(other.key, good.chain, WEB, good.not_before, good.not_after)
        error = self.assertRaises(CredentialsError, Contexts, mixed, CA.trust)
        self.assertIn("key values mismatch", str(error))

    def test_intermediates_are_sent_and_roots_are_not(self) -> None:
        issuer = make_ca("issuer", issuer=CA)
        for ca, length in ((issuer, 2), (CA, 1)):
            client = CLIENT.client(VOTING)
            shake(client, Contexts(make_leaf(ca, VOTING), CA.trust).server())
            self.assertEqual(len(client.get_peer_cert_chain() or ()), length)

    def test_an_intermediate_can_be_the_anchor(self) -> None:
        issuer = make_ca("issuer", issuer=CA)
        trust = TrustBundle((issuer.certificate,))
        contexts = Contexts(make_leaf(issuer, VOTING), trust)
        self.assertEqual(self.session(contexts.client(VOTING), contexts.server())[1].peer, VOTING)

    def test_who_has_our_issuer_is_verified_no_further(self) -> None:
        """Seen by one that does not even show that issuer."""
        issuer, other = make_ca("issuer", issuer=CA), make_ca("other", issuer=CA)
        ours = Contexts(make_leaf(issuer, WEB), CA.trust)
        for ca, verified in ((issuer, True), (other, False)):
            whole = make_leaf(ca, VOTING)
            bare = Credentials(whole.key, whole.chain[:1], VOTING, whole.not_before, whole.not_after)
            server = Contexts(bare, CA.trust).server(require_peer=False)
            if verified:
                self.assertEqual(self.session(ours.client(VOTING), server)[0].peer, VOTING)
            else:
                self.assertRaises(TlsError, shake, ours.client(VOTING), server)

    def test_who_has_another_issuer_of_the_same_root_is_verified_up_to_it(self) -> None:
        """As that is which comes after ours, and has its name."""
        issuer, other = make_ca("issuer", issuer=CA), make_ca("issuer", issuer=CA)
        server = Contexts(make_leaf(other, VOTING), CA.trust).server()
        client = Contexts(make_leaf(issuer, WEB), CA.trust).client(VOTING)
        self.assertEqual([each.peer for each in self.session(client, server)], [VOTING, WEB])

    def test_an_issuer_that_the_anchors_do_not_trust_is_none(self) -> None:
        stranger = make_ca()
        issuer = make_ca("issuer", issuer=stranger)
        ours = Contexts(make_leaf(issuer, WEB), CA.trust)
        server = Contexts(make_leaf(issuer, VOTING), stranger.trust).server()
        self.assertRaises(TlsError, shake, ours.client(VOTING), server)

    def test_nothing_is_resumed(self) -> None:
        """Not even for a client that tries: each connection proves the peer's name anew."""
        for require in (True, False):
            first, second = CLIENT.client(VOTING), CLIENT.client(VOTING)
            kept = SERVER.server(require_peer=require)  # OpenSSL forgets the session of a connection that is dropped
            shake(first, kept)
            session = first.get_session()
            assert session is not None
            second.set_session(session)
            server = SERVER.server(require_peer=require)
            sent = shake(second, server)
            self.assertEqual(peer_check(server).found, WEB)
            self.assertGreater(sent, 900, "no certificate was sent: resumed")
            self.assertEqual(server.get_context().get_session_cache_mode(), SSL.SESS_CACHE_OFF)

    def test_buffers_of_idle_connections_are_released(self) -> None:
        for connection in (CLIENT.client(VOTING), SERVER.server()):
            mode = _util.lib.SSL_CTX_set_mode(connection.get_context()._context, 0)  # adds nothing, tells the mode
            self.assertTrue(mode & SSL.MODE_RELEASE_BUFFERS)


class ConnectionTests(SynchronousTestCase):
    """One connection of OpenSSL's for one of ours, wherever its bytes come from."""

    def setUp(self) -> None:
        self.socket, other = socketpair()
        self.addCleanup(self.socket.close)
        self.addCleanup(other.close)

    def test_what_nobody_has_used_goes_to_the_socket_itself(self) -> None:
        for connection in (CLIENT.client(VOTING), SERVER.server()):
            self.assertIs(on_socket(connection, self.socket), connection)
            self.assertEqual(connection.fileno(), self.socket.fileno())

    def test_what_was_used_is_another_one_on_the_socket(self) -> None:
        for connection in (CLIENT.client(VOTING), SERVER.server()):
            check, name = peer_check(connection), connection.get_servername()
            bound = on_socket(connection, self.socket)
            self.assertIsNot(bound, connection)
            self.assertEqual((peer_check(bound), bound.get_servername()), (check, name))

    def test_it_has_its_check_and_its_name_either_way(self) -> None:
        for prepare in (lambda _: None, lambda connection: on_socket(connection, self.socket)):
            client, server = CLIENT.client(VOTING), SERVER.server()
            for connection in (client, server):
                prepare(connection)
            self.assertEqual((peer_check(client).expected, client.get_servername()), (VOTING, str(VOTING).encode()))
            self.assertEqual((peer_check(server).expected, server.get_servername()), (None, None))

    def test_an_attribute_that_there_is_not_is_an_error(self) -> None:
        self.assertRaises(AttributeError, getattr, CLIENT.client(VOTING), "nothing")


class PeerCheckTests(SynchronousTestCase):
    """Whatever goes wrong in the check, the answer is no."""

    def test_a_connection_without_a_check_is_refused(self) -> None:
        client = CLIENT.client(VOTING)
        check = peer_check(client)
        for wrong in (None, "text"):
            client.set_app_data(wrong)
            self.assertRaises(TypeError, peer_check, client)
        connection = CLIENT.client(VOTING)
        layer, server = records(connection), records(SERVER.server())
        connection.set_app_data(None)
        layer.handshake(b"")
        server.handshake(layer.drain())
        self.assertRaises(TlsError, layer.handshake, server.drain())
        self.assertIsNone(check.found)

    def test_an_exception_in_the_check_is_a_refusal(self) -> None:
        check = peer_check(SERVER.server())
        self.assertFalse(check.judge(object(), 0, 0, 1))  # type: ignore[arg-type]  # whatever it trips over
        assert check.refused is not None
        self.assertEqual((check.refused.reason, check.found), (TlsFailure.UNSUITABLE, None))
        self.assertEqual([failure.type for failure in self.flushLoggedErrors()], [AttributeError])

    def test_a_certificate_that_only_openssl_can_read_keeps_its_reason_and_fills_no_log(self) -> None:
        whole = make_leaf(make_ca()).chain[0].public_bytes(Encoding.DER)
        for tag in (0x13, 0x16):  # PrintableString fails when it is read, IA5String when the name is looked at
            octets = whole.replace(b"\x0c\x19root.meshtx", bytes([tag]) + b"\x19\xff\xff\xff\xff.meshtx")
            certificate = crypto.load_certificate(crypto.FILETYPE_ASN1, octets)
            check = peer_check(SERVER.server())
            self.assertFalse(check.judge(certificate, SSL.X509VerificationCodes.ERR_CERT_HAS_EXPIRED, 0, 0))
            assert check.refused is not None
            self.assertEqual(check.refused.reason, TlsFailure.EXPIRED)
            self.assertEqual(check.refused.detail, "cert has expired: certificate, whose content cannot be read")
        certificate = crypto.load_certificate(crypto.FILETYPE_ASN1, octets.replace(b"\x16\x19", b"\x13\x19"))
        check = peer_check(SERVER.server())
        self.assertFalse(check.judge(certificate, 0, 0, 1))
        assert check.refused is not None
        self.assertEqual((check.refused.reason, check.found), (TlsFailure.UNSUITABLE, None))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_openssl_s_verdict_comes_first(self) -> None:
        """A right name in a chain that OpenSSL refuses is refused, for whatever reason."""
        check = peer_check(SERVER.server())
        leaf = crypto.X509.from_cryptography(make_leaf(CA).chain[0])
        self.assertFalse(check.judge(leaf, 999, 0, 0))
        assert check.refused is not None
        self.assertEqual((check.refused.reason, check.found), (TlsFailure.UNSUITABLE, None))
        self.assertFalse(check.judge(leaf, 0, 0, 1))

    def test_a_handshake_without_a_verdict_gives_no_session(self) -> None:
        client, server = CLIENT.client(VOTING), SERVER.server(require_peer=False)
        shake(client, server)
        for connection in (client, server):
            peer_check(connection).found = None
            error = self.assertRaises(TlsError, Session.of, connection)
            self.assertEqual(error.reason, TlsFailure.NO_CERTIFICATE)
