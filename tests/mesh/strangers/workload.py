"""The workload behind the proxy: takes what comes, and answers those that ask for one of `http.ANSWERS`.

    python -m tests.mesh.strangers.workload ADDRESS PORT

To ``GET /hello`` it says so, as a sign that the proxy serves. It writes ``serving`` once it listens.
"""

from __future__ import annotations

import asyncio
import re
import sys

from tests.mesh.strangers.http import ANSWERS

_ASKED = re.compile(rb"/answer/(.+?)/(?!\d)")
_ANSWERS = {name.replace(" ", "-").encode(): make for name, make in ANSWERS.items()}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        first = await reader.read(1 << 16)
        if first.startswith(b"GET /hello"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        elif asked := _ASKED.search(first):
            writer.write(_ANSWERS[asked[1]](1.0))
        while await reader.read(1 << 20):
            pass
        await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main(address: str, port: int) -> None:
    server = await asyncio.start_server(serve, address, port, backlog=1024)
    print("serving", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
