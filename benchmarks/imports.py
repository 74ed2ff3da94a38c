"""What a proxy imports before it does anything: CPU time and resident memory by package, and by room of ours.

    .venv-bench/bin/python -m benchmarks.imports [MODULE]

A module counts for itself alone, not for those that it imports: what the same import statement loads of other packages
stands in their rows. Bytecode is read, not made: run it twice, or install with bytecode, before a figure is believed.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

PROXY = "meshtx.services.proxy"
PAGE = os.sysconf("SC_PAGE_SIZE") / 1024
"""KB."""
SHOWN = 25
"""Rows; the rest are added up in one."""


class Shares:
    """Seconds and KB by package; what is loaded within another module's loading is taken off the outer one."""

    def __init__(self) -> None:
        self.of: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0])
        self._within: list[list[float]] = []

    def load(self, loader: Loader, module: ModuleType) -> None:
        """Execute a module and charge it to its package."""
        inner = [0.0, 0.0]
        self._within.append(inner)
        before = _spent()
        try:
            loader.exec_module(module)
        finally:
            all_of_it = [after - at for after, at in zip(_spent(), before, strict=True)]
            self._within.pop()
            row = self.of[_package(module.__name__)]
            for number, (total, elsewhere) in enumerate(zip(all_of_it, inner, strict=True)):
                row[number] += total - elsewhere
                if self._within:
                    self._within[-1][number] += total
            row[2] += 1

    def lines(self) -> Iterator[str]:
        """Yield the table, the largest share of memory first."""
        rows = sorted(self.of.items(), key=lambda row: -row[1][1])
        yield f"{'':24} {'modules':>7} {'CPU ms':>7} {'RSS MB':>7}"
        for name, (seconds, kilobytes, modules) in rows[:SHOWN]:
            yield _line(name, modules, seconds, kilobytes)
        rest = [sum(each) for each in zip(*(values for _, values in rows[SHOWN:]), strict=True)] or [0.0, 0.0, 0]
        yield _line(f"{len(rows[SHOWN:])} others", rest[2], rest[0], rest[1])


class Watching(MetaPathFinder):
    """Finds modules where Python would, and has their loading measured."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return what Python's own finder does, with a loader that measures."""
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Measured(spec.loader, self._shares)
        return spec


class _Measured(Loader):
    def __init__(self, loader: Loader, shares: Shares) -> None:
        self._loader = loader
        self._shares = shares

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._shares.load(self._loader, module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def shares(module: str) -> Iterator[str]:
    """Import a module, here, and yield what that took."""
    bare = _spent()[1]
    measured = Shares()
    sys.meta_path.insert(0, Watching(measured))
    importlib.import_module(module)
    yield from measured.lines()
    seconds, kilobytes = _spent()
    yield f"Python alone {bare / 1024:.1f} MB; in the end {kilobytes / 1024:.1f} MB RSS, {seconds:.2f} s of CPU"


def _spent() -> tuple[float, float]:
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    return time.process_time(), resident * PAGE


def _package(module: str) -> str:
    parts = module.split(".")
    ours = parts[0] == "meshtx" and len(parts) > 2
    return ".".join(parts[:2]) if ours else parts[0]


def _line(name: str, modules: float, seconds: float, kilobytes: float) -> str:
    return f"{name:24} {modules:7.0f} {seconds * 1000:7.1f} {kilobytes / 1024:7.1f}"


if __name__ == "__main__":
    if "-I" not in sys.argv:
        subprocess.run([sys.executable, __file__, "-I", *sys.argv[1:]], check=True)
    else:
        print("\n".join(shares(next(iter(sys.argv[2:]), PROXY))))
