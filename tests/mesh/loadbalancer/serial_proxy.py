"""The control: a proxy with the old defect, which looks for a ClientHello inside of its accept loop.

    python -m tests.mesh.loadbalancer.serial_proxy NAME CERTIFICATE KEY ANCHORS PATIENCE

It is to be reached by the redirect, at port 4143. Before it accepts the next connection it peeks for PATIENCE seconds
at the first bytes of this one: TLS for NAME it terminates, mutually; anything else goes to the workload as it is. Apart
from that it is concurrent: whatever it delays, it delays by that loop. Once it listens it writes ``listening``, and
``peeking at ADDRESS`` with the peer of each connection that it looks at.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from contextlib import suppress

from meshtx.net.origdst import original_destination
from meshtx.wire.address import Address
from meshtx.wire.client_hello import ClientHelloSniffer, Hello
from meshtx.wire.ports import PROXY_INBOUND
from tests.mesh.loadbalancer.ports import BACKLOG, raise_descriptor_limit


def copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
    except OSError:
        pass  # an end that left
    finally:
        _end(sink)
        _end(source)


def _end(sock: socket.socket) -> None:
    with suppress(OSError):  # it has ended already
        sock.shutdown(socket.SHUT_RDWR)


def peek(near: socket.socket, patience: float) -> Hello | None:
    """Wait for the first bytes, and leave them there."""
    near.settimeout(patience)
    try:
        seen = ClientHelloSniffer().receive_data(near.recv(1 << 14, socket.MSG_PEEK))
    except OSError:
        return None
    finally:
        near.settimeout(None)
    return seen if isinstance(seen, Hello) else None


class Serial:
    """The accept loop, and what happens to a connection behind it."""

    def __init__(self, name: str, context: ssl.SSLContext, patience: float) -> None:
        self._name = name
        self._context = context
        self._patience = patience

    def run(self) -> None:
        with socket.create_server(("0.0.0.0", PROXY_INBOUND), backlog=BACKLOG) as listener:
            print("listening", flush=True)
            while True:
                near, (peer, _) = listener.accept()
                print(f"peeking at {peer}", flush=True)
                seen = peek(near, self._patience)  # the defect
                threading.Thread(target=self._handle, args=(near, seen), daemon=True).start()

    def _handle(self, near: socket.socket, seen: Hello | None) -> None:
        with near, suppress(OSError):  # it left, or its TLS is not what it should be
            self._relay(near, seen)

    def _relay(self, near: socket.socket, seen: Hello | None) -> None:
        host, port = near.getsockname()
        goal = original_destination(near, Address.of(host, port)).address
        if seen is not None and seen.sni == self._name:
            near = self._context.wrap_socket(near, server_side=True)
        with near, socket.create_connection((host, goal.port)) as far:
            threading.Thread(target=copy, args=(far, near), daemon=True).start()
            copy(near, far)


def main(name: str, certificate: str, key: str, anchors: str, patience: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(anchors)
    context.verify_mode = ssl.CERT_REQUIRED
    raise_descriptor_limit()
    threading.stack_size(256 * 1024)
    Serial(name, context, float(patience)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
