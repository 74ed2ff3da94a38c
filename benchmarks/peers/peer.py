"""A kind of pair, and a pair of it that runs: client → outbound ═ mutual TLS ═▶ inbound → server."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from benchmarks.ground import Ground, Running
from meshtx.demo.lab import wait_until

OUTBOUND_PORT = 4140
INBOUND_PORT = 4143

LOOK = 0.2
"""Seconds in which a proxy at rest uses next to no CPU."""
SETTLED = 60.0
"""Seconds until it must be at rest."""

Argv = Sequence[str]


@dataclass(frozen=True)
class Place:
    """Where a pair is: addresses of its own on the loopback network, so that all pairs have the same ports.

    :param port: the server's; it listens on every address.
    :param certificates: values for templates, see `benchmarks.certificates.Certificates.values`.
    """

    name: str
    number: int
    port: int
    folder: Path
    certificates: Mapping[str, str] = field(repr=False)

    @property
    def outbound(self) -> str:
        """The address of the client's proxy."""
        return f"127.1.{self.number}.1"

    @property
    def inbound(self) -> str:
        """The address of the server's proxy, and of the server."""
        return f"127.1.{self.number}.2"

    def values(self) -> dict[str, str]:
        """Return what the templates have in their place."""
        own = {"name": self.name, "outbound": self.outbound, "inbound": self.inbound, "port": str(self.port)}
        return {**self.certificates, **own, "folder": str(self.folder)}

    def fill(self, template: Path) -> Path:
        """Write a configuration from its template, and return where it is."""
        path = self.folder / f"{self.name}-{self.port}-{template.name}"
        path.write_text(Template(template.read_text()).substitute(self.values()))
        return path


@dataclass(frozen=True)
class Peer:
    """A kind of pair.

    :param commands: how its outbound and its inbound proxy are started at a place.
    :param beside: a program that runs along, on the CPU of the load; started once both proxies answer.
    :param handshakes: returns how many the outbound proxy has made; ``None``: it does not say.
    """

    name: str
    commands: Callable[[Place], tuple[Argv, Argv]]
    beside: Callable[[Place], Argv] | None = None
    handshakes: Callable[[Ground, Place], float] | None = None


@dataclass
class Pair:
    """Two proxies that run, and what runs beside them."""

    peer: Peer
    place: Place
    outbound: Running
    inbound: Running
    others: list[Running] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What it is called in the table."""
        return self.peer.name

    @property
    def url(self) -> str:
        """Where a client reaches the server through both proxies."""
        return f"http://{self.place.outbound}:{OUTBOUND_PORT}/"

    def cpu(self) -> float:
        """Return the CPU seconds that both proxies have used."""
        return self.outbound.cpu() + self.inbound.cpu()

    def kernel(self) -> float:
        """Return how many of them in the kernel."""
        return self.outbound.kernel() + self.inbound.kernel()

    def settle(self) -> None:
        """Wait until both proxies are done with what came before."""

        def rests() -> bool:
            used = self.cpu()
            time.sleep(LOOK)
            return self.cpu() - used < LOOK / 50

        wait_until(rests, f"{self.name} comes to rest", SETTLED)

    def stop(self) -> None:
        """End it."""
        for each in (self.outbound, self.inbound, *self.others):
            each.stop()


def start(ground: Ground, peer: Peer, number: int, port: int) -> Pair:
    """Start a pair; `ready` waits for it.

    :param number: of the pair among those that run, from 0.
    :param port: the server's.
    """
    place = Place(peer.name, number, port, ground.folder, ground.certificates.values())
    outbound, inbound = (
        ground.start(f"{peer.name}-{port}-{side}", argv, cpu=ground.proxies_cpu)
        for side, argv in zip(("outbound", "inbound"), peer.commands(place), strict=True)
    )
    return Pair(peer, place, outbound, inbound)


def ready(ground: Ground, pair: Pair) -> None:
    """Wait until a request through both proxies is answered, and start what runs beside them."""
    for proxy in (pair.inbound, pair.outbound):
        proxy.until(lambda: ground.answers(pair.url), "answering a request")
    if pair.peer.beside:
        argv = pair.peer.beside(pair.place)
        pair.others.append(ground.start(f"{pair.name}-{pair.place.port}-beside", argv, cpu=ground.load_cpu))
