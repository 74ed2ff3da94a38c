"""A way between two network namespaces: what connects to a port in one is connected to an address in another.

    nsenter --net=/proc/PID/ns/net python -m tests.kube.passage 10.96.0.1 443 /proc/OTHER/ns/net 127.0.0.1 6443

A socket stays in the namespace in which it was made; so this listens where it was started, and dials from the other.
Writes "open" once it listens.
"""

import asyncio
import ctypes
import os
import socket
import sys

CLONE_NEWNET = 0x40000000


def enter(namespace: str) -> None:
    """Go over to a network namespace (setns(2); `os.setns` came with Python 3.12).

    :param namespace: its file in /proc.
    """
    descriptor = os.open(namespace, os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), namespace)
    os.close(descriptor)


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction to its end, and end it on the other side too."""
    try:
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()  # a reset here is one there


async def serve(listener: socket.socket, host: str, port: int) -> None:
    """Serve for ever."""

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_reader, to_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(copy(reader, to_writer), copy(to_reader, writer))
        to_writer.close()
        writer.close()

    server = await asyncio.start_server(accepted, sock=listener)
    print("open", flush=True)
    await server.serve_forever()


def main(here: str, port: str, namespace: str, there: str, target: str) -> None:
    listener = socket.create_server((here, int(port)))
    enter(namespace)
    asyncio.run(serve(listener, there, int(target)))


if __name__ == "__main__":
    main(*sys.argv[1:])
