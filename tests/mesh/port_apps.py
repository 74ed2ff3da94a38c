"""Applications on several ports, each of which answers with its own port, and reports what was meant for another.

    python -m tests.mesh.port_apps PORT...

A line is ``PORT NONCE``, as the client means it; the answer is the same with the application's own port. Odd ports
greet with ``PORT hello`` first. A line for another port is written to standard output.
"""

from __future__ import annotations

import asyncio
import sys

CLIENT_GONE = (ConnectionError, asyncio.IncompleteReadError, TimeoutError)


async def serve(port: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if port % 2:
                writer.write(b"%d hello\n" % port)
            while line := await reader.readline():
                meant, _, nonce = line.partition(b" ")
                if line.endswith(b"\n") and int(meant) != port:
                    print(f"port {port} was asked what was meant for {line!r}", flush=True)
                writer.write(b"%d %s" % (port, nonce))
                await writer.drain()
        except CLIENT_GONE:
            pass
        finally:
            writer.close()

    await asyncio.start_server(answer, "0.0.0.0", port, backlog=1024)  # in a namespace of its own


async def main(ports: list[int]) -> None:
    for port in ports:
        await serve(port)
    print("serving", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main([int(port) for port in sys.argv[1:]]))
