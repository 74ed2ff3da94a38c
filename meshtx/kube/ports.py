"""Lists of ports, as annotations on pods have them: ``25,587,4567-4568,mysql``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from meshtx.net.redirect import OWN_PORTS, PortRange

Ports = tuple[range, ...]
"""Ports without a step; asking for one costs a step for each range."""

PROXY_PORTS: Ports = tuple(range(each.first, each.last + 1) for each in OWN_PORTS)
"""The proxy's own ports, which no redirect leads to the proxy and no peer finds meshed."""

DEFAULT_OPAQUE = "25,587,3306,4444,5432,6379,9300,11211"
"""Protocols in which nobody looks for HTTP; Linkerd's list."""


def parse_ports(text: str, named: Mapping[str, int] | None = None) -> Ports:
    """Read a list; what is no port, no range and no name of one is passed over, as the redirect does.

    :param named: the ports of containers by their names.
    """
    return _parse(text, tuple(sorted((named or {}).items())))


@lru_cache(maxsize=1024)
def _parse(text: str, named: tuple[tuple[str, int], ...]) -> Ports:
    names = dict(named)
    parsed = [_range(part.strip(), names) for part in text.split(",")]
    return tuple(dict.fromkeys(each for each in parsed if each))


def _range(part: str, names: Mapping[str, int]) -> range:
    try:
        ports = PortRange.parse(str(names.get(part, part)))
    except ValueError:
        return range(0)
    return range(ports.first, ports.last + 1)


def among(port: int, ports: Ports) -> bool:
    """Tell whether a port is one of these."""
    return any(port in each for each in ports)
