"""The programs that strangers come to, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.mesh.strangers.control_plane import directory, identity
from tests.mesh.strangers.targets import Target, proxy

TARGETS: dict[str, Callable[[Path], Target]] = {"proxy": proxy, "identity": identity, "directory": directory}
"""Each starts its program, with its files in the folder that it is given."""
