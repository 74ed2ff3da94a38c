"""Requests from many addresses by turns, each on a connection of its own and with its number in its path.

callers.py HOST:PORT PATH COUNT ADDRESS...

Ends with an error at the first that is not answered.
"""

from __future__ import annotations

import http.client
import itertools
import sys

TIMEOUT = 10.0
"""Seconds."""


def main(place: str, path: str, count: str, *addresses: str) -> None:
    """Ask."""
    for number, address in zip(range(int(count)), itertools.cycle(addresses), strict=False):
        connection = http.client.HTTPConnection(place, timeout=TIMEOUT, source_address=(address, 0))
        connection.request("GET", f"{path}/{number}")
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"request {number}: status {answer.status}")
        connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
