"""How the taps of ``meshtx tap`` end."""

from __future__ import annotations

from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks

from meshtx.cli.tap_session import FromFiles, ProxyTarget, TapPlan, TapSession
from meshtx.observe.tap_query import TapQuery
from tests.net.certificates import make_leaf
from tests.observe.cases import EMOJI, WEB
from tests.observe.tap_case import TapCase


class TapSessionTests(TapCase):
    @inlineCallbacks
    def test_a_defect_does_not_look_like_the_end_of_a_tap(self):
        def show(_target: ProxyTarget, _event: object, _mesh: object) -> None:
            raise ZeroDivisionError

        opened: Deferred[str] = Deferred()
        running = Deferred.fromCoroutine(
            TapSession(reactor, self.plan(), TapQuery().request, show, opened.callback).run()
        )
        yield opened
        self.exchange()
        yield self.assertFailure(running, ZeroDivisionError)

    def plan(self) -> TapPlan:
        """Tap the proxy, with a certificate from files."""
        own = FromFiles(Path(self.mktemp()), Path(self.mktemp()))
        credentials = make_leaf(self.ca, EMOJI)
        own.certificate.write_bytes(credentials.chain_pem())
        own.key.write_bytes(credentials.key_pem())
        anchors = Path(self.mktemp())
        anchors.write_text(self.ca.pem)
        return TapPlan((ProxyTarget.parse(f"{WEB}@{self.address}"),), own, anchors, None)
