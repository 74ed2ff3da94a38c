"""What stands in front of a Service of type LoadBalancer, besides clients: probes, and connections opened ahead.

    python -m tests.mesh.loadbalancer.probers silent NUMBER GOAL SOURCE...
    python -m tests.mesh.loadbalancer.probers probe GOAL SOURCE...

GOAL is ``ADDRESS:PORT``, or several, with commas between them. ``silent`` holds as many connections, says nothing on
them, and writes ``holding`` once all are there. ``probe`` connects from each source again and again, as clouds do: now
and then it closes at once, resets at once, or holds its silence for a while; it writes ``probing`` first.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
import sys

from tests.mesh.loadbalancer.ports import connect, raise_descriptor_limit

EVERY = 0.25
"""Seconds between a source's probes; clouds take 5 to 10, from more addresses than there are here."""
HELD = 2.0
"""Seconds that a probe stays which waits for the other side to speak."""
AT_ONCE = 64
"""Connects under way."""
_RESET = struct.pack("ii", 1, 0)

Goal = tuple[str, int]


def goals(text: str) -> list[Goal]:
    pairs = (each.rpartition(":") for each in text.split(","))
    return [(address, int(port)) for address, _, port in pairs]


async def silent(number: int, to: list[Goal], sources: list[str]) -> None:
    held: list[socket.socket] = []
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(source: str, goal: Goal) -> None:
        async with turn:
            held.append(await connect(source, *goal))

    pairs = zip(itertools.cycle(sources), itertools.islice(_slowly(to, len(sources)), number), strict=False)
    await asyncio.gather(*(one(source, goal) for source, goal in pairs))
    print("holding", flush=True)
    await asyncio.Event().wait()


def _slowly(to: list[Goal], each: int) -> itertools.chain[Goal]:
    """Return goals for ever, the next one only when every source had this one."""
    return itertools.chain.from_iterable(itertools.repeat(goal, each) for goal in itertools.cycle(to))


async def probe(to: list[Goal], sources: list[str]) -> None:
    print("probing", flush=True)
    await asyncio.gather(*(_from(source, number / len(sources), to) for number, source in enumerate(sources)))


async def _from(source: str, phase: float, to: list[Goal]) -> None:
    await asyncio.sleep(phase * EVERY)
    kinds = itertools.cycle(["close", "hold", "close", "reset"])
    waiting: set[asyncio.Task[None]] = set()
    for goal, kind in zip(itertools.cycle(to), kinds, strict=False):
        task = asyncio.create_task(_once(source, goal, kind))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
        await asyncio.sleep(EVERY)


async def _once(source: str, goal: Goal, kind: str) -> None:
    try:
        sock = await connect(source, *goal)
    except OSError:
        return  # whatever a prober sees, it only counts
    with sock:
        if kind == "hold":
            await asyncio.sleep(HELD)
        elif kind == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def main(doing: str, *argv: str) -> None:
    raise_descriptor_limit()
    if doing == "silent":
        asyncio.run(silent(int(argv[0]), goals(argv[1]), list(argv[2:])))
    else:
        asyncio.run(probe(goals(argv[0]), list(argv[1:])))


if __name__ == "__main__":
    main(*sys.argv[1:])
