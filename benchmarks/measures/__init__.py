"""What is measured: each takes a pair that is ready, and returns figures by their names (their units are in them)."""

from __future__ import annotations

from collections.abc import Mapping

Figures = Mapping[str, float]
