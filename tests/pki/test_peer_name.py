"""A leaf proves exactly one name in our grammar, or none."""

from __future__ import annotations

from ipaddress import ip_address

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier
from twisted.trial.unittest import SynchronousTestCase

from meshtx.pki.peer_name import PeerNameError, PeerNameReason, matches, peer_name
from tests.pki.made import VOTING, WEB, leaf_with, raw_names, with_san_twice

NO_SAN, WILDCARD = PeerNameReason.NO_SAN, PeerNameReason.WILDCARD
NOT_OURS, SEVERAL = PeerNameReason.NOT_A_MESH_NAME, PeerNameReason.SEVERAL

DNS, URI, IP, X400, EDI = 0x82, 0x86, 0x87, 0xA3, 0xA5
NAME = str(WEB).encode()


def dns(*names: str) -> list[x509.GeneralName]:
    return [x509.DNSName(name) for name in names]


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


DIRECTORY = x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(WEB))]))
SUFFIX = "serviceaccount.identity.meshtx.cluster.local"

REFUSED = [
    ("no SAN", None, NO_SAN),
    ("empty SAN", raw_names(), NO_SAN),
    ("a DNS name of no mesh", dns("web.example.test"), NOT_OURS),
    ("only an IP address", [x509.IPAddress(ip_address("10.0.0.1"))], NOT_OURS),
    ("only a SPIFFE ID", [uri(WEB.spiffe)], NOT_OURS),
    ("only an email address", [x509.RFC822Name("web@example.test")], NOT_OURS),
    ("only a directory name", [DIRECTORY], NOT_OURS),
    ("only a registered ID", [x509.RegisteredID(ObjectIdentifier("1.2.3"))], NOT_OURS),
    ("only another name", [x509.OtherName(ObjectIdentifier("1.2.3"), b"\x05\x00")], NOT_OURS),
    ("an email address beside it", [*dns(str(WEB)), x509.RFC822Name("a@b.test")], SEVERAL),
    ("a directory name beside it", [*dns(str(WEB)), DIRECTORY], SEVERAL),
    ("a SPIFFE ID beside it", [*dns(str(WEB)), uri(WEB.spiffe)], SEVERAL),
    ("an IP address beside it", [*dns(str(WEB)), x509.IPAddress(ip_address("10.0.0.1"))], SEVERAL),
    ("a URI with a second colon", [uri("urn:a:b")], NOT_OURS),
    ("a URI with a port", [uri("https://h:8443/")], NOT_OURS),
    ("a URI without an authority", [uri("mailto:a@b.test")], NOT_OURS),
    ("an odd URI beside it", [*dns(str(WEB)), uri("urn:a:b")], SEVERAL),
    ("a wildcard in a URI", [uri("https://*.example.test/")], WILDCARD),
    ("a wildcard in a URI beside it", [*dns(str(WEB)), uri("https://*/")], WILDCARD),
    ("a bare wildcard", dns("*"), WILDCARD),
    ("a wildcard domain", dns("*.com"), WILDCARD),
    ("a wildcard inside", dns("a.*.b"), WILDCARD),
    ("a wildcard for the accounts", dns(f"*.emojivoto.{SUFFIX}"), WILDCARD),
    ("part of a label a wildcard", dns(f"w*.emojivoto.{SUFFIX}"), WILDCARD),
    ("a wildcard beside it", dns(str(WEB), f"*.emojivoto.{SUFFIX}"), WILDCARD),
    ("a number", dns("42"), NOT_OURS),
    ("an IP address as DNS name", dns("1.2.3.4"), NOT_OURS),
    ("a NUL inside", raw_names((DNS, NAME[:3] + b"\0" + NAME[3:])), NOT_OURS),
    ("a NUL behind", raw_names((DNS, NAME + b"\0.evil.test")), NOT_OURS),
    ("not ASCII", raw_names((DNS, b"w\xc3\xa9b" + NAME[3:])), NOT_OURS),
    ("a line feed behind", raw_names((DNS, NAME + b"\n")), NOT_OURS),
    ("a space behind", raw_names((DNS, NAME + b" ")), NOT_OURS),
    ("an empty DNS name", raw_names((DNS, b"")), NOT_OURS),
    ("two DNS names", dns(str(WEB), str(VOTING)), SEVERAL),
    ("the DNS name twice", dns(str(WEB), str(WEB)), SEVERAL),
    ("a trailing dot", dns(f"{WEB}."), NOT_OURS),
    ("upper case", dns(str(WEB).upper()), NOT_OURS),
    ("one capital", dns(f"Web.emojivoto.{SUFFIX}"), NOT_OURS),
    ("no namespace", dns(f"web.{SUFFIX}"), NOT_OURS),
    ("an X.400 address", raw_names((X400, b"")), NOT_OURS),
    ("an X.400 address beside it", raw_names((DNS, NAME), (X400, b"")), NOT_OURS),
    ("an EDI party", raw_names((EDI, b"\xa1\x03\x0c\x01a")), NOT_OURS),
    ("an IP address of 5 bytes", raw_names((IP, b"\1\2\3\4\5")), NOT_OURS),
    ("an IP address of 5 bytes beside it", raw_names((DNS, NAME), (IP, b"\1\2\3\4\5")), NOT_OURS),
    ("not DER", b"\x30\x50ab", NOT_OURS),
    ("another type", b"\x04\x00", NOT_OURS),
    ("no bytes", b"", NOT_OURS),
]


