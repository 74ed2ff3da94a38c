"""Which chains a workload takes for its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import CredentialsError
from meshtx.net.contexts import Contexts
from meshtx.net.rehearsal import rehearse
from meshtx.pki.authority import Authority
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.csr import make_csr, parse_csr
from meshtx.pki.issuer import Issuer, make_issuer, make_root
from meshtx.pki.keys import key_to_pem, new_key
from meshtx.pki.name import Name
from tests.net.certificates import make_ca, make_leaf, now
from tests.pki.made import KEY, NOW, SCOPE, VOTING, WEB, leaf_with

DAY = timedelta(days=1)
ROOT_KEY, ROOT = make_root(SCOPE, NOW)
TRUST = TrustBundle((ROOT,))
ISSUER = make_issuer(ROOT_KEY, ROOT, SCOPE, NOW)


def ders(name: Name = WEB, issuer: Issuer = ISSUER) -> tuple[bytes, ...]:
    return Authority(issuer).issue(parse_csr(make_csr(KEY, name)), name, NOW).ders()


class FromChainTests(SynchronousTestCase):
    def refusal(self, chain: Sequence[bytes], trust: TrustBundle = TRUST, at: datetime = NOW) -> str:
        return str(self.assertRaises(CredentialsError, Credentials.from_chain, KEY, chain, WEB, trust, at))

    def test_what_the_authority_issues_is_taken(self) -> None:
        chain = ders()
        credentials = Credentials.from_chain(KEY, chain, WEB, TRUST, NOW)
        self.assertEqual([each.public_bytes(Encoding.DER) for each in credentials.chain], list(chain))
        self.assertEqual(
            (credentials.key, credentials.name, credentials.not_before, credentials.not_after),
            (KEY, WEB, NOW - timedelta(minutes=5), NOW + DAY),
        )

    def test_a_root_in_the_answer_is_not_sent_to_peers(self) -> None:
        credentials = Credentials.from_chain(KEY, ders(issuer=Issuer(ROOT_KEY, (ROOT,))), WEB, TRUST, NOW)
        self.assertEqual(len(credentials.chain), 1)

    def test_it_ends_with_the_first_certificate_of_the_chain(self) -> None:
        ca = make_ca()
        first, last = now() - timedelta(hours=2), now() + timedelta(hours=2)
        leaf = make_leaf(make_ca("between", issuer=ca, not_before=first, not_after=last), not_before=first - DAY / 2)
        chain = [each.public_bytes(Encoding.DER) for each in leaf.chain]
        made = Credentials.from_chain(leaf.key, chain, leaf.name, ca.trust, now())
        self.assertEqual((made.not_before, made.not_after), (first, last))

    def test_another_name_is_refused(self) -> None:
        self.assertIn("name_mismatch", self.refusal(ders(VOTING)))

    def test_another_authority_is_refused(self) -> None:
        other = TrustBundle((make_root(SCOPE, NOW)[1],))
        self.assertIn("does not verify against the trust anchors", self.refusal(ders(), other))

    def test_without_its_issuer_it_is_refused(self) -> None:
        self.assertIn("does not verify against the trust anchors", self.refusal(ders()[:1]))

    def test_one_without_a_subject_is_refused_without_one(self) -> None:
        long = SCOPE.name("a" * 63, "b" * 63)
        arguments = (KEY, ders(long), long, TRUST, NOW + 2 * DAY)
        error = self.assertRaises(CredentialsError, Credentials.from_chain, *arguments)
        self.assertTrue(str(error).endswith("certificate has expired"), str(error))

    def test_outside_its_time_it_is_refused(self) -> None:
        self.assertTrue(self.refusal(ders(), at=NOW + 2 * DAY).endswith(f"has expired (CN={WEB})"))
        self.assertIn("not yet valid", self.refusal(ders(), at=NOW - DAY))

    def test_another_key_is_refused(self) -> None:
        error = self.assertRaises(CredentialsError, Credentials.from_chain, new_key(), ders(), WEB, TRUST, NOW)
        self.assertEqual(str(error), "issued certificate: the private key is not the certificate's")

    def test_garbage_is_refused(self) -> None:
        self.assertEqual(self.refusal([]), "issued certificate: the chain is empty")
        self.assertIn("issued certificate: cannot be read", self.refusal([b"hello"]))
        self.assertIn("issued certificate: cannot be read", self.refusal([*ders(), b""]))

    def test_a_leaf_without_a_mesh_name_is_refused(self) -> None:
        leaf = leaf_with([x509.DNSName(f"*.emojivoto.{'.'.join(str(WEB).split('.')[2:])}")])
        self.assertIn("wildcard_name", self.refusal([leaf.public_bytes(Encoding.DER)]))


class FromPemTests(SynchronousTestCase):
    ca = make_ca()

    def test_what_it_prints_it_reads(self) -> None:
        made = make_leaf(make_ca("between", issuer=self.ca))
        again = Credentials.from_pem(made.chain_pem(), made.key_pem())
        self.assertEqual((again.chain, again.name, again.not_after), (made.chain, made.name, made.not_after))
        again.check(made.name, self.ca.trust, made.not_before)

    def test_a_leaf_for_one_role_only_is_refused(self) -> None:
        server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
        self.assertEqual([self.taken([server]), self.taken([client])], [False, False])
        self.assertEqual([self.taken([server, client]), self.taken([])], [True, True])
        any_purpose = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
        self.assertEqual([self.taken([any_purpose]), self.taken([server, client, any_purpose])], [False, True])

    def test_an_authority_for_one_role_only_is_refused_wherever_it_is_on_the_path(self) -> None:
        """So are its leaves in a handshake, by whoever is asked to believe them."""
        server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
        for usages, good in (
            ([server], False),
            ([ExtendedKeyUsageOID.CODE_SIGNING], False),
            ([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], False),
            ([server, client], True),
        ):
            more = [x509.ExtendedKeyUsage(usages)]
            root = make_ca(more=more)
            for trust, made in (
                (self.ca.trust, make_leaf(make_ca("between", issuer=self.ca, more=more))),
                (root.trust, make_leaf(root)),
            ):
                taken = True
                try:
                    made.check(made.name, trust, now())
                except CredentialsError as error:
                    self.assertIn("must allow both serverAuth and clientAuth; that of CN=", str(error))
                    taken = False
                shaken = rehearse(Contexts(made, trust), made.name, ()) is None
                self.assertEqual((taken, shaken), (good, good), (usages, made.chain))

    def taken(self, eku: list[ObjectIdentifier]) -> bool:
        made = make_leaf(self.ca, eku=eku)
        try:
            Credentials.from_pem(made.chain_pem(), made.key_pem())
        except CredentialsError as error:
            self.assertEqual(str(error), "certificate: extended key usage must allow both serverAuth and clientAuth")
            return False
        return True

    def test_another_key_is_refused(self) -> None:
        made = make_leaf(self.ca)
        error = self.assertRaises(
            CredentialsError, Credentials.from_pem, made.chain_pem(), key_to_pem(new_key()), "tls.crt"
        )
        self.assertEqual(str(error), "tls.crt: the private key is not the certificate's")

    def test_the_key_is_not_shown(self) -> None:
        made = make_leaf(self.ca)
        number = made.key.private_numbers().private_value
        for text in (repr(made), str(made), f"{made}"):
            self.assertNotIn("key", text)
            self.assertNotIn(str(number), text)
