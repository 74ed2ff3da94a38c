"""The CPU time and the memory that a proxy's imports take, by package, and by room of ours.

    .venv-bench/bin/python -m benchmarks.imports [MODULE]

A module counts for itself alone: what it imports stands in the rows of others. Python makes bytecode that is not there,
so the second of two runs is the one to read.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

PROXY = "meshtx.services.proxy"

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Cost:
    """CPU time in seconds, and resident memory in bytes."""

    seconds: float = 0.0
    memory: int = 0
    modules: int = 0

    @classmethod
    def so_far(cls) -> Cost:
        """Return that of this process."""
        return cls(time.process_time(), int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.seconds - other.seconds, self.memory - other.memory, self.modules - other.modules)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, self.memory + other.memory, self.modules + other.modules)

    def __str__(self) -> str:
        return f"{self.modules:7} {self.seconds * 1000:7.1f} {self.memory / 2**20:7.1f}"


class Watch(MetaPathFinder):
    """A finder of modules that charges the execution of each to its package; it finds what Python's own does."""

    def __init__(self) -> None:
        self.packages: dict[str, Cost] = defaultdict(Cost)
        self._charged = Cost()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of a module, whose execution is watched."""
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = self._watched(spec.loader.exec_module)  # type: ignore[assignment, method-assign]
        return spec

    def _watched(self, execute: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
        def watched(module: ModuleType) -> None:
            before, charged = Cost.so_far(), self._charged
            execute(module)
            of_others = self._charged - charged
            own = Cost.so_far() - before - of_others + Cost(modules=1 + of_others.modules)
            self.packages[package(module.__name__)] += own
            self._charged += own

        return watched


def package(module: str) -> str:
    """Return the row that a module stands in."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "meshtx" else 1])


def costs(module: str) -> Iterator[str]:
    """Import a module, here, and yield what that took, the most memory first."""
    bare = Cost.so_far()
    watch = Watch()
    sys.meta_path.insert(0, watch)
    try:
        importlib.import_module(module)
    finally:
        sys.meta_path.remove(watch)
    yield f"{'':24} modules  CPU ms  RSS MB"
    for name, cost in sorted(watch.packages.items(), key=lambda row: -row[1].memory):
        yield f"{name:24} {cost}"
    yield f"{'all of them':24} {sum(watch.packages.values(), Cost())}"
    yield f"{'Python alone':24} {bare}"


if __name__ == "__main__":
    print("\n".join(costs(*sys.argv[1:2] or [PROXY])))
