"""Supervises a stub of a proxy and a command.

python -m tests.supervisor.supervise PORT EVENTS MODE READY_TIMEOUT DRAIN_TIMEOUT COMMAND [ARGUMENT...]
"""

from __future__ import annotations

import sys

from meshtx.supervisor.supervisor import ProxyProgram, Supervisor
from tests.supervisor import stub_proxy


def main(port: str, events: str, mode: str, ready_timeout: str, drain_timeout: str, *command: str) -> int:
    argv = [sys.executable, "-m", stub_proxy.__name__, port, events, mode]
    program = ProxyProgram(argv, "127.0.0.1", int(port), float(ready_timeout), float(drain_timeout))
    return Supervisor(program, command, 2, lambda line: print(f"told: {line}", file=sys.stderr, flush=True)).run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
