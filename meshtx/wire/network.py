"""A network of IP addresses, as users write it."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

from meshtx.wire.address import parse_ip, refuse_zone

Network = IPv4Network | IPv6Network


def parse_network(text: str) -> Network:
    """Read ``10.1.0.0/24``; an address alone is a network of one.

    :raises ValueError: it is neither, it has a zone, bits behind the prefix are set, or it is IPv4 inside IPv6.
    """
    refuse_zone(text)
    network = ip_network(text) if "/" in text else ip_network(parse_ip(text))
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped:
        raise ValueError(f"{text} is IPv4 inside IPv6")
    return network
