"""`make profile`: where the time of our proxies goes under requests on connections that are kept.

    python -m benchmarks.profile [PAIR] [--seconds S] [--connections] [--still]

Makes a flame graph of each proxy of the pair, by py-spy, in benchmarks/results/; a still picture of it, for the README,
in benchmarks/flames/.
"""

from __future__ import annotations

import argparse
import re
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
STILLS = Path(__file__).parent / "flames"
RATE = 500
"""Looks a second."""
START = 4
"""Seconds in which py-spy is looking."""


def record(ground: Ground, pair: Pair, seconds: float, load: str) -> list[Path]:
    """Look at both proxies while there is load; return the drawings.

    :raises LabError: py-spy failed.
    """
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


_FRAME = re.compile(
    r"(<title>([^<]*?) \([^()]*\)</title>"
    r'<rect [^>]*?width="([\d.]+)%"[^>]*>(?:</rect>)?<text[^>]*>)</text>'
)
_LETTERS = 1.7
"""Of a label, for each percent of the picture's width."""


def still(drawing: str, title: str) -> str:
    """Return a flame graph without its script, and with another title than the command that made it."""
    drawing = re.sub(r"<script.*?</script>", "", drawing, flags=re.DOTALL).replace(' onload="init(evt)"', "")
    drawing = _FRAME.sub(lambda frame: f"{frame[1]}{_label(frame[2], float(frame[3]))}</text>", drawing)
    return re.sub(r'(<text id="title"[^>]*>)[^<]*', rf"\g<1>{title}", drawing)


def _label(name: str, percent: float) -> str:
    """Return as much of a frame's name as has room: the script would have done so."""
    room = int(percent * _LETTERS)
    return "" if room < len("ab..") else name if len(name) <= room else f"{name[: room - 2]}.."


def main(argv: Sequence[str]) -> int:
    """Profile, and return the exit status."""
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(prog="benchmarks.profile")
    parser.add_argument("pair", nargs="?", default=names[0], choices=names)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", action="store_true", help="new connections in the place of kept ones")
    parser.add_argument("--still", action="store_true", help="draw it also without a script, in benchmarks/flames")
    options = parser.parse_args(argv)
    RESULTS.mkdir(exist_ok=True)
    kinds = [peer for peer in PEERS if peer.name == options.pair]
    load = "connections" if options.connections else "requests"
    try:
        with Ground() as ground:
            servers.start(ground)
            with running(ground, kinds, servers.REQUESTS_PORT) as (pair,):
                drawn = record(ground, pair, options.seconds, load)
        if options.still:
            for path in drawn:
                (STILLS / path.name).write_text(still(path.read_text(), path.stem))
        print(*drawn, sep="\n")
    except MeshtxError as error:
        print(f"benchmarks.profile: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
