"""An application that is told to end, and still has to ask others before it does.

last_words.py URL

Once it has been told, it no longer listens, and asks twice, a moment after a moment in which nothing is heard of it.
"""

from __future__ import annotations

import signal
import socket
import sys
import time
import urllib.request

SILENT = 1.5
"""Seconds before each of its last words."""
TIMEOUT = 10.0
"""Seconds."""


def main(url: str) -> None:
    """Listen until the signal, then say the last words, each on a connection of its own."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with socket.create_server(("0.0.0.0", 8080)):  # a pod's address is not known before
        print("listening", flush=True)
        signal.sigwait({signal.SIGTERM})
    for _ in range(2):
        time.sleep(SILENT)
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
                print(answer.status, flush=True)
        except OSError as error:
            print(error, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
