"""The stranger's process: sends one kind of input to one port.

python -m tests.mesh.strangers.send KIND ADDRESS PORT FOLDER SERVER_NAME SCALE
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from tests.mesh.strangers.kinds import KINDS
from tests.mesh.strangers.stranger import Stranger


def main(kind: str, address: str, port: str, folder: str, server_name: str, scale: str) -> None:
    """Send it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    KINDS[kind].send(Stranger((address, int(port)), Path(folder), server_name, float(scale)))


if __name__ == "__main__":
    main(*sys.argv[1:])
