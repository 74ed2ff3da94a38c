"""The vote bot: the example's traffic. Lists the emoji and votes for one, again and again.

    python vote_bot.py --web 10.1.0.2:80 --rounds 20

Exits 0 if every request of every round was answered well. SIGTERM ends it after the round that it is in.
"""

import argparse
import http.client
import json
import signal
import sys
import threading
from pathlib import Path

from command_line import place, run
from counts import Counts

AUTHORITY = "web-svc.emojivoto:80"
"""What the web service is called by."""


def vote(connection: http.client.HTTPConnection, turn: int, counts: Counts) -> None:
    """Do one round: list the emoji, then vote for one of them."""
    emoji = json.loads(_ask(connection, "GET", "/api/list", b"", counts))
    choice = emoji[turn % len(emoji)]["shortcode"]
    _ask(connection, "POST", "/api/vote", choice.encode(), counts)


def _ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes, counts: Counts) -> bytes:
    connection.request(method, path, body or None, {"Host": AUTHORITY, "User-Agent": "vote-bot"})
    response = connection.getresponse()
    answer = response.read()
    counts.add(f"{method} {path}" if response.status == 200 else "failed")
    if response.status != 200:
        raise OSError(f"{method} {path}: status {response.status}")
    return answer


def main() -> None:
    """Vote for the given number of rounds, every tenth on a new connection."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--web", type=place, required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--rounds", type=int, default=20, help="how many (default 20)")
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between two rounds (default 0.05)")
    parser.add_argument("--counts", type=Path, metavar="FILE", help="keep the number of requests answered in this file")
    options = parser.parse_args()
    counts = Counts(options.counts)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    host, _, port = options.web.rpartition(":")
    failures = 0
    for first in range(0, options.rounds, 10):
        if stopped.is_set():
            break
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        try:
            for turn in range(first, min(first + 10, options.rounds)):
                vote(connection, turn, counts)
                if stopped.wait(options.pause):
                    break
        except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
            failures += 1
            counts.add("failed")
            print(f"vote-bot: {options.web}: {error!r}", file=sys.stderr)
        finally:
            connection.close()
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    run(main)
