"""Lists of ports in annotations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.ports import MOST, among, parse_ports


class PortsTests(SynchronousTestCase):
    def test_numbers_ranges_and_names(self) -> None:
        self.assertEqual(
            parse_ports("25, 4567-4568,mysql,my-sql", {"mysql": 3306, "my-sql": 3307}),
            (range(25, 26), range(4567, 4569), range(3306, 3307), range(3307, 3308)),
        )

    def test_what_makes_no_sense_is_passed_over(self) -> None:
        for text in ("", ",", "0", "65536", "9-8", "a", "1-b", "-1", "1-2-3", "٣", "99999999999"):
            self.assertEqual(parse_ports(f"{text},80"), (range(80, 81),), text)

    def test_a_range_holds_both_its_ends(self) -> None:
        ports = parse_ports("4567-4569")
        self.assertEqual([among(port, ports) for port in (4566, 4567, 4569, 4570)], [False, True, True, False])

    def test_they_are_so_many_at_most(self) -> None:
        self.assertEqual(
            parse_ports(",".join(map(str, range(1, 60001, 2)))), parse_ports(",".join(map(str, range(1, 2 * MOST, 2))))
        )
        self.assertEqual(parse_ports("80," * (MOST - 1) + "81,82"), (range(80, 81), range(81, 82)))

    def test_what_is_beyond_is_not_looked_at(self) -> None:
        """Else whoever changes a long annotation again and again keeps the directory from everything else."""
        self.assertEqual(parse_ports("x," * MOST + "80"), ())

    @given(st.text(alphabet="0123456789-, ab٣"))
    def test_any_text_is_a_list_of_ports(self, text: str) -> None:
        for each in parse_ports(text, {"a": 1}):
            self.assertTrue(0 < each.start < each.stop <= 65536)
