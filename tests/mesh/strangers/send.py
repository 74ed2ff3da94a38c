"""The stranger's process: sends one kind of input after another, each to one port.

python -m tests.mesh.strangers.send ADDRESS FOLDER SERVER_NAME SCALE

Reads lines of JSON, ``[KIND, PORT]``, and answers each with one, a string: empty, or what went wrong. A first empty one
says that it is ready.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from tests.mesh.strangers.kinds import KINDS
from tests.mesh.strangers.stranger import Stranger


def main(address: str, folder: str, server_name: str, scale: str) -> None:
    """Send what is asked for, until standard input ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _answer("")
    for line in sys.stdin:
        kind, port = json.loads(line)
        try:
            KINDS[kind].send(Stranger((address, port), Path(folder), server_name, float(scale)))
        except Exception as error:  # the row is told, and the next kinds are sent
            _answer(f"{type(error).__name__}: {error}")
        else:
            _answer("")


def _answer(wrong: str) -> None:
    print(json.dumps(wrong), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
