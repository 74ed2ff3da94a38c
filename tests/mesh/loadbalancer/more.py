"""The lab's other measurements: who speaks first, who dribbles, and silence by the thousand."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from meshtx.demo.lab import TimedOut, wait_until
from meshtx.wire.ports import PROXY_INBOUND
from tests.mesh.loadbalancer import asker, probers
from tests.mesh.loadbalancer.figures import MS, Bar, percentile
from tests.mesh.loadbalancer.ports import TLS_PORT
from tests.mesh.loadbalancer.street import PROBERS, Proxy, Street, Traffic, answers
from tests.mesh.town import Program

CONNECTS = 100
MANY = 10_000
SHORT, LONG = 148, 1536
"""Bytes of a hello that is dribbled."""


def banner() -> list[Bar]:
    """Measure how long a server that speaks first is waited for."""
    street = Street(meshed=("peer",))
    town = street.town
    first: dict[str, float] = {}
    found: dict[str, list[float]] = {}
    pod, bare = town.addresses[Proxy.MESHTX], town.addresses[Proxy.NONE]
    ways = {"direct": ("client", bare), "unmeshed": ("client", pod), "meshed": ("peer", pod)}
    try:
        for number in (1, CONNECTS, CONNECTS, CONNECTS):
            for way, (host, address) in ways.items():
                argv = ["banner", address, str(number), town.addresses[host]]
                times = [_total(each) for each in answers(town.python(host, asker, *argv), 1500)]
                found.setdefault(way, []).extend(times)
                first.setdefault(way, times[0])
    finally:
        town.remove()
    print(f"SYN to banner, ms ({3 * CONNECTS + 1} connects)\nway         first      p50      p99      max")
    for way, times in found.items():
        shown = [first[way], *(percentile(times, part) for part in (0.5, 0.99, 1))]
        print(f"{way:8}", *(f"{each:8.1f}" for each in shown))
    direct = percentile(found["direct"], 0.5)
    met = []
    for way in ("unmeshed", "meshed"):
        p50 = percentile(found[way], 0.5)
        met.append(Bar(f"{way}: p50 to the banner {p50:.1f} ms <= {direct:.1f} ms (direct) + 5 ms", p50 <= direct + 5))
        met.append(Bar(f"{way}: the first banner in {first[way]:.1f} ms < 25 ms", first[way] < 25))
    return met


def _total(answer: asker.Answer) -> float:
    if answer.connect is None or answer.hello is None or not answer.echoed:
        return 12 * MS
    return MS * (answer.connect + answer.hello)


def dribble() -> list[Bar]:
    """Send hellos byte by byte while others ask, and see both."""
    street = Street()
    town = street.town
    try:
        calm = asked(street, 8)
        pods = [town.addresses[Proxy.MESHTX], str(TLS_PORT), "0.05"]
        short, long = (town.python("client", asker, "dribble", *pods, str(size)) for size in (SHORT, LONG))
        beside = asked(street, 8)
        ends = [json.loads(each.answer()) for each in (short, long)]
        refused = street.refused("tls_undecided")
    finally:
        town.remove()
    for end in ends:
        print("{size} bytes at 50 ms a byte: {end} after {sent} bytes, {seconds:.1f} s".format(**end))
    return [
        Bar(f"the dribbled hello of {ends[0]['size']} bytes gets {ends[0]['end']}", ends[0]["end"] == "ServerHello"),
        Bar(
            f"the one of {ends[1]['size']} bytes is ended ({ends[1]['end']}) at {ends[1]['seconds']:.1f} s (10 s)"
            f", counted {refused:g} times",
            ends[1]["end"] in {"closed", "reset"} and 9.5 < ends[1]["seconds"] < 11 and refused == 1,
        ),
        unhurt(calm, beside),
    ]


def unhurt(calm: list[float], beside: list[float]) -> Bar:
    """Return whether others wait no longer than before."""
    before, now = (percentile(times, 0.5) for times in (calm, beside))
    return Bar(f"others' p50 meanwhile {now:.1f} ms <= 1.2 x {before:.1f} ms + 1 ms", now <= 1.2 * before + 1)


def asked(street: Street, seconds: float) -> list[float]:
    """Return for how long others' hellos wait, ms, which are sent for so many seconds."""
    found = answers(street.ask(Traffic.LOCAL, Proxy.MESHTX, seconds=seconds))
    return [MS * (3.0 if each.hello is None else each.hello) for each in found]


def silent() -> list[Bar]:
    """Hold silent connections by the thousand, and see what each costs and what others wait for."""
    street = Street()
    try:
        proxy = street.sidecars[Proxy.MESHTX]
        calm = asked(street, 10)  # it warms the proxy up, too
        memory, base = proxy.memory(), _descriptors(proxy)
        goal = f"{street.town.addresses[Proxy.MESHTX]}:{TLS_PORT}"
        held = street.town.python("client", probers, "silent", str(MANY), goal, *PROBERS)
        held.says("holding", 120)
        beside = asked(street, 14)  # longer than the deadline of who is silent
        there, most = _held(street), _descriptors(proxy)
        cost = (proxy.memory() - memory) / max(there, 1) / 1024
        held.stop()
        back = _seconds_until_back(proxy, base)
        said = _complaints(proxy)
    finally:
        street.town.remove()
    p99s = [percentile(times, 0.99) for times in (calm, beside)]
    print(
        f"{MANY} silent connections, {there} held: {cost:.1f} KB each; descriptors {base}, {most} with them; others"
        f" waited {p99s[0]:.1f} ms (p99) without, {p99s[1]:.1f} ms with them, the last {max(beside):.1f} ms{said}"
    )
    return [
        Bar(f"a silent connection costs {cost:.1f} KB <= 40 KB", cost <= 40),
        Bar(f"all {MANY} are held: {there}", there >= MANY),
        Bar(f"others' p99 {p99s[1]:.1f} ms <= 2 x {p99s[0]:.1f} ms", p99s[1] <= 2 * p99s[0]),
        Bar("descriptors are back to what they were " + (f"in {back:.1f} s" if back else "never"), 0 < back < 5),
    ]


def _complaints(proxy: Program) -> str:
    lines: Sequence[str] = [line for line in proxy.lines if "descriptor" in line]
    return f"\nthe proxy wrote: {lines[-1]}" if lines else ""


def _held(street: Street) -> int:
    """Return how many connections the proxy's inbound port has."""
    sockets = ["ss", "-Htn", "state", "established", "sport", "=", f":{PROXY_INBOUND}"]
    return len(street.town.hosts(Proxy.MESHTX).run(*sockets).stdout.splitlines())


def _descriptors(program: Program) -> int:
    return len(list(Path(f"/proc/{program.process.pid}/fd").iterdir()))


def _seconds_until_back(proxy: Program, base: int) -> float:
    """Return the seconds until a program has no more descriptors than this, 0 if it always has."""
    begun = time.monotonic()
    try:
        wait_until(lambda: _descriptors(proxy) <= base, "descriptors", 30)
    except TimedOut:
        return 0
    return time.monotonic() - begun
