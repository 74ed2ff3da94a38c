"""Quantities as API servers store them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.quantity import canonical


class CanonicalTests(SynchronousTestCase):
    def test_each_spelling_is_stored_as_one(self) -> None:
        for written, stored in (
            ("100m", "100m"),
            ("1000m", "1"),
            ("0.05", "50m"),
            ("1.5", "1500m"),
            (".0001", "1m"),
            ("0", "0"),
            ("128000", "128k"),
            ("64Mi", "64Mi"),
            ("1Ki", "1Ki"),
            ("1023.999Ki", "1048575"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("1e4", "10e3"),
            ("2E", "2E"),
        ):
            self.assertEqual(canonical(written), stored, written)

    def test_what_is_none_is_refused(self) -> None:
        with self.assertRaises(ValueError):
            canonical("much")
