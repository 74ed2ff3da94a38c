"""Kubernetes' objects for tests: the valid one; a test says what differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, overload

from meshtx.kube.objects import Endpoint, HostPort, Node, Pod, Service, ServicePort, Slice
from meshtx.pki.name import MeshScope, Name
from meshtx.wire.address import IP, Address, parse_ip
from meshtx.wire.network import parse_network

SCOPE = MeshScope()
SHOP, ELSEWHERE = "shop", "elsewhere"


def name(account: str) -> Name:
    return SCOPE.name(SHOP, account)


def ips(*texts: str) -> tuple[IP, ...]:
    return tuple(parse_ip(text) for text in texts)


def address(text: str) -> Address:
    return Address.parse(text)


def pod(called: str = "web-1", ip: str = "10.1.0.1", **changed: Any) -> Pod:
    """Return a meshed pod that runs."""
    values: dict[str, Any] = {
        "namespace": SHOP,
        "name": called,
        "ips": ips(*ip.split()),
        "host_network": False,
        "live": True,
        "deleting": False,
        "started": "2026-11-25T12:00:00Z",
        "meshed_by": "meshtx",
        "account": "web",
        "opaque": None,
        "skip": (),
        "host_ports": (),
    }
    return Pod(**(values | changed))


def host_port(ip: str, port: int, target: int) -> HostPort:
    return HostPort(ips(ip), port, target)


def service(
    called: str = "web",
    cluster: str = "10.96.0.1",
    others: str = "",
    ports: tuple[ServicePort, ...] = (ServicePort("http", 80, 8080),),
    hides: bool = False,
) -> Service:
    return Service(SHOP, called, ips(*cluster.split()), ips(*others.split()), ports, hides)


def endpoint(ip: str = "10.1.0.1", target: str = "web-1", **conditions: bool) -> Endpoint:
    """Return a ready endpoint; `target` is its pod's name."""
    values = {"ready": True, "serving": True, "terminating": False} | conditions
    return Endpoint(ips(*ip.split()), **values, pod=f"{SHOP}/{target}" if target else "")


def piece(
    *endpoints: Endpoint,
    called: str = "web-abc",
    of: str = "web",
    ports: tuple[tuple[str, int | None], ...] = (("http", 8080),),
) -> Slice:
    return Slice(SHOP, called, f"{SHOP}/{of}", ports, endpoints)


@overload
def elsewhere(each: Service) -> Service: ...


@overload
def elsewhere(each: Slice) -> Slice: ...


def elsewhere(each: Service | Slice) -> Service | Slice:
    """Return the same of another namespace."""
    if isinstance(each, Slice):
        each = replace(each, service=each.service.replace(f"{SHOP}/", f"{ELSEWHERE}/"))
    return replace(each, namespace=ELSEWHERE)


def node(called: str = "node-1", ip: str = "192.168.0.1", networks: str = "10.1.0.0/24") -> Node:
    return Node(called, ips(*ip.split()), tuple(parse_network(each) for each in networks.split()))
