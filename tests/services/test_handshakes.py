"""What becomes of a handshake that fails on the tap or on the admin port."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from meshtx.net.failures import TlsError, TlsFailure
from meshtx.observe.metrics import Metrics
from meshtx.observe.sparing import BURST
from meshtx.services.handshakes import FailedHandshakes
from tests.observe.cases import series


class FailedHandshakesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[dict[str, object]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.metrics = Metrics()
        self.handshakes = FailedHandshakes("tap refused", self.metrics, Clock())

    def lines(self) -> list[str]:
        return [str(event["log_format"]).format(**event) for event in self.events]

    def test_one_is_logged_with_its_reason_and_nothing_that_a_stranger_could_forge(self) -> None:
        self.handshakes.failed(TlsError(TlsFailure.UNKNOWN_CA, "issued by \n'x'"))
        self.assertEqual(self.lines(), [r"tap refused: unknown_issuer (issued by \x0a'x')"])

    def test_many_are_counted_and_do_not_fill_the_log(self) -> None:
        for _ in range(1000):
            self.handshakes.failed(TlsError(TlsFailure.VERSION, "unsupported protocol"))
        self.assertEqual(len(self.lines()), BURST)
        self.assertEqual(
            series(self.metrics, "tcp_refused_total"),
            ['tcp_refused_total{direction="inbound",reason="tls_version"} 1000.0'],
        )
