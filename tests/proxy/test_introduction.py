"""What the workload is told of its clients."""

from __future__ import annotations

from collections.abc import Collection

from twisted.trial.unittest import SynchronousTestCase

from meshtx.observe.flow import Mtls, NoTls, NoTlsReason
from meshtx.proxy.introduction import EVERYTHING, MAX_VALUE, Client, Extra, Introductions
from meshtx.wire.address import Address
from meshtx.wire.ports import PortRange
from meshtx.wire.proxy_header import ALPN, AUTHORITY, PEER_IDENTITY, TLV, ProxyHeader, ProxyHeaderParser
from tests.net.certificates import WEB

SRC, DST = Address.parse("192.0.2.7:5000"), Address.parse("10.0.0.2:8080")
PLAINTEXT = NoTls(NoTlsReason.NO_TLS_FROM_REMOTE)
IDENTITY = (PEER_IDENTITY, b"spiffe://cluster.local/ns/emojivoto/sa/web")


class IntroductionTests(SynchronousTestCase):
    def told(self, client: Client, security: Mtls | NoTls, extras: Collection[Extra] = EVERYTHING) -> tuple[TLV, ...]:
        parser = ProxyHeaderParser()
        greeting = Introductions([PortRange(8080, 8080)], extras).greeting(8080, client, security)
        header = parser.receive_data(greeting)
        assert isinstance(header, ProxyHeader), header
        self.assertEqual((header.source, header.destination, parser.rest()), (SRC, DST, b""))
        return header.tlvs

    def test_only_ports_that_want_it_get_anything(self) -> None:
        introductions = Introductions([PortRange(80, 81), PortRange(8080, 8080)])
        self.assertEqual(
            [port for port in (79, 80, 81, 82, 8080) if introductions.greeting(port, Client(SRC, DST), PLAINTEXT)],
            [80, 81, 8080],
        )
        self.assertEqual(Introductions().greeting(8080, Client(SRC, DST), PLAINTEXT), b"")

    def test_a_peer_that_proved_a_name_is_told_by_it(self) -> None:
        self.assertEqual(self.told(Client(SRC, DST), Mtls(WEB, "meshtx/1")), (IDENTITY,))

    def test_a_peer_that_proved_none_is_told_by_its_address(self) -> None:
        self.assertEqual(self.told(Client(SRC, DST), PLAINTEXT), ())

    def test_what_a_balancer_says_is_passed_on_but_no_identity(self) -> None:
        said = ((ALPN, b"h2"), (0x04, b""), IDENTITY, (AUTHORITY, b"shop.test"), (0xE0, b"own"))
        self.assertEqual(self.told(Client(SRC, DST, "", said), PLAINTEXT), ((ALPN, b"h2"), (AUTHORITY, b"shop.test")))

    def test_what_the_peers_proxy_says_of_the_authority_is_passed_on(self) -> None:
        client = Client(SRC, DST, "web-svc.emojivoto:80")
        self.assertEqual(self.told(client, Mtls(WEB, "")), ((AUTHORITY, b"web-svc.emojivoto:80"), IDENTITY))

    def test_a_value_that_is_too_long_is_left_out(self) -> None:
        for size, kept in ((0, False), (MAX_VALUE, True), (MAX_VALUE + 1, False)):
            said = ((ALPN, b"a" * size), (AUTHORITY, b"b" * size))
            self.assertEqual(self.told(Client(SRC, DST, "", said), PLAINTEXT), said if kept else ())
        self.assertEqual(self.told(Client(SRC, DST, "a" * (MAX_VALUE + 1)), PLAINTEXT), ())

    def test_extras_are_chosen(self) -> None:
        client = Client(SRC, DST, "a.test", ((ALPN, b"h2"),))
        told = {extra: self.told(client, Mtls(WEB, ""), {extra}) for extra in Extra}
        self.assertEqual(
            told,
            {Extra.ALPN: ((ALPN, b"h2"),), Extra.AUTHORITY: ((AUTHORITY, b"a.test"),), Extra.IDENTITY: (IDENTITY,)},
        )
        self.assertEqual(self.told(client, Mtls(WEB, ""), ()), ())
