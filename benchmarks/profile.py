"""`make profile`: where the time of our proxies goes under requests on connections that are kept.

    python -m benchmarks.profile [PAIR] [--seconds S] [--connections]

Makes a flame graph of each proxy of the pair, by py-spy, in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import servers
from benchmarks.ground import Ground, Running
from benchmarks.measures import connections, requests
from benchmarks.peers.meshtx import PEERS
from benchmarks.peers.others import program
from benchmarks.peers.peer import Pair
from benchmarks.peers.running import running
from meshtx.demo.lab import LabError
from meshtx.errors import MeshtxError

RESULTS = Path(__file__).parent / "results"
RATE = 500
"""Looks a second."""
START = 4
"""Seconds in which py-spy is looking."""


def record(ground: Ground, pair: Pair, seconds: float, load: str) -> list[Path]:
    """Look at both proxies while there is load; return the drawings."""
    begin = connections.begin if load == "connections" else requests.begin
    driver = begin(ground, pair, seconds + START, requests.MANY)
    recorders = [
        _recorder(ground, proxy, RESULTS / f"{pair.name}-{load}-{side}.svg", seconds)
        for side, proxy in (("outbound", pair.outbound), ("inbound", pair.inbound))
    ]
    for recorder, _ in recorders:
        if recorder.process.wait():
            raise LabError(f"{recorder.what} failed:\n{recorder.said.read_text()}")
    driver.process.wait()
    return [path for _, path in recorders]


def _recorder(ground: Ground, proxy: Running, path: Path, seconds: float) -> tuple[Running, Path]:
    argv = [program("py-spy"), "record", "--pid", str(proxy.process.pid), "--output", str(path)]
    argv += ["--native", "--duration", f"{seconds:.0f}", "--rate", str(RATE)]
    return ground.start(f"py-spy-{path.stem}", argv, cpu=ground.load_cpu), path


def main(argv: Sequence[str]) -> int:
    """Profile, and return the exit status."""
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(prog="benchmarks.profile")
    parser.add_argument("pair", nargs="?", default=names[0], choices=names)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", action="store_true", help="new connections in the place of kept ones")
    options = parser.parse_args(argv)
    RESULTS.mkdir(exist_ok=True)
    kinds = [peer for peer in PEERS if peer.name == options.pair]
    load = "connections" if options.connections else "requests"
    try:
        with Ground() as ground:
            servers.start(ground)
            with running(ground, kinds, servers.REQUESTS_PORT) as (pair,):
                print(*record(ground, pair, options.seconds, load), sep="\n")
    except MeshtxError as error:
        print(f"benchmarks.profile: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