class PeerNameTests(SynchronousTestCase):
    def test_a_leaf_with_one_mesh_name_proves_it(self) -> None:
        self.assertEqual(peer_name(leaf_with(dns(str(WEB)))), WEB)

    def test_every_other_leaf_proves_nothing(self) -> None:
        found = {}
        for case, san, _ in REFUSED:
            try:
                found[case] = str(peer_name(leaf_with(san)))
            except PeerNameError as error:
                found[case] = error.reason
        self.assertEqual(found, {case: reason for case, _, reason in REFUSED})

    def test_a_common_name_proves_nothing(self) -> None:
        error = self.assertRaises(PeerNameError, peer_name, leaf_with(None, common_name="web.example.test"))
        self.assertIs(error.reason, NO_SAN)

    def test_the_extension_twice_proves_nothing(self) -> None:
        error = self.assertRaises(PeerNameError, peer_name, with_san_twice(WEB))
        self.assertIs(error.reason, NOT_OURS)

    def test_the_refusal_shows_the_names_and_is_bounded(self) -> None:
        leaf = leaf_with(dns(*(f"host-{number}.example.test" for number in range(200))))
        error = self.assertRaises(PeerNameError, peer_name, leaf)
        self.assertIn("DNSName 'host-0.example.test'", error.detail)
        self.assertLessEqual(len(error.detail), 512)


class MatchesTests(SynchronousTestCase):
    def test_the_expected_name_matches(self) -> None:
        self.assertEqual(matches(leaf_with(dns(str(WEB))), WEB), WEB)

    def test_another_valid_name_does_not_match(self) -> None:
        error = self.assertRaises(PeerNameError, matches, leaf_with(dns(str(VOTING))), WEB)
        self.assertEqual(
            (error.reason, error.detail),
            (PeerNameReason.MISMATCH, f"expected {WEB}, the certificate names {VOTING}"),
        )

    def test_no_wildcard_matches(self) -> None:
        error = self.assertRaises(PeerNameError, matches, leaf_with(dns(f"*.emojivoto.{SUFFIX}")), WEB)
        self.assertIs(error.reason, WILDCARD)

    def test_what_proves_nothing_matches_nothing(self) -> None:
        for case, san, _ in REFUSED:
            with self.assertRaises(PeerNameError, msg=case):
                matches(leaf_with(san), WEB)
