from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prometheus_client import REGISTRY, CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from meshtx.identity.keeper_service import Refresh
from meshtx.net.dial import HedgeOutcome
from meshtx.observe.flow import Direction, Known, NoTls, NoTlsReason, Refusal, ResponseEnd
from meshtx.observe.metrics import LATENCY_BUCKETS_MS, Metrics, flow_labels, succeeded
from meshtx.observe.watcher import Detached
from meshtx.rpc.status import Status
from meshtx.watch import Followed, Reload
from tests.observe.cases import MTLS, PLAIN, series

NOW = datetime(2026, 11, 24, tzinfo=UTC)


class FlowLabelTests(SynchronousTestCase):
    def test_labels_are_spelled_as_linkerd_does(self) -> None:
        self.assertEqual(flow_labels(Direction.IN, MTLS), ("inbound", "src", "true", ""))
        self.assertEqual(flow_labels(Direction.OUT, MTLS), ("outbound", "dst", "true", ""))
        self.assertEqual(flow_labels(Direction.IN, PLAIN), ("inbound", "src", "no_identity", "no_tls_from_remote"))
        self.assertEqual(flow_labels(Direction.IN, NoTls(NoTlsReason.PASSTHROUGH)), ("inbound", "src", "opaque", ""))
        self.assertEqual(flow_labels(Direction.OUT, None), ("outbound", "dst", "no_identity", "unknown"))


class SuccessTests(SynchronousTestCase):
    def test_an_answer_is_good_unless_the_server_is_at_fault(self) -> None:
        self.assertTrue(succeeded(200, ResponseEnd(0, 1)))
        self.assertTrue(succeeded(404, ResponseEnd(0, 1)))
        self.assertTrue(succeeded(200, ResponseEnd(0, 1, grpc_status=Status.NOT_FOUND)))
        self.assertFalse(succeeded(503, ResponseEnd(0, 1)))
        self.assertFalse(succeeded(200, ResponseEnd(0, 1, grpc_status=Status.INTERNAL)))
        self.assertFalse(succeeded(200, ResponseEnd(0, 1, reset=-1)))


class MetricsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.metrics = Metrics()

    def test_two_programs_in_one_process_share_nothing(self) -> None:
        Metrics().refused(Direction.IN, Refusal.NO_RULE)
        self.assertEqual(series(self.metrics, "tcp_refused_total"), [])
        self.assertNotIn("tcp_refused", REGISTRY._names_to_collectors)

    def test_a_connection_is_counted_from_its_decision_to_its_end(self) -> None:
        flow = self.metrics.flow(Direction.IN, MTLS)
        labels = '{direction="inbound",no_tls_reason="",peer="src",tls="true"}'
        flow.opened()
        flow.opened()
        flow.moved(5, 7)
        flow.closed(None)
        self.assertEqual(series(self.metrics, "tcp_open_total"), [f"tcp_open_total{labels} 2.0"])
        self.assertEqual(series(self.metrics, "tcp_open_connections"), [f"tcp_open_connections{labels} 1.0"])
        self.assertEqual(series(self.metrics, "tcp_read_bytes_total"), [f"tcp_read_bytes_total{labels} 5.0"])
        self.assertEqual(series(self.metrics, "tcp_write_bytes_total"), [f"tcp_write_bytes_total{labels} 7.0"])
        self.assertEqual(
            series(self.metrics, "tcp_close_total"),
            ['tcp_close_total{direction="inbound",errno="",no_tls_reason="",peer="src",tls="true"} 1.0'],
        )

    def test_outbound_what_the_server_sent_is_read_from_the_peer(self) -> None:
        self.metrics.flow(Direction.OUT, MTLS).moved(5, 7)
        self.assertTrue(series(self.metrics, "tcp_read_bytes_total")[0].endswith(" 7.0"))
        self.assertTrue(series(self.metrics, "tcp_write_bytes_total")[0].endswith(" 5.0"))

    def test_an_error_that_is_in_no_enum_makes_no_label_of_its_own(self) -> None:
        flow = self.metrics.flow(Direction.IN, MTLS)
        flow.closed("what the peer wrote")
        flow.closed(Refusal.CONNECT_FAILED)
        flow.closed("reset")
        text = "\n".join(series(self.metrics, "tcp_close_total"))
        self.assertIn('errno="other"', text)
        self.assertIn('errno="connect_failed"', text)
        self.assertIn('errno="reset"', text)
        self.assertNotIn("what the peer wrote", text)

    def test_answers_are_classified(self) -> None:
        flow = self.metrics.flow(Direction.IN, PLAIN)
        flow.responded(200, ResponseEnd(0, 9, grpc_status=0), 0.0025)
        flow.responded(200, ResponseEnd(0, 9, grpc_status=0), 0.0025)
        flow.responded(999, ResponseEnd(0, 9, grpc_status=99), 0.0025)
        start = 'response_total{classification="'
        middle = '",direction="inbound",grpc_status="'
        rest = '",no_tls_reason="no_tls_from_remote",peer="src",status_code="'
        self.assertEqual(
            series(self.metrics, "response_total"),
            [
                f'{start}success{middle}0{rest}200",tls="no_identity"}} 2.0',
                f'{start}failure{middle}other{rest}other",tls="no_identity"}} 1.0',
            ],
        )
        buckets = [line for line in series(self.metrics, "response_latency_ms_bucket") if " 0.0" not in line]
        self.assertIn('le="3.0"', buckets[0])

    def test_numbers_that_a_peer_invents_are_not_remembered(self) -> None:
        flow = self.metrics.flow(Direction.IN, PLAIN)
        for status in range(600, 999):
            flow.responded(status, ResponseEnd(0, 9), 0.0)
            flow.responded(200, ResponseEnd(0, 9, grpc_status=status), 0.0)
        self.assertEqual(flow._responses, {})
        self.assertEqual(len(series(self.metrics, "response_total")), 2)

    def test_latencies_are_shown_as_prometheus_own_histogram_shows_them(self) -> None:
        flow = self.metrics.flow(Direction.OUT, MTLS)
        labels = dict(zip(("direction", "peer", "tls", "no_tls_reason"), flow_labels(Direction.OUT, MTLS), strict=True))
        registry = CollectorRegistry()
        reference = Histogram(
            "response_latency_ms",
            "Milliseconds from a request's head to the end of its answer.",
            labels,
            buckets=LATENCY_BUCKETS_MS,
            registry=registry,
        ).labels(**labels)
        for milliseconds in (0, 0.5, 1, 2, 2.0001, 45, 50, 49_999, 50_000, 50_001, 1e9):
            flow.responded(200, ResponseEnd(0, 9), milliseconds / 1000)
            reference.observe(milliseconds / 1000 * 1000)
        expected = generate_latest(registry).decode().splitlines()
        shown = self.metrics.exposition().decode().splitlines()
        shown = [line for line in shown if "response_latency_ms" in line]
        self.assertEqual(shown, [line for line in expected if "response_latency_ms_created" not in line])

    def test_each_refusal_is_counted_with_its_reason(self) -> None:
        self.metrics.refused(Direction.OUT, Refusal.LOOP)
        self.assertEqual(
            series(self.metrics, "tcp_refused_total"),
            ['tcp_refused_total{direction="outbound",reason="loop"} 1.0'],
        )

    def test_expiry_is_not_shown_before_it_is_known(self) -> None:
        self.assertEqual(series(self.metrics, "control_identity_cert_expiration"), [])
        self.assertEqual(series(self.metrics, "meshtx_trust_anchor"), [])
        self.assertEqual(series(self.metrics, "meshtx_identity_issuer"), [])

    def test_expiry_of_leaf_anchors_and_issuer(self) -> None:
        self.metrics.certificate(NOW + timedelta(hours=24), NOW)
        self.metrics.certificate(NOW + timedelta(hours=25), NOW)
        self.metrics.certificate_refreshed(Refresh.OK)
        self.metrics.certificate_refreshed(Refresh.ERROR)
        self.metrics.anchors([NOW + timedelta(days=9), NOW + timedelta(days=3)])
        self.metrics.issuer(NOW + timedelta(days=5))
        stamp = NOW.timestamp()
        self.assertEqual(
            [float(line.split()[1]) for line in series(self.metrics, "control_identity_cert_expiration")],
            [stamp + 25 * 3600],
        )
        self.assertEqual(
            [float(line.split()[1]) for line in series(self.metrics, "control_identity_cert_refresh_")], [stamp]
        )
        self.assertEqual(
            series(self.metrics, "control_identity_cert_refreshes_total"),
            [
                'control_identity_cert_refreshes_total{result="ok"} 1.0',
                'control_identity_cert_refreshes_total{result="error"} 1.0',
            ],
        )
        self.assertEqual(
            [float(line.split()[1]) for line in series(self.metrics, "meshtx_trust_anchor_expiration")],
            [stamp + 3 * 86400],
        )
        self.assertEqual(
            [float(line.split()[1]) for line in series(self.metrics, "meshtx_identity_issuer_expiration")],
            [stamp + 5 * 86400],
        )

    def test_the_rest_is_counted_by_enums(self) -> None:
        self.metrics.silent(Direction.IN, Known.OBSCURED)
        self.metrics.handshake(Direction.IN, 0.004)
        self.metrics.observer_detached("h2", Detached.GAVE_UP)
        self.metrics.hedged(HedgeOutcome.WON)
        self.metrics.retransmitted(2)
        self.metrics.tap_refused(Status.PERMISSION_DENIED)
        self.metrics.certify(Status.OK)
        lines = self.metrics.exposition().decode().splitlines()
        for line in (
            'meshtx_silent_connections_total{direction="inbound",source="obscured"} 1.0',
            'meshtx_handshake_duration_seconds_bucket{direction="inbound",le="0.005"} 1.0',
            'meshtx_handshake_duration_seconds_bucket{direction="inbound",le="0.0025"} 0.0',
            'meshtx_observers_detached_total{protocol="h2",why="gave_up"} 1.0',
            'meshtx_connect_hedges_total{outcome="won"} 1.0',
            "meshtx_connect_retransmits_total 2.0",
            'meshtx_tap_refused_total{status="PERMISSION_DENIED"} 1.0',
            'meshtx_identity_certify_total{status="OK"} 1.0',
        ):
            self.assertIn(line, lines)

    def test_reloads_are_counted_from_0_on(self) -> None:
        reloaded = self.metrics.reloads(Followed.DIRECTORY)
        reloaded(Reload.REJECTED)
        self.assertEqual(
            series(self.metrics, "meshtx_reload_total"),
            [
                'meshtx_reload_total{result="ok",what="directory"} 0.0',
                'meshtx_reload_total{result="rejected",what="directory"} 1.0',
            ],
        )

    def test_prometheus_can_read_it(self) -> None:
        self.metrics.flow(Direction.IN, MTLS).responded(200, ResponseEnd(0, 1), 0.1)
        families = list(text_string_to_metric_families(self.metrics.exposition().decode()))
        self.assertIn("response_latency_ms", {family.name for family in families})
        names = {sample.name for family in families for sample in family.samples}
        self.assertEqual({name for name in names if name.endswith("_created")}, set())

    def test_values_are_brought_up_to_date_before_they_are_shown(self) -> None:
        self.metrics.before_exposition.append(lambda: self.metrics.refused(Direction.IN, Refusal.LIMIT))
        self.assertEqual(len(series(self.metrics, "tcp_refused_total")), 1)
