"""Measure how much later a meshed pod is ready than an unmeshed one, and what its proxy costs until then.

Run in a cluster that is up and has the mesh: ``python -m tests.cluster starts``. Each pod has one container, which
sleeps; the two kinds take turns, one pod at a time, and then many are made at once.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.cluster.objects import Document, namespace, template

SPACE = "starts"
ROUNDS = 10
AT_ONCE = 14
TIMEOUT = "120s"

MESHED, UNMESHED = "enabled", "disabled"


def measure(cluster: Cluster) -> str:
    """Return the figures, as lines."""
    apply(cluster, namespace(SPACE, {}))
    try:
        return "\n".join(_lines(cluster))
    finally:
        cluster.kubectl("delete", "namespace", SPACE, "--wait=true")


def _lines(cluster: Cluster) -> Iterator[str]:
    yield from _one_at_a_time(cluster)
    yield from _many_at_once(cluster)


def _one_at_a_time(cluster: Cluster) -> Iterator[str]:
    apart: dict[str, list[float]] = {MESHED: [], UNMESHED: []}
    costs = []
    for number in range(ROUNDS):
        for kind, times in apart.items():
            name = f"{kind}-{number}"
            times.append(seconds_to_ready(cluster, [name], kind))
            costs += proxies() if kind == MESHED else []
            remove(cluster, [name])
    middle = {kind: statistics.median(times) for kind, times in apart.items()}
    yield (
        f"ready, median of {ROUNDS}: unmeshed {middle[UNMESHED]:.2f} s, meshed {middle[MESHED]:.2f} s:"
        f" {middle[MESHED] - middle[UNMESHED]:.2f} s later"
    )
    cpu, memory = (statistics.median(each) for each in zip(*costs, strict=True))
    yield f"a proxy that has become ready: {cpu:.2f} s of CPU, {memory / 1024:.1f} MB RSS (medians)"


def _many_at_once(cluster: Cluster) -> Iterator[str]:
    together = {}
    for kind in (UNMESHED, MESHED):
        names = [f"{kind}-{number}-of-{AT_ONCE}" for number in range(AT_ONCE)]
        together[kind] = seconds_to_ready(cluster, names, kind)
        told = warnings(cluster)  # before their end, which has some of its own
        remove(cluster, names)
    yield (
        f"{AT_ONCE} at once: unmeshed {together[UNMESHED]:.2f} s, meshed {together[MESHED]:.2f} s:"
        f" {together[MESHED] - together[UNMESHED]:.2f} s later"
    )
    yield f"Events of type Warning: {len(told)}"
    yield from sorted({f"  {each['reason']}: {re.sub(r'[0-9.]+:', 'ADDRESS:', each['message'])}" for each in told})


def warnings(cluster: Cluster) -> list[Document]:
    """Return the Events of type Warning so far."""
    told = cluster.kubectl("get", "events", "-n", SPACE, "--field-selector=type=Warning", "-o", "json")
    return list(json.loads(told)["items"])


def apply(cluster: Cluster, *documents: Document) -> None:
    """Make objects."""
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
    cluster.kubectl("apply", "-f", "-", input=listed)


def seconds_to_ready(cluster: Cluster, names: list[str], kind: str) -> float:
    """Make pods and return after how many seconds all are ready."""
    started = time.monotonic()
    apply(cluster, *(pod(name, kind) for name in names))
    pods = [f"pod/{name}" for name in names]
    cluster.kubectl("wait", "-n", SPACE, "--for=condition=Ready", *pods, f"--timeout={TIMEOUT}")
    return time.monotonic() - started


def remove(cluster: Cluster, names: list[str]) -> None:
    """Delete pods and wait until they are gone."""
    cluster.kubectl("delete", "pod", "-n", SPACE, "--grace-period=1", *names)


def pod(name: str, kind: str) -> Document:
    """Return a pod that sleeps."""
    document = template(name, ["sleep", "1000000"], {})
    document["metadata"] = {"name": name, "namespace": SPACE, "labels": {"meshtx.io/inject": kind}}
    return {"apiVersion": "v1", "kind": "Pod", **document}


def proxies() -> list[tuple[float, float]]:
    """Return the CPU time, in seconds, and resident memory, in KB, of the pods' proxies but the control plane's."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"meshproxy" in command and any(each.startswith(f"HOSTNAME={MESHED}-".encode()) for each in told):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            ticks = int(fields[11]) + int(fields[12])
            rollup = (folder / "smaps_rollup").read_text()
            rss = next(line.split()[1] for line in rollup.splitlines() if line.startswith("Rss:"))
            found.append((ticks / os.sysconf("SC_CLK_TCK"), float(rss)))
    return found
