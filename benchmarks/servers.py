"""The two servers behind every pair: one of requests (nginx), one of bytes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from string import Template

from benchmarks.ground import Ground
from benchmarks.peers.others import program

REQUESTS_PORT = 8000
BULK_PORT = 8001
BODY = "0123456789abcde\\n" * 64
"""1 KiB, as nginx's configuration spells it."""

_TEMPLATE = Path(__file__).parent / "peers" / "server" / "nginx.conf"


def start(ground: Ground) -> None:
    """Start both."""
    config = ground.folder / "server.conf"
    config.write_text(Template(_TEMPLATE.read_text()).substitute(folder=ground.folder, body=BODY))
    ground.serve("server", [program("nginx"), "-c", str(config)], REQUESTS_PORT)
    bulk = [sys.executable, "-m", "benchmarks.load.bulk_server", str(BULK_PORT)]
    ground.serve("bulk-server", bulk, BULK_PORT)


def requests(ground: Ground) -> int:
    """Return how many requests the server has had."""
    said = ground.page(f"http://127.0.0.1:{REQUESTS_PORT}/count")
    found = re.search(r"^ \d+ \d+ (\d+)", said, re.MULTILINE)
    assert found, said
    return int(found[1])
