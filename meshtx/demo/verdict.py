"""The demo's verdict: what crossed the wire, held against what the services counted.

Nothing here asks a proxy. A pair of workloads is well when the callers' own counts say that every request was
answered, the servers' own counts agree, and every TCP connection between the two in the raw capture is what it
should be: TLS 1.3 to the server's identity and no byte of a request in clear between meshed workloads, plaintext
where one side is outside the mesh.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from meshtx.demo.capture import Stream
from meshtx.wire.client_hello import ClientHelloSniffer, Hello

Counts = Mapping[str, int]
"""Requests by name, as one service counted them; ``failed`` counts what went wrong."""
TLS_1_3 = 0x0304
_HANDSHAKE, _SERVER_HELLO = 22, 2
_SUPPORTED_VERSIONS = 43


@dataclass(frozen=True, slots=True)
class Party:
    """One host.

    :param identity: its name in the mesh, ``""`` outside of it.
    """

    name: str
    ip: str
    identity: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Who asks whom.

    :param requests: names of the requests (as counted) that go this way.
    """

    client: Party
    server: Party
    requests: tuple[str, ...]

    @property
    def meshed(self) -> bool:
        """Both sides have an identity, so all of it must be mutual TLS."""
        return bool(self.client.identity and self.server.identity)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the verdict's table.

    :param secured: of the pair's connections on the wire, how many were TLS 1.3 to the server's identity.
    """

    pair: Pair
    requests: int
    connections: int
    secured: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """All rows, and what is wrong beyond a single pair."""

    rows: tuple[Row, ...]
    problems: tuple[str, ...] = field(default=())

    @property
    def good(self) -> bool:
        """All is as it should be."""
        return not self.problems and not any(row.problems for row in self.rows)


def judge(
    pairs: Sequence[Pair],
    streams: Sequence[Stream],
    asked: Mapping[str, Counts],
    served: Mapping[str, Counts],
    secrets: Sequence[bytes],
) -> Verdict:
    """Hold the capture against the counts.

    :param asked: by host, what its own requests came to; `served`: by host, what it answered.
    :param secrets: bytes of requests and answers, none of which may be seen between meshed workloads.
    """
    rows = tuple(_row(pair, streams, asked, served) for pair in pairs)
    return Verdict(rows, (*_miscounts(pairs, asked, served), *_in_clear(pairs, streams, secrets)))


def _row(
    pair: Pair,
    streams: Sequence[Stream],
    asked: Mapping[str, Counts],
    served: Mapping[str, Counts],
) -> Row:
    ours = [s for s in streams if (s.client.host, s.server.host) == (pair.client.ip, pair.server.ip)]
    ours = [s for s in ours if s.sent]  # a connection without a byte says nothing
    secured = [s for s in ours if tls_server(s) == pair.server.identity]
    counts = asked.get(pair.client.name) or served.get(pair.server.name, {})
    requests = sum(counts.get(name, 0) for name in pair.requests)
    problems = []
    if not requests:
        problems.append("no request was answered")
    if failed := asked.get(pair.client.name, {}).get("failed", 0):
        problems.append(f"{failed} requests failed")
    if not ours:
        problems.append("no connection on the wire")
    if pair.meshed:
        problems += [f"not TLS to {pair.server.identity}: {_show(s.sent)}" for s in ours if s not in secured][:3]
    elif secured:
        problems.append(f"{len(secured)} connections of an unmeshed peer were TLS")
    return Row(pair, requests, len(ours), len(secured), tuple(problems))


def _in_clear(pairs: Sequence[Pair], streams: Sequence[Stream], secrets: Sequence[bytes]) -> Iterable[str]:
    """Say what could be read on the wire, but for the pairs that are outside of the mesh."""
    plain = {(pair.client.ip, pair.server.ip) for pair in pairs if not pair.meshed}
    for stream in streams:
        if (stream.client.host, stream.server.host) in plain:
            continue
        for secret in secrets:
            if secret in stream.sent or secret in stream.received:
                yield f"in clear from {stream.client} to {stream.server}: {_show(secret)}"


def _miscounts(pairs: Sequence[Pair], asked: Mapping[str, Counts], served: Mapping[str, Counts]) -> Iterable[str]:
    """Say where a server that only counting clients call served another number than they asked."""
    for server in {pair.server.name for pair in pairs}:
        clients = [pair for pair in pairs if pair.server.name == server]
        if not all(pair.client.name in asked for pair in clients):
            continue
        for request in sorted({name for pair in clients for name in pair.requests}):
            sent = sum(asked[pair.client.name].get(request, 0) for pair in clients)
            got = served.get(server, {}).get(request, 0)
            if sent != got:
                yield f"{server} served {request} {got} times, its clients were answered {sent} times"


def tls_server(stream: Stream) -> str | None:
    """Return the server name of a TLS 1.3 connection as its hellos give it, ``None`` if it is no such thing."""
    hello = ClientHelloSniffer().receive_data(stream.sent)
    if not isinstance(hello, Hello) or _negotiated(stream.received) != TLS_1_3:
        return None
    return hello.sni


def _negotiated(received: bytes) -> int | None:
    """Return the version that a ServerHello chose (RFC 8446, sections 4.1.3 and 4.2.1)."""
    if len(received) < 44 or received[0] != _HANDSHAKE or received[5] != _SERVER_HELLO:
        return None
    at = 43 + 1 + received[43] + 3  # behind the session id, the suite and the compression
    end = min(at + 2 + int.from_bytes(received[at : at + 2], "big"), len(received))
    at += 2
    while at + 4 <= end:
        kind, size = int.from_bytes(received[at : at + 2], "big"), int.from_bytes(received[at + 2 : at + 4], "big")
        if kind == _SUPPORTED_VERSIONS:
            return int.from_bytes(received[at + 4 : at + 6], "big")
        at += 4 + size
    return None


def _show(data: bytes) -> str:
    return repr(data[:48])[1:]
