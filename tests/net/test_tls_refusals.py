"""Who is refused, by whom, and with which reason on either side: over real connections."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from meshtx.net.contexts import Contexts, peer_check
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.tls import Session
from meshtx.pki.credentials import Credentials
from tests.net.certificates import DAY, VOTING, WEB, make_ca, make_leaf, now
from tests.net.tls_wire import Half, Side, WireCase, join, outcomes

CA = make_ca()
ROGUE = make_ca()
"""Another authority under the same name."""
ISSUER = make_ca("issuer", issuer=CA)
OLD_ISSUER = make_ca("old issuer", issuer=CA, not_before=now() - DAY / 2, not_after=now() - DAY / 4)


def dns(*names: str) -> list[x509.GeneralName]:
    return [x509.DNSName(name) for name in names]


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


def wrong(name: str) -> str:
    return name.replace(".emojivoto.", ".default.")


def bad_leaves(name: object) -> dict[str, tuple[Credentials, TlsFailure, str]]:
    """Return leaves for one name that are wrong in one way each, with the reason and the peer's alert."""
    workload = WEB if name is WEB else VOTING
    text, denied = str(workload), "tlsv1 alert internal error"
    several = [*dns(text), uri(workload.spiffe)]
    sans: list[tuple[str, list[x509.GeneralName], TlsFailure]] = [
        ("no SAN", [], TlsFailure.NO_SAN),
        ("wildcard", dns(text.replace(workload.service_account, "*", 1)), TlsFailure.WILDCARD),
        ("wildcard beside the right name", dns(text, "*"), TlsFailure.WILDCARD),
        ("several names", dns(text, wrong(text)), TlsFailure.SEVERAL),
        ("the name twice", dns(text, text), TlsFailure.SEVERAL),
        ("a URI beside it", several, TlsFailure.SEVERAL),
        ("a URI alone", [uri(workload.spiffe)], TlsFailure.NOT_A_MESH_NAME),
        ("an odd URI alone", [uri("urn:a:b")], TlsFailure.NOT_A_MESH_NAME),
        ("no mesh name", dns("web.example"), TlsFailure.NOT_A_MESH_NAME),
        ("upper case", dns(text.upper()), TlsFailure.NOT_A_MESH_NAME),
        ("trailing dot", dns(text + "."), TlsFailure.NOT_A_MESH_NAME),
        ("e-mail", [x509.RFC822Name("web@example")], TlsFailure.NOT_A_MESH_NAME),
        ("NUL", dns(text + "\0.example"), TlsFailure.NOT_A_MESH_NAME),
    ]
    leaves = {
        what: (make_leaf(CA, workload, sans=san, common_name=text if not san else ""), reason, denied)
        for what, san, reason in sans
    }
    lapsed, early = {"not_before": now() - DAY, "not_after": now() - DAY / 24}, {"not_before": now() + DAY / 24}
    leaves |= {
        "wrong authority": (make_leaf(ROGUE, workload), TlsFailure.UNKNOWN_CA, "tlsv1 alert unknown ca"),
        "unknown authority": (make_leaf(make_ca("x"), workload), TlsFailure.UNKNOWN_CA, "tlsv1 alert unknown ca"),
        "expired": (make_leaf(CA, workload, **lapsed), TlsFailure.EXPIRED, "tls alert certificate expired"),
        "not yet valid": (make_leaf(CA, workload, **early), TlsFailure.NOT_YET_VALID, "tls alert bad certificate"),
        "expired issuer": (make_leaf(OLD_ISSUER, workload), TlsFailure.EXPIRED, "tls alert certificate expired"),
        "intermediate not sent": (
            _without_chain(make_leaf(ISSUER, workload)),
            TlsFailure.UNKNOWN_CA,
            "tlsv1 alert unknown ca",
        ),
    }
    return leaves


def _without_chain(credentials: Credentials) -> Credentials:
    leaf = credentials.chain[:1]
    return Credentials(credentials.key, leaf, credentials.name, credentials.not_before, credentials.not_after)


def older(method: int, credentials: Credentials, like: SSL.Connection) -> SSL.Connection:
    """Return a connection that speaks TLS 1.2 at most."""
    context = SSL.Context(method)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate(credentials.chain[0])
    context.use_privatekey(credentials.key)
    connection = SSL.Connection(context)
    connection.set_app_data(peer_check(like))
    return connection


