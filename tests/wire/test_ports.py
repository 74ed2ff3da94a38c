"""Ranges of ports, as users write them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire.ports import PortRange


class PortRangeTests(SynchronousTestCase):
    def test_a_port_and_a_range(self) -> None:
        self.assertEqual([str(PortRange.parse(text)) for text in ("80", "80-80", "80-90")], ["80", "80", "80-90"])
        ports = PortRange.parse("80-82")
        self.assertEqual([port for port in range(70, 90) if port in ports], [80, 81, 82])

    def test_the_first_and_the_last_port_there_are(self) -> None:
        self.assertEqual(PortRange.parse("1-65535"), PortRange(1, 65535))

    def test_what_is_none(self) -> None:
        for text in ("", "-", "80-", "-80", "http", "80-90-100", " 80", "²", "٨"):
            with self.assertRaisesRegex(ValueError, "is no port and no range of ports"):
                PortRange.parse(text)
        for text in ("0", "65536", "90-80", "80-65536"):
            with self.assertRaisesRegex(ValueError, "is not within 1-65535, from low to high"):
                PortRange.parse(text)
