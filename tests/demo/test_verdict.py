"""The verdict: each way in which a mesh can be wrong is seen, and a good one is called good."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshtx.demo.capture import Stream
from meshtx.demo.verdict import Pair, Party, Row, Verdict, judge, tls_server
from meshtx.wire.address import Address
from tests.demo.hellos import hellos

BOT = Party("vote-bot", "10.1.0.4", "vote-bot.emojivoto.serviceaccount.identity.meshtx.cluster.local")
WEB = Party("web", "10.1.0.2", "web.emojivoto.serviceaccount.identity.meshtx.cluster.local")
OUTSIDE = Party("outside", "10.1.0.20", "")
MESHED = Pair(BOT, WEB, ("list", "vote"))
PLAIN = Pair(OUTSIDE, WEB, ("list",))
SECRETS = (b"/api/list", b"a token")
CLEAR = (b"GET /api/list HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n")


def stream(pair: Pair, sent: bytes, received: bytes) -> Stream:
    return Stream(Address.of(pair.client.ip, 40000), Address.of(pair.server.ip, 4143), sent, received)


SECURED = stream(MESHED, *hellos(WEB.identity))
UNSECURED = stream(PLAIN, *CLEAR)
ASKED = {"vote-bot": {"list": 3, "vote": 2}, "outside": {"list": 1}}
SERVED = {"web": {"list": 4, "vote": 2}}


class Case(SynchronousTestCase):
    def judge(self, streams: list[Stream], **changed: Mapping[str, Any]) -> Verdict:
        counts = {"asked": ASKED, "served": SERVED, **changed}
        return judge([MESHED, PLAIN], streams, counts["asked"], counts["served"], SECRETS)

    def problems(self, streams: list[Stream], **changed: Mapping[str, Any]) -> list[tuple[str, ...]]:
        """Return what is wrong with each pair, and then what else is."""
        verdict = self.judge(streams, **changed)
        self.assertFalse(verdict.good)
        return [*(row.problems for row in verdict.rows), verdict.problems]


class VerdictTests(Case):
    def test_a_good_one(self) -> None:
        verdict = self.judge([SECURED, UNSECURED])
        rows = (Row(MESHED, 5, 1, 1, ()), Row(PLAIN, 1, 1, 0, ()))
        self.assertEqual((verdict, verdict.good), (Verdict(rows), True))

    def test_a_connection_without_a_byte_says_nothing(self) -> None:
        self.assertEqual(self.judge([SECURED, UNSECURED, stream(MESHED, b"", b"")]), self.judge([SECURED, UNSECURED]))

    def test_plaintext_between_meshed_workloads(self) -> None:
        problems = self.problems([SECURED, stream(MESHED, *CLEAR), UNSECURED])
        self.assertEqual(
            problems,
            [
                (f"not TLS to {WEB.identity}: 'GET /api/list HTTP/1.1\\r\\n\\r\\n'",),
                (),
                ("in clear from 10.1.0.4:40000 to 10.1.0.2:4143: '/api/list'",),
            ],
        )

    def test_a_secret_in_an_answer_or_behind_tls(self) -> None:
        sent, received = hellos(WEB.identity)
        for leaky in (stream(MESHED, sent, received + b"a token"), stream(MESHED, sent + b"a token", received)):
            problems = self.problems([leaky, UNSECURED])
            self.assertEqual(problems[2], ("in clear from 10.1.0.4:40000 to 10.1.0.2:4143: 'a token'",))

    def test_a_secret_between_hosts_that_are_no_pair(self) -> None:
        other = Stream(Address.of("10.1.0.4", 1), Address.of("10.1.0.10", 8080), b"a token")
        self.assertEqual(
            self.problems([SECURED, UNSECURED, other])[2], ("in clear from 10.1.0.4:1 to 10.1.0.10:8080: 'a token'",)
        )

    def test_tls_to_somebody_else(self) -> None:
        wrong = stream(MESHED, *hellos("emoji.emojivoto.serviceaccount.identity.meshtx.cluster.local"))
        self.assertRegex(self.problems([wrong, UNSECURED])[0][0], f"not TLS to {WEB.identity}: ")

    def test_tls_of_an_older_version(self) -> None:
        old = stream(MESHED, *hellos(WEB.identity, ssl.TLSVersion.TLSv1_2))
        self.assertRegex(self.problems([old, UNSECURED])[0][0], f"not TLS to {WEB.identity}: ")

    def test_tls_that_was_not_answered(self) -> None:
        alone = stream(MESHED, hellos(WEB.identity)[0], b"")
        self.assertRegex(self.problems([alone, UNSECURED])[0][0], f"not TLS to {WEB.identity}: ")

    def test_tls_of_an_unmeshed_peer(self) -> None:
        self.assertEqual(
            self.problems([SECURED, replace(SECURED, client=UNSECURED.client)])[1],
            ("1 connections of an unmeshed peer were TLS",),
        )

    def test_nothing_on_the_wire(self) -> None:
        self.assertEqual(self.problems([SECURED])[1], ("no connection on the wire",))

    def test_many_of_the_same_are_said_three_times(self) -> None:
        plain = [stream(MESHED, b"x", b"") for _ in range(9)]
        self.assertEqual(self.problems([*plain, UNSECURED])[0], (f"not TLS to {WEB.identity}: 'x'",) * 3)


class CountTests(Case):
    streams = [SECURED, UNSECURED]

    def test_nothing_was_answered(self) -> None:
        problems = self.problems(self.streams, asked={"vote-bot": {}, "outside": {}}, served={"web": {}})
        self.assertEqual(problems, [("no request was answered",)] * 2 + [()])

    def test_a_request_failed(self) -> None:
        problems = self.problems(self.streams, asked={**ASKED, "vote-bot": {"list": 3, "vote": 2, "failed": 2}})
        self.assertEqual(problems[0], ("2 requests failed",))

    def test_the_server_counts_otherwise(self) -> None:
        problems = self.problems(self.streams, served={"web": {"list": 5}})
        self.assertEqual(
            problems[2],
            (
                "web served list 5 times, its clients were answered 4 times",
                "web served vote 0 times, its clients were answered 2 times",
            ),
        )

    def test_a_server_with_a_client_that_does_not_count_is_believed(self) -> None:
        asked = {"outside": {"list": 1}}
        verdict = self.judge(self.streams, asked=asked, served={"web": {"list": 9, "vote": 2}})
        self.assertEqual([row.requests for row in verdict.rows], [11, 1])
        self.assertTrue(verdict.good)


class TlsServerTests(SynchronousTestCase):
    def test_the_name_of_a_tls_1_3_connection(self) -> None:
        self.assertEqual(tls_server(SECURED), WEB.identity)

    def test_an_answer_cut_anywhere_is_no_proof(self) -> None:
        sent, received = hellos(WEB.identity)
        hello = 5 + int.from_bytes(received[3:5], "big")
        seen = {tls_server(stream(MESHED, sent, received[:cut])) for cut in range(hello)}
        self.assertLessEqual(seen, {None, WEB.identity})
        self.assertIsNone(tls_server(stream(MESHED, sent, received[:60])))

    def test_what_is_no_server_hello(self) -> None:
        sent, received = hellos(WEB.identity)
        for answer in (b"\x15" + received[1:], received[:5] + b"\x01" + received[6:], bytes(100)):
            self.assertIsNone(tls_server(stream(MESHED, sent, answer)))
