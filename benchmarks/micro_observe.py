"""What observing costs: CPU time of one kept-alive request and its answer, without sockets.

    python -m benchmarks.micro_observe [NAME ...] [--pairs N] [--rounds N]

Feeds one connection's observer with many different pairs, both directions in their turn, as the relay of
one proxy does. Prints microseconds a pair: those of the best round, which the machine disturbed least.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from twisted.internet.task import Clock

from meshtx.observe.detectors import load_detectors
from meshtx.observe.flow import Direction, Mtls
from meshtx.observe.flows import Flows
from meshtx.observe.metrics import Metrics
from meshtx.observe.tap import TapHub
from meshtx.observe.tap_match import TapMatch
from meshtx.pki.name import MeshScope
from meshtx.wire.address import Address

DIFFERENT = 256
"""Pairs before the first one comes again."""
BODY = b"0123456789abcde\n" * 64

Pair = tuple[bytes, bytes]


@dataclass
class End:
    """One end of a relay."""

    on_data: Any = None  # to be called, once it is relayed
    received: int = 0


class WallClock:
    """The time, as the reactor tells it."""

    seconds = staticmethod(time.time)


def small(number: int) -> Pair:
    """Return about what `make bench` sends, and nginx answers."""
    return (
        b"GET /%d HTTP/1.1\r\nHost: 10.1.0.2:8000\r\n\r\n" % number,
        b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Tue, 24 Nov 2026 10:%02d:%02d GMT\r\n"
        b"Content-Type: text/plain\r\nContent-Length: 1024\r\nConnection: keep-alive\r\n\r\n"
        % divmod(number, 60)
        + BODY,
    )


def typical(number: int) -> Pair:
    """Return what a client behind an ingress sends, with the fields of tracing, and a framework's answer."""
    return (
        b"GET /api/items/%d?page=2 HTTP/1.1\r\n"
        b"Host: items.shop.svc.cluster.local:8080\r\n"
        b"User-Agent: python-requests/2.32\r\n"
        b"Accept-Encoding: gzip, deflate\r\n"
        b"Accept: */*\r\n"
        b"X-Request-ID: 2f1c7a-%d\r\n"
        b"X-Forwarded-For: 203.0.113.9\r\n"
        b"X-Forwarded-Proto: https\r\n"
        b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-%016x-01\r\n"
        b"Authorization: Bearer abcdefghijklmnopqrstuvwxyz\r\n"
        b"Connection: keep-alive\r\n\r\n" % (number, number, number),
        b"HTTP/1.1 200 OK\r\ndate: Tue, 24 Nov 2026 10:%02d:%02d GMT\r\nserver: uvicorn\r\nx-frame-options: DENY\r\n"
        b"content-type: application/json\r\ncontent-length: 1024\r\ncache-control: no-store\r\nvary: accept\r\n\r\n"
        % divmod(number, 60)
        + BODY,
    )


def chunked(number: int) -> Pair:
    """Return an upload of known length, and an answer in chunks."""
    return (
        b"POST /upload/%d HTTP/1.1\r\nHost: web\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" % number
        + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"400\r\n" + BODY + b"\r\n0\r\n\r\n",
    )


def http1(pair: Callable[[int], Pair]) -> list[Pair]:
    """Return pairs of HTTP/1."""
    return [pair(number) for number in range(DIFFERENT)]


def grpc() -> list[Pair]:
    """Return unary calls of one HTTP/2 connection; the first holds its opening, too."""
    client = H2Connection(H2Configuration(client_side=True))
    server = H2Connection(H2Configuration(client_side=False))
    client.initiate_connection()
    server.initiate_connection()
    pairs = []
    for number in range(DIFFERENT * 8):  # these cannot come again
        stream = client.get_next_available_stream_id()
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": f"/shop.Items/Get{number % 8}",
            ":authority": "items.shop.svc.cluster.local:8080",
            "content-type": "application/grpc",
            "te": "trailers",
            "user-agent": "grpc-python/1.80",
            "traceparent": f"00-4bf92f3577b34da6a3ce929d0e0e4736-{number:016x}-01",
        }
        client.send_headers(stream, fields.items())
        client.send_data(stream, b"\0\0\0\0\x20" + b"a" * 32, end_stream=True)
        asked = client.data_to_send()
        server.receive_data(asked)
        server.send_headers(stream, {":status": "200", "content-type": "application/grpc"}.items())
        server.send_data(stream, b"\0\0\0\0\x20" + b"b" * 32)
        server.send_headers(stream, {"grpc-status": "0"}.items(), end_stream=True)
        answered = server.data_to_send()
        client.receive_data(answered)
        for side in (client, server):  # as programs do, once half of the window is used
            side.increment_flow_control_window(37)
        pairs.append((asked, answered))
    return pairs


CASES: dict[str, Callable[[], list[Pair]]] = {
    "small": lambda: http1(small),
    "typical": lambda: http1(typical),
    "chunked": lambda: http1(chunked),
    "grpc": grpc,
}


def seconds_a_pair(pairs: Sequence[Pair], turns: int, *, tapped: bool) -> float:
    """Return the CPU seconds that one pair takes on a new connection.

    :param turns: how often the connection carries all the pairs.
    """
    metrics, clock = Metrics(), Clock()
    hub = TapHub(clock, metrics)
    if tapped:
        hub.subscribe(TapMatch(path_prefix="/nothing-like-it"))
    handle = Flows(WallClock(), metrics, hub, load_detectors(["http/1.1", "h2"])).open(
        Direction.IN, Address.parse("10.1.0.4:48210"), Address.parse("10.1.0.2:8000")
    )
    handle.secured(Mtls(MeshScope().name("shop", "web"), "meshtx/1"))
    client, server = End(), End()
    handle.relayed(client, server)
    begun = time.process_time()
    for _ in range(turns):
        for request, answer in pairs:
            client.on_data(request)
            server.on_data(answer)
    took = time.process_time() - begun
    assert handle.watched, "the observer gave up"
    assert f" {turns * len(pairs)}.0".encode() in metrics.exposition()
    return took / (turns * len(pairs))


def report(names: Iterable[str], wanted: int, rounds: int) -> Iterable[str]:
    """Yield a line for each case, nobody tapping and with a tap that matches nothing."""
    for name in names:
        pairs = CASES[name]()
        turns = 1 if name == "grpc" else max(1, wanted // len(pairs))
        best = [
            min(seconds_a_pair(pairs, turns, tapped=tapped) for _ in range(rounds)) * 1e6 for tapped in (False, True)
        ]
        yield f"{name:8} {best[0]:6.2f} us a pair, {best[1]:6.2f} beside a tap of something else"


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.micro_observe")
    parser.add_argument("names", nargs="*", choices=[[], *CASES], help=f"of {', '.join(CASES)}; all without")
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(argv)
    for line in report(options.names or CASES, options.pairs, options.rounds):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
