"""The kinds of hostile input, by name: each is a function that gets a `Stranger` and drives its sockets.

A new kind is one line in `KINDS`, a new port one in `targets.TARGETS`. `http` makes the kinds that are one stream
of bytes on one connection; those that need more of the sockets are written out in `sockets`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.mesh.strangers import grpc, http, sockets
from tests.mesh.strangers.stranger import Stranger

PLAINTEXT = ("workload",)
GRPC = ("certify", "follow", "tap")
TLS = ("inbound", "admin", "taps", *GRPC)
EVERY = ("workload", "balancer", *TLS)


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    :param send: gives it to the port that the stranger was made for, and returns when that has answered or closed.
    :param ports: the names of the ports that it is for.
    :param growth: KiB by which the program may grow meanwhile.
    :param tls: it shakes hands, which a port without TLS would answer by waiting for the rest of a line.
    """

    send: Callable[[Stranger], None]
    ports: tuple[str, ...]
    growth: int = 8192
    tls: bool = False


def _grpc(make: Callable[[float], bytes]) -> Kind:
    def send(stranger: Stranger) -> None:
        grpc.exchange(stranger, make(stranger.scale))

    return Kind(send, GRPC, tls=True)


def _bytes(make: Callable[[float], bytes], ports: tuple[str, ...] = PLAINTEXT) -> Kind:
    return Kind(lambda stranger: stranger.say(make(stranger.scale)), ports)


KINDS: dict[str, Kind] = {
    **{name: _bytes(make) for name, make in http.STREAMS.items()},
    **{f"answered {name}": _bytes(http.asking_for(name)) for name in http.ANSWERS},
    **{f"gRPC {name}": _grpc(make) for name, make in grpc.STREAMS_OF_GRPC.items()},
    "gRPC in records of one byte": Kind(grpc.tiny_records, GRPC, tls=True),
    "gRPC floods at once": Kind(grpc.floods_at_once, GRPC, growth=16_384, tls=True),
    "noise": _bytes(http.noise, EVERY),
    "PROXY, half of a header": Kind(sockets.half_proxy_headers, ("balancer",), growth=32_768),
    "PROXY 1 without an end": _bytes(http.endless_proxy_line, ("balancer",)),
    "PROXY 2 with much in it": Kind(sockets.long_proxy_headers, ("balancer",), growth=32_768),
    "ClientHello, half": Kind(sockets.half_hellos, EVERY, growth=65_536),
    "ClientHello, byte by byte": Kind(sockets.bytewise_hellos, EVERY, growth=65_536),
    "handshakes without a certificate": Kind(sockets.handshakes, TLS, tls=True),
    "key updates of a peer": Kind(sockets.key_updates, TLS, tls=True),
    "short connections": Kind(sockets.short_connections, EVERY, growth=32_768),
}
