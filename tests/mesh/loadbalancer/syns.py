"""What a dial waits for where the network loses SYNs: each tenth of them, at random."""

from __future__ import annotations

import json
import sys
from typing import Any

from meshtx.demo.lab import Lab
from tests.mesh import bytes_peer, dial_many
from tests.mesh.loadbalancer.figures import Bar
from tests.mesh.test_lost_syns import CLIENT, SERVER, lost, rules
from tests.mesh.town import PATIENCE, Program, environment

CONNECTS, AT_ONCE = 3000, 20


def syns() -> list[Bar]:
    """Dial very often, and see how long the slowest of a hundred takes."""
    with Lab() as lab:
        lab.build_fabric()
        lab.add_host("client", CLIENT)
        server = lab.add_host("server", SERVER)
        _program(lab, "server", bytes_peer, "listen", SERVER, "80", "hold").says("listening")
        server.run("nft", "-f", "-", stdin=rules("lossy", 80, "random mod 100 < 10"))
        dialling = _program(lab, "client", dial_many, SERVER, "80", str(CONNECTS), str(AT_ONCE))
        said: dict[str, Any] = json.loads(dialling.answer(PATIENCE))
        gone = lost(server)
    waits = said["milliseconds"]
    print(f"{CONNECTS} dials, {gone} SYNs lost, ms: {json.dumps(waits)}", flush=True)
    return [
        Bar(f"all dials connect: {said['connected']} of {CONNECTS}", said["connected"] == CONNECTS),
        Bar(f"p99 of a dial with each tenth SYN lost {waits['p99']:.0f} ms < 600 ms", gone > 0 and waits["p99"] < 600),
    ]


def _program(lab: Lab, host: str, module: Any, *argv: str) -> Program:
    process = lab.hosts[host].start(
        sys.executable, "-m", module.__name__, *argv, log=module.__name__, env=environment()
    )
    return Program(f"{module.__name__} on {host}", process, lab.folder / f"{host}-{module.__name__}.log")
