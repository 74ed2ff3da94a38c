"""Trial for one tree after another, each in a fork of a process that has imported what tests need from elsewhere.

    python -m tools.preloaded

A line of standard input is a JSON array: the tree, the file for what is printed, the tests. Two lines answer it:
the process's number, which is its process group's too, and its exit status.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

FROM_ELSEWHERE = (
    "OpenSSL.SSL",
    "click",
    "cryptography.x509",
    "google.protobuf.message",
    "h2.connection",
    "httptools",
    "hypothesis",
    "joserfc.jwt",
    "prometheus_client",
    "service_identity",
    "treq",
    "twisted.scripts.trial",
    "twisted.trial.unittest",
    "twisted.web.http",
    "yaml",
)


def main() -> None:
    """Serve until standard input ends."""
    for name in FROM_ELSEWHERE:
        importlib.import_module(name)
    for line in sys.stdin:
        tree, output, tests = json.loads(line)
        process = os.fork()
        if process == 0:
            run(tree, output, tests)
        print(process, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(tree: str, output: str, tests: Sequence[str]) -> NoReturn:
    """Become trial in a tree."""
    os.setpgid(0, 0)
    for stream, path, flags in ((0, os.devnull, os.O_RDONLY), (1, output, os.O_WRONLY | os.O_CREAT)):
        os.dup2(os.open(path, flags), stream)
    os.dup2(1, 2)
    os.chdir(tree)
    os.environ["PYTHONPATH"] = sys.path[0] = tree  # also for what a test starts elsewhere: before the checkout
    sys.argv = ["trial", *tests]
    importlib.import_module("twisted.scripts.trial").run()
    raise AssertionError("trial has no end")


if __name__ == "__main__":
    main()
