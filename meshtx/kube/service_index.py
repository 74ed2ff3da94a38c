"""Which Service has an address, and which endpoints are behind it.

A Service has any number of EndpointSlices: they are merged, and an endpoint that moves may stand in two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from meshtx.kube.objects import Endpoint, Service, ServicePort, Slice
from meshtx.wire.address import IP, Address

K = TypeVar("K")

MOST_HIDDEN = 100
"""Ports of a pod that are told as hidden, the first ones by their Services' names, and of each Service the first ones:
whoever may make Services may make any number. Of a pod behind more of their slices than this nothing is told."""


@dataclass(frozen=True, slots=True)
class Front:
    """A Service's port, as a client connects to it."""

    service: Service
    port: ServicePort


class ServiceIndex:
    """Services and their slices, by key and by address."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}
        self._slices: dict[str, Slice] = {}
        self._slices_of: dict[str, set[str]] = {}
        """Keys of slices by the Service's."""
        self._slices_with: dict[IP, set[str]] = {}
        """Keys of slices by an endpoint's address."""
        self._at: dict[IP, set[str]] = {}
        """Keys of Services by address."""

    def put(self, service: Service) -> None:
        """Take a Service that is not known."""
        self._services[service.key] = service
        for ip in service.ips:
            self._at.setdefault(ip, set()).add(service.key)

    def remove(self, key: str) -> Service | None:
        """Forget a Service, and return what was known of it."""
        service = self._services.pop(key, None)
        for ip in service.ips if service else ():
            _discard(self._at, ip, key)
        return service

    def put_slice(self, piece: Slice) -> None:
        """Take a slice that is not known."""
        self._slices[piece.key] = piece
        self._slices_of.setdefault(piece.service, set()).add(piece.key)
        for ip in _ips(piece):
            self._slices_with.setdefault(ip, set()).add(piece.key)

    def remove_slice(self, key: str) -> Slice | None:
        """Forget a slice, and return what was known of it."""
        piece = self._slices.pop(key, None)
        if piece is not None:
            _discard(self._slices_of, piece.service, key)
            for ip in _ips(piece):
                _discard(self._slices_with, ip, key)
        return piece

    def addresses(self, service: str) -> tuple[IP, ...]:
        """Return the addresses of a Service, by its key."""
        known = self._services.get(service)
        return known.ips if known else ()

    def in_front_of(self, ip: IP) -> set[IP]:
        """Return the addresses of all Services that have an endpoint at this one."""
        services = {self._slices[key].service for key in self._slices_with.get(ip, ())}
        return {front for service in services for front in self.addresses(service)}

    def behind(self, service: str) -> set[IP]:
        """Return the addresses of all endpoints of a Service, by its key."""
        return {ip for key in self._slices_of.get(service, ()) for ip in _ips(self._slices[key])}

    def hidden(self, ips: Iterable[IP], namespace: str) -> dict[int, str]:
        """Return the ports at a pod's addresses whose clients a Service hides, and its key; of several the first's.

        It makes no difference whether the endpoint is ready: connections may last longer than that.

        :param namespace: the pod's. Who makes Services in another one can put them in front of it as well; of them it
            is told nothing, so that they take none of its places.
        """
        pieces = [self._slices[key] for key in {key for ip in ips for key in self._slices_with.get(ip, ())}]
        hiding = [piece for piece in pieces if piece.namespace == namespace and self._hides(piece)]
        if len(hiding) > MOST_HIDDEN:
            return {}
        hiding.sort(key=lambda piece: (piece.service, piece.key))
        told = ((port, piece.service) for piece in hiding for port in _targets(self._services[piece.service], piece))
        found: dict[int, str] = {}
        for port, service in islice(told, MOST_HIDDEN):
            found.setdefault(port, service)
        return dict(sorted(found.items()))

    def hidden_anew(self, before: Slice | None, after: Slice | None) -> set[IP]:
        """Return the addresses at which the change of a slice may change what `hidden` says."""
        were, are = self._hidden_ips(before), self._hidden_ips(after)
        same = before and after and (before.service, before.ports) == (after.service, after.ports)
        return were ^ are if same else were | are

    def _hidden_ips(self, piece: Slice | None) -> set[IP]:
        return _ips(piece) if piece is not None and self._hides(piece) else set()

    def _hides(self, piece: Slice) -> bool:
        service = self._services.get(piece.service)
        return service is not None and service.hides

    def front(self, address: Address, *, cluster_ip: bool) -> Front | None:
        """Return the Service's port at an address; of several that claim it the first by name.

        :param cluster_ip: whether the address is to be the Service's own, given by the cluster, or one of its others,
            which who makes a Service may choose freely.
        """
        for key in sorted(self._at.get(address.ip, ())):
            service = self._services[key]
            for port in service.ports:
                if port.port == address.port and (address.ip in service.cluster_ips) is cluster_ip:
                    return Front(service, port)
        return None

    def is_cluster_ip(self, ip: IP) -> bool:
        """Tell whether an address is nothing but a Service's."""
        return any(ip in self._services[key].cluster_ips for key in self._at.get(ip, ()))

    def endpoints(self, front: Front, version: int) -> dict[Address, Endpoint]:
        """Return what is behind a port, by address, in the order of addresses; what may be connected to alone.

        Where none is ready, those that end and still serve are what is left.

        :param version: of IP, that of the front's address.
        """
        found: dict[Address, Endpoint] = {}
        for address, endpoint in self._behind(front):
            known = found.get(address)
            if address.ip.version == version and (known is None or _rank(endpoint) > _rank(known)):
                found[address] = endpoint
        usable = {address: each for address, each in found.items() if each.ready} or {
            address: each for address, each in found.items() if each.serving and each.terminating
        }
        return dict(sorted(usable.items(), key=lambda item: (int(item[0].ip), item[0].port)))

    def _behind(self, front: Front) -> Iterator[tuple[Address, Endpoint]]:
        for key in sorted(self._slices_of.get(front.service.key, ())):
            piece = self._slices[key]
            for name, number in piece.ports:
                if name == front.port.name:
                    port = _target(number, front.port)
                    # the API: all addresses of one endpoint are alike, and clients take the first
                    yield from ((Address(ip, port), each) for each in piece.endpoints for ip in each.ips[:1])


def _target(number: int | None, port: ServicePort) -> int:
    """Return the port of the endpoints behind a Service's.

    :param number: as the slice says it, which knows what a name stands for there.
    """
    return number or port.target or port.port


def _targets(service: Service, piece: Slice) -> Iterator[int]:
    named = {port.name: port for port in service.ports[:MOST_HIDDEN]}
    for name, number in piece.ports[:MOST_HIDDEN]:
        if name in named:
            yield _target(number, named[name])


def _ips(piece: Slice) -> set[IP]:
    return {ip for endpoint in piece.endpoints for ip in endpoint.ips}


def _rank(endpoint: Endpoint) -> tuple[bool, bool, bool, str]:
    return (endpoint.ready, endpoint.serving, endpoint.terminating, endpoint.pod)


def _discard(sets: dict[K, set[str]], at: K, key: str) -> None:
    keys = sets[at]
    keys.discard(key)
    if not keys:
        del sets[at]
