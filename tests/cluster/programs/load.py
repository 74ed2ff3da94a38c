"""Requests at a rate, on kept connections or a new one each; prints as JSON what came of them.

load.py HOST:PORT COUNT RATE keep|new

With COUNT 0 they end with the standard input.
"""

from __future__ import annotations

import http.client
import itertools
import json
import select
import sys
import time
from collections import Counter
from collections.abc import Iterator


def requests(count: int) -> Iterator[None]:
    """Yield once for each request to make."""
    if count:
        yield from itertools.repeat(None, count)
        return
    while not select.select([sys.stdin], [], [], 0)[0]:
        yield


def main(place: str, count: str, rate: str, how: str) -> int:
    """Return 0 if every request was answered."""
    host, _, port = place.rpartition(":")
    took: list[float] = []
    failed: list[str] = []
    pods: Counter[str] = Counter()
    connection = None
    due = time.monotonic()
    for _ in requests(int(count)):
        begin = time.monotonic()
        try:
            connection = connection or http.client.HTTPConnection(host, int(port), timeout=10)
            connection.request("GET", "/")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise OSError(f"status {answer.status}")
            pods[json.loads(body)["pod"]] += 1
            took.append(time.monotonic() - begin)
            closes = how == "new" or answer.will_close
        except (OSError, http.client.HTTPException, ValueError) as error:
            failed.append(f"{time.monotonic() - begin:.3f} s: {error!r}")
            closes = True
        if closes and connection:
            connection.close()
            connection = None
        due = max(due + 1 / float(rate), time.monotonic() - 1)
        time.sleep(max(due - time.monotonic(), 0))
    took.sort()
    slowest = {f"p{share}_ms": round(took[(len(took) - 1) * share // 100] * 1000, 1) for share in (50, 99, 100) if took}
    print(json.dumps({"answered": len(took), "failed": failed, "pods": dict(pods), **slowest}))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
