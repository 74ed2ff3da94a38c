"""Messages of a directory as tests write them."""

from __future__ import annotations

from ipaddress import ip_network

from meshtx.rpc.messages import directory_pb2 as pb
from meshtx.wire.address import Address

VOTING = "voting.emojivoto.serviceaccount.identity.meshtx.cluster.local"
EMOJI = "emoji.emojivoto.serviceaccount.identity.meshtx.cluster.local"


def endpoint(text: str) -> pb.Endpoint:
    where = Address.parse(text)
    return pb.Endpoint(ip=where.ip.packed, port=where.port)


def network(text: str) -> pb.Network:
    net = ip_network(text)
    return pb.Network(ip=net.network_address.packed, prefix=net.prefixlen)


def table(session: str = "1", *networks: str) -> pb.Table:
    """Return a table of a mesh in 10.0.0.0/8, unless it says where."""
    return pb.Table(session=session, mesh_networks=map(network, networks or ("10.0.0.0/8",)))


def backend(text: str, name: str = VOTING, **more: object) -> pb.Backend:
    return pb.Backend(address=endpoint(text), name=name, inbound_port=4143 if name else 0, **more)  # type: ignore[arg-type]


def workload(text: str, name: str = VOTING, authority: str = "", **more: object) -> pb.Answer:
    return pb.Answer(address=endpoint(text), authority=authority, workload=backend(text, name, **more))


def service(text: str, *ready: pb.Backend, authority: str = "voting.emojivoto.svc.cluster.local:80") -> pb.Answer:
    return pb.Answer(address=endpoint(text), authority=authority, service=pb.Service(ready=ready))
