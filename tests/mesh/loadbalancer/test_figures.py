"""The lab's arithmetic: a measured stall must fail its bar."""

from __future__ import annotations

import itertools

from twisted.trial.unittest import SynchronousTestCase

from tests.mesh.loadbalancer.asker import Answer
from tests.mesh.loadbalancer.figures import KINDS, Cell, Figures, bars, known, percentile, table
from tests.mesh.loadbalancer.street import Proxy, Traffic


def cells(
    cluster: float = 0.002, local: float = 0.002, control: float | None = None, undeclared: float = 0.002
) -> dict[Cell, Figures]:
    """Return figures of two rounds, of ten hellos each that waited as long as this."""
    waited = {
        (Traffic.CLUSTER, Proxy.MESHTX): cluster,
        (Traffic.LOCAL, Proxy.MESHTX): local,
        (Traffic.UNDECLARED, Proxy.MESHTX): undeclared,
        (Traffic.CLUSTER, Proxy.SERIAL): control,
        (Traffic.LOCAL, Proxy.SERIAL): control,
    }
    made: dict[Cell, Figures] = {}
    for pair, kind in itertools.product(waited, KINDS):
        made[*pair, kind] = figures = Figures(deadline=3)
        for _ in range(2):
            figures.add([Answer(kind, 0.001, waited[pair], waited[pair] is not None)] * 10)
    return made


def missed(made: dict[Cell, Figures]) -> list[str]:
    return [bar.what for bar in bars(made) if not bar.met and bar.what.startswith("mtls")]


class TestFigures(SynchronousTestCase):
    def test_percentiles_are_values_that_were_measured(self) -> None:
        values = [float(each) for each in range(100, 0, -1)]
        self.assertEqual([percentile(values, part) for part in (0.001, 0.5, 0.99, 1)], [1, 50, 99, 100])
        self.assertEqual([percentile([7.0], part) for part in (0.5, 1)], [7, 7])

    def test_all_bars_are_met(self) -> None:
        self.assertEqual([str(bar)[:4] for bar in bars(cells())], ["PASS"] * 14)

    def test_a_stall_misses_the_bars(self) -> None:
        self.assertEqual(
            missed(cells(cluster=1.5)),
            [
                "mtls: p99 under Cluster 1500.0 ms < 25 ms",
                "mtls: every hello under Cluster answered, the last in 1500.0 ms < 1000 ms",
                "mtls: p50 under Cluster 1500.0 ms <= 1.2 x 2.0 ms (Local) + 1 ms",
            ],
        )

    def test_the_policies_are_compared(self) -> None:
        self.assertEqual(
            missed(cells(cluster=0.004)), ["mtls: p50 under Cluster 4.0 ms <= 1.2 x 2.0 ms (Local) + 1 ms"]
        )

    def test_a_node_that_is_not_declared_makes_no_difference(self) -> None:
        self.assertEqual(
            missed(cells(undeclared=0.004)), ["mtls: p50 under Undeclared 4.0 ms <= 1.2 x 2.0 ms (Local) + 1 ms"]
        )

    def test_an_obscured_client_must_be_known_as_such(self) -> None:
        seen = {Traffic.CLUSTER: {("direct", "10.1.0.4")}, Traffic.LOCAL: {("direct", "10.9.0.1")}}
        self.assertEqual(
            [str(bar) for bar in known(seen)],
            ["FAIL  known under Cluster: direct 10.1.0.4", "PASS  known under Local: direct 10.9.0.1"],
        )

    def test_a_control_that_does_not_stall_proves_nothing(self) -> None:
        self.assertEqual(missed(cells(control=0.002)), ["mtls: the serial control stalls, p50 2 ms > 1000 ms"])

    def test_one_hello_without_an_answer_is_a_miss(self) -> None:
        made = cells()
        made[Traffic.CLUSTER, Proxy.MESHTX, "mtls"].add([Answer("mtls", 0.001, 0.002, echoed=False)])
        self.assertIn("mtls: every hello under Cluster answered, the last in 3000.0 ms < 1000 ms", missed(made))

    def test_the_table_has_a_line_for_each_cell(self) -> None:
        self.assertEqual(
            table(cells(control=1.5)).splitlines()[2:4],
            [
                "Cluster    meshtx  passthrough     20          0      2.0      2.0      2.0        2.0",
                "Cluster    meshtx  mtls            20          0      2.0      2.0      2.0        2.0",
            ],
        )
