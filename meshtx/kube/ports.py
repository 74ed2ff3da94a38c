"""Lists of ports, as annotations on pods have them: ``25,587,4567-4568,mysql``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from meshtx.net.redirect import OWN_PORTS
from meshtx.wire.ports import PortRange

Ports = tuple[range, ...]
"""Ports without a step; asking for one costs a step for each range."""

PROXY_PORTS: Ports = tuple(range(each.first, each.last + 1) for each in OWN_PORTS)
"""The proxy's own ports, which no redirect leads to the proxy and no peer finds meshed."""

DEFAULT_OPAQUE = "25,587,3306,4444,5432,6379,9300,11211"
"""Protocols in which nobody looks for HTTP; Linkerd's list."""

MOST = 100
"""Entries of one list: an annotation has room for 130,000, and whoever may write it may do so again and again. What is
beyond is passed over."""


def entries(text: str) -> list[str]:
    """Return the entries of a list that are read."""
    return [part.strip() for part in text.split(",", MOST)[:MOST] if part.strip()]


def parse_ports(text: str, named: Mapping[str, int] | None = None) -> Ports:
    """Read a list; what is no port, no range and no name of one is passed over, as is what is beyond `MOST`.

    The redirect does the same.

    :param named: the ports of containers by their names.
    """
    names = tuple(sorted((named or {}).items()))
    usual = len(text) <= 1000 and len(names) <= MOST  # others would fill the cache
    return (_parse_once if usual else _parse)(text, names)


def _parse(text: str, named: tuple[tuple[str, int], ...]) -> Ports:
    names = dict(named)
    parsed = (_range(part, names) for part in entries(text))
    return tuple(dict.fromkeys(each for each in parsed if each))


_parse_once = lru_cache(maxsize=1024)(_parse)


def _range(part: str, names: Mapping[str, int]) -> range:
    try:
        ports = PortRange.parse(str(names.get(part, part)))
    except ValueError:
        return range(0)
    return range(ports.first, ports.last + 1)


def among(port: int, ports: Ports) -> bool:
    """Tell whether a port is one of these."""
    return any(port in each for each in ports)
