"""The application of a pod, which knows of no mesh and waits for nobody.

    python -m tests.mesh.loadbalancer.application CERTIFICATE KEY

Port 443 is TLS of its own, which echoes; port 8080 echoes in clear; port 3306 speaks first, and then echoes. Once
all three listen it writes ``serving``.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

from tests.mesh.loadbalancer.ports import BACKLOG, BANNER, CLEAR_PORT, GREETING_PORT, TLS_PORT, raise_descriptor_limit

_PATIENCE = 3600.0
"""Seconds in which a silent client is no concern of an application's TLS."""


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 14):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # a prober left
    finally:
        writer.close()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(BANNER)
    await echo(reader, writer)


async def serve(certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    await asyncio.start_server(echo, "0.0.0.0", TLS_PORT, ssl=context, ssl_handshake_timeout=_PATIENCE, backlog=BACKLOG)
    await asyncio.start_server(echo, "0.0.0.0", CLEAR_PORT, backlog=BACKLOG)
    await asyncio.start_server(greet, "0.0.0.0", GREETING_PORT, backlog=BACKLOG)
    print("serving", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    raise_descriptor_limit()
    asyncio.run(serve(*sys.argv[1:]))
