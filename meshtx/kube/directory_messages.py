"""The directory's answers as messages of its protocol (``meshtx/rpc/messages/directory.proto``). No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from meshtx.directory.messages import endpoint
from meshtx.kube.cluster import Answer, Backend, OwnPorts
from meshtx.kube.cluster_ranges import ClusterRanges
from meshtx.kube.ports import Ports
from meshtx.rpc.messages import directory_pb2
from meshtx.wire.network import Network
from meshtx.wire.ports import PROXY_INBOUND


def answer_message(answer: Answer) -> directory_pb2.Answer:
    """Return the message for an answer."""
    message = directory_pb2.Answer(address=endpoint(answer.address), authority=answer.authority)
    if isinstance(answer.what, Backend):
        message.workload.CopyFrom(_backend(answer.what))
    else:
        message.service.CopyFrom(directory_pb2.Service(ready=map(_backend, answer.what)))
    return message


def ranges_message(ranges: ClusterRanges) -> directory_pb2.Table:
    """Return what is the same in all tables: to make it takes a millisecond for a thousand nodes."""
    return directory_pb2.Table(
        mesh_networks=_networks(ranges.mesh),
        nodes=_networks(ranges.nodes),
        pods=_networks(ranges.pods),
        balancers=_networks(ranges.balancers),
    )


def table_message(session: str, ranges: directory_pb2.Table, own: OwnPorts) -> directory_pb2.Table:
    """Return the message for a table.

    :param ranges: from `ranges_message`.
    """
    table = directory_pb2.Table(
        session=session,
        own_opaque=_ports(own.opaque),
        own_skip_inbound=_ports(own.skip_inbound),
        own_hidden=[directory_pb2.HiddenPort(port=port, service=service) for port, service in own.hidden.items()],
    )
    table.MergeFrom(ranges)
    return table


def _backend(backend: Backend) -> directory_pb2.Backend:
    return directory_pb2.Backend(
        address=endpoint(backend.address),
        name=str(backend.name) if backend.name else "",
        inbound_port=PROXY_INBOUND,
        opaque=backend.opaque,
        skipped=backend.skipped,
    )


def _networks(networks: Iterable[Network]) -> list[directory_pb2.Network]:
    return [directory_pb2.Network(ip=each.network_address.packed, prefix=each.prefixlen) for each in networks]


def _ports(ports: Ports) -> list[directory_pb2.Ports]:
    return [directory_pb2.Ports(first=each.start, last=each.stop - 1) for each in ports]