class RefusalTests(WireCase):
    good_client = Contexts(make_leaf(CA, WEB), CA.trust)
    good_server = Contexts(make_leaf(CA, VOTING), CA.trust)

    async def meet(self, client: SSL.Connection, server: SSL.Connection) -> tuple[Side, Side, Sequence[object]]:
        ends = Side(client, Half()), Side(server, Half())
        join(self, *ends)
        return *ends, await outcomes(*ends)

    async def check_client(self, client: SSL.Connection, reason: TlsFailure, detail: str, alert: str) -> str:
        """The server refuses: it never gets a protocol; the client hears so later."""
        c, s, (session, error) = await self.meet(client, self.good_server.server())
        self.assertIsInstance(session, Session)
        assert isinstance(error, TlsError), error
        late = await c.app.lost
        assert isinstance(late, TlsError), late
        self.assertEqual(
            (error.reason, late.reason, late.detail, s.app.log, c.app.log),
            (reason, TlsFailure.REJECTED, alert, [], ["made", "lost"]),
        )
        self.assertIn(detail, error.detail)
        await s.closed
        return error.detail

    async def check_server(self, server: SSL.Connection, reason: TlsFailure, alert: str) -> str:
        """The client refuses: neither side gets a protocol."""
        c, s, (error, told) = await self.meet(self.good_client.client(VOTING), server)
        assert isinstance(error, TlsError), error
        assert isinstance(told, TlsError), told
        self.assertEqual(
            (error.reason, told.reason, told.detail, c.app.log, s.app.log),
            (reason, TlsFailure.REJECTED, alert, [], []),
        )
        await c.closed
        await s.closed
        return error.detail

    async def test_a_client_with_a_bad_certificate_is_refused(self) -> None:
        for what, (credentials, reason, alert) in bad_leaves(WEB).items():
            with self.subTest(what):
                await self.check_client(Contexts(credentials, CA.trust).client(VOTING), reason, "", alert)

    async def test_a_server_with_a_bad_certificate_is_refused(self) -> None:
        for what, (credentials, reason, alert) in bad_leaves(VOTING).items():
            with self.subTest(what):
                await self.check_server(Contexts(credentials, CA.trust).server(), reason, alert)

    async def test_a_bad_certificate_is_refused_where_none_is_required(self) -> None:
        for what, (credentials, reason, _) in bad_leaves(WEB).items():
            with self.subTest(what):
                client = Contexts(credentials, CA.trust).client(VOTING)
                _, s, (_, error) = await self.meet(client, self.good_server.server(require_peer=False))
                assert isinstance(error, TlsError), error
                self.assertEqual((error.reason, s.app.log), (reason, []))

    async def test_the_right_authority_and_the_wrong_name(self) -> None:
        server = Contexts(make_leaf(CA, WEB), CA.trust).server()
        detail = await self.check_server(server, TlsFailure.WRONG_NAME, "tlsv1 alert internal error")
        self.assertEqual(detail, f"expected {VOTING}, the certificate names {WEB}")

    async def test_no_client_certificate(self) -> None:
        await self.check_client(
            Contexts(None, CA.trust).client(VOTING),
            TlsFailure.NO_CERTIFICATE,
            "peer did not return a certificate",
            "tlsv13 alert certificate required",
        )

    async def test_a_leaf_for_the_other_role_only(self) -> None:
        for_clients = make_leaf(CA, VOTING, eku=[ExtendedKeyUsageOID.CLIENT_AUTH])
        alert = "tls alert unsupported certificate"
        detail = await self.check_server(Contexts(for_clients, CA.trust).server(), TlsFailure.UNSUITABLE, alert)
        self.assertIn("invalid purpose: certificate, issued by 'CN=root.meshtx.cluster.local'", detail)
        for_servers = make_leaf(CA, WEB, eku=[ExtendedKeyUsageOID.SERVER_AUTH])
        client = Contexts(for_servers, CA.trust).client(VOTING)
        await self.check_client(client, TlsFailure.UNSUITABLE, "invalid purpose", alert)

    async def test_the_reason_says_whose_certificate_and_when(self) -> None:
        leaf = make_leaf(OLD_ISSUER, WEB)
        detail = await self.check_client(
            Contexts(leaf, CA.trust).client(VOTING), TlsFailure.EXPIRED, "", "tls alert certificate expired"
        )
        last = OLD_ISSUER.certificate.not_valid_after_utc
        self.assertIn("cert has expired: issuer's certificate at depth 1, issued by", detail)
        self.assertIn(f"to {last:%Y-%m-%dT%H:%M:%SZ}", detail)

    async def test_a_client_of_tls_1_2(self) -> None:
        client = older(SSL.TLS_CLIENT_METHOD, make_leaf(CA), self.good_client.client(VOTING))
        client.set_connect_state()
        _, s, (told, error) = await self.meet(client, self.good_server.server())
        self.assert_errors((error, TlsFailure.VERSION, "unsupported protocol"))
        self.assert_errors((told, TlsFailure.VERSION, "tlsv1 alert protocol version"))
        self.assertEqual(s.app.log, [])

    async def test_a_server_of_tls_1_2(self) -> None:
        server = older(SSL.TLS_SERVER_METHOD, make_leaf(CA, VOTING), self.good_server.server())
        server.set_accept_state()
        c, _, (error, _) = await self.meet(self.good_client.client(VOTING), server)
        self.assert_errors((error, TlsFailure.VERSION, "tlsv1 alert protocol version"))
        self.assertEqual(c.app.log, [])

    async def test_protocols_without_a_common_one(self) -> None:
        client = self.good_client.client(VOTING, ["h2"])
        _, _, (told, error) = await self.meet(client, self.good_server.server(["meshtx/1"]))
        self.assert_errors((error, TlsFailure.NO_ALPN, "no application protocol"))
        self.assert_errors((told, TlsFailure.NO_ALPN, "tlsv1 alert no application protocol"))

    async def test_a_client_without_a_certificate_where_none_is_required(self) -> None:
        client = Contexts(None, CA.trust).client(VOTING)
        c, s, (mine, theirs) = await self.meet(client, self.good_server.server(require_peer=False))
        assert isinstance(mine, Session)
        assert isinstance(theirs, Session)
        self.assertEqual((mine.peer, theirs.peer), (VOTING, None))
        c.app.transport.write(b"hello")
        self.assertEqual(await s.app.has(5), b"hello")

    def assert_errors(self, *triples: tuple[object, TlsFailure, str]) -> None:
        for error, reason, detail in triples:
            assert isinstance(error, TlsError), error
            self.assertEqual((error.reason, error.detail), (reason, detail))
