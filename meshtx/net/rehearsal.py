"""A handshake with ourselves, in memory: it pays what the first one costs, and shows what a peer would object to.

The first handshake of a process looks up OpenSSL's algorithms, makes its contexts, and runs code that has never run:
some milliseconds that no connection is to wait for.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshtx.net.contexts import Contexts
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.records import RecordLayer, records
from meshtx.net.tls import Session
from meshtx.pki.name import Name

FLIGHTS = 4
"""Of TLS 1.3: ClientHello, the server's, the client's, and what the server sends behind that."""


def rehearse(contexts: Contexts, name: Name, alpn: Sequence[str]) -> TlsError | None:
    """Shake hands and exchange a record; return why that fails, ``None`` if it does not.

    :param name: that of the credentials.
    :param alpn: application protocols, best first.
    """
    connections = contexts.client(name, alpn), contexts.server(alpn)
    client, server = (records(connection) for connection in connections)
    try:
        behind = _shake(client, server)
        for connection in connections:
            Session.of(connection)
        if server.open(client.seal(b"?")) + client.open(behind + server.seal(b"!")) != b"?!":
            return TlsError(TlsFailure.OTHER, "what was sealed is not what was opened")
    except TlsError as error:
        return error
    return None


def _shake(client: RecordLayer, server: RecordLayer) -> bytes:
    """Return what the server sends behind the handshake."""
    flight, ends = b"", [client, server]
    for number in range(FLIGHTS):
        end = ends[number % 2]
        end.handshake(flight)
        flight = end.drain()
    return flight
