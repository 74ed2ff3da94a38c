"""The directory as a document, in TOML or in JSON.

    opaque_ports = [3306, 5432]           # bytes that nobody looks at, on every workload
    skip_inbound_ports = ["4567-4568"]    # plaintext to every workload
    skip_outbound_ports = [25]            # plaintext to everywhere

    [mesh]
    networks = ["10.1.0.0/16"]            # optional; each workload must lie in one of them
    nodes = ["10.0.0.0/24", "10.1.0.1"]   # optional: addresses that nodes put in their clients' place
    pods = ["10.1.0.0/16"]                # optional: where workloads are; no ClientHello is awaited from elsewhere
    balancers = ["10.0.9.0/24"]           # optional: load balancers, which connect for others

    [[workload]]
    addresses = ["10.1.0.2", "10.1.7.0/24"]
    identity = "web.emojivoto.serviceaccount.identity.meshtx.cluster.local"
    authority = "web-svc.emojivoto"       # optional: its name in tap and in the log
    inbound_port = 4143                   # optional: where its proxy listens
    opaque_ports = [6379]                 # optional
    skip_ports = [9100]                   # optional

A workload without an identity is known and not meshed. Of several workloads that hold an address,
the longest prefix counts. The document is the whole answer: an address that no workload holds is
not meshed. So one that lists none at all is a mistake, such as an emptied file, unless it says so: ``workload =
[]``. A JSON document has the same keys. Text in, `Table` out; no I/O.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from meshtx.directory.ranges import Networks, Ranges
from meshtx.directory.table import Entry, Ports, Table
from meshtx.errors import ConfigError, nearest
from meshtx.pki.name import Name
from meshtx.wire.leg_frames import MAX_TEXT, is_authority
from meshtx.wire.network import Network, parse_network
from meshtx.wire.ports import PROXY_INBOUND

_TOP = ("mesh", "workload", "opaque_ports", "skip_inbound_ports", "skip_outbound_ports")
_MESH = ("networks", "nodes", "pods", "balancers")
_WORKLOAD = ("addresses", "identity", "authority", "inbound_port", "opaque_ports", "skip_ports")


def parse(text: str, source: str) -> Table:
    """Return the table that a document describes.

    :param source: what errors call the document: its path.
    :raises ConfigError: it is neither TOML nor JSON, or an entry is wrong; the message names the entry.
    """
    top = _Section(source, _read(text, source), _TOP)
    mesh = _Section(f"{source}: mesh", top.table("mesh"), _MESH)
    networks = mesh.networks("networks")
    table = Table(
        opaque=top.ports("opaque_ports"),
        skip_inbound=top.ports("skip_inbound_ports"),
        skip_outbound=top.ports("skip_outbound_ports"),
        ranges=Ranges(*(Networks(mesh.networks(key)) for key in ("nodes", "pods", "balancers"))),
    )
    if "workload" not in top.values:  # nothing would be meshed: plaintext everywhere
        raise top.error("workload", "there is none", "list them, or write workload = [] if nobody is meshed")
    for number, values in enumerate(top.tables("workload"), 1):
        _add(table, networks, _Section(_place(source, number, values), values, _WORKLOAD))
    return table


def _read(text: str, source: str) -> dict[str, Any]:
    try:
        if text.lstrip().startswith("{"):  # no TOML begins so
            return json.loads(text, object_pairs_hook=_distinct)
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(source, str(error), "correct it there") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; TOML refuses a repeated key by itself."""
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError(f"a key twice among {', '.join(key for key, _ in pairs)}")
    return table


def _place(source: str, number: int, values: Mapping[str, object]) -> str:
    return f"{source}: workload {number} ({values.get('identity') or values.get('addresses')})"


def _add(table: Table, mesh: tuple[Network, ...], section: _Section) -> None:
    entry = Entry(
        name=section.name("identity"),
        authority=section.authority("authority"),
        inbound_port=section.port("inbound_port", PROXY_INBOUND),
        opaque=section.ports("opaque_ports"),
        skip=section.ports("skip_ports"),
    )
    addresses = section.networks("addresses")
    if not addresses:
        raise section.error("addresses", "there are none", 'write addresses = ["10.1.0.2"]')
    for network in addresses:
        if mesh and not any(_within(network, each) for each in mesh):
            raise section.error(
                "addresses", f"{network} is outside mesh.networks", "correct it, or add its network there"
            )
        if not table.add(network, entry):
            raise section.error("addresses", f"{network} is there twice", "keep one of the two")


def _within(inner: Network, outer: Network) -> bool:
    match inner, outer:
        case (IPv4Network(), IPv4Network()) | (IPv6Network(), IPv6Network()):
            return inner.subnet_of(outer)  # type: ignore[arg-type]  # mypy does not pair the two
        case _:
            return False


@dataclass(frozen=True, slots=True)
class _Section:
    """One table of the document; each method takes one key out of it, or says what is wrong there."""

    place: str
    values: Mapping[str, Any]
    known: tuple[str, ...]

    def __post_init__(self) -> None:
        for key in self.values:
            if key not in self.known:
                raise self.error(key, "unknown key", nearest(key, self.known))

    def error(self, key: str, problem: str, hint: str) -> ConfigError:
        return ConfigError(f"{self.place}: {key}", problem, hint)

    def table(self, key: str) -> dict[str, Any]:
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, "is no table", f"write [{key}]")
        return value

    def tables(self, key: str) -> list[dict[str, Any]]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.error(key, "is no list of tables", f"begin each one with [[{key}]]")
        return value

    def text(self, key: str) -> str:
        value = self.values.get(key, "")
        if not isinstance(value, str):
            raise self.error(key, f"{value!r} is no text", "write it in quotes")
        return value

    def authority(self, key: str) -> str:
        text = self.text(key)
        if not is_authority(text):  # no leg could be opened with it
            raise self.error(
                key, f"{text!r} is none", f"write printable ASCII without blanks, at most {MAX_TEXT} letters"
            )
        return text

    def name(self, key: str) -> Name | None:
        text = self.text(key)
        try:
            return Name.parse(text) if key in self.values else None
        except ValueError as error:
            raise self.error(key, str(error), "write the name that its certificate has") from None

    def port(self, key: str, default: int) -> int:
        return self._port(key, self.values.get(key, default))

    def ports(self, key: str) -> Ports:
        ports: set[int] = set()
        for each in self._list(key):
            first, dash, last = each.partition("-") if isinstance(each, str) else (each, "", each)
            low, high = self._port(key, first), self._port(key, last if dash else first)
            if low > high:
                raise self.error(key, f"{each!r} is no range of ports", "write it from low to high")
            ports.update(range(low, high + 1))
        return frozenset(ports)

    def networks(self, key: str) -> tuple[Network, ...]:
        return tuple(self._network(key, each) for each in self._list(key))

    def _list(self, key: str) -> list[Any]:
        value = self.values.get(key, [])
        if not isinstance(value, list):
            raise self.error(key, f"{value!r} is no list", f"write {key} = [...]")
        return value

    def _port(self, key: str, value: object) -> int:
        if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 65535:
            raise self.error(key, f"{value!r} is no port", "write 1-65535")
        return value

    def _network(self, key: str, value: object) -> Network:
        hint = 'write addresses such as "10.1.0.2" or "10.1.0.0/24"'
        if not isinstance(value, str):
            raise self.error(key, f"{value!r} is no text", hint)
        try:
            return parse_network(value)
        except ValueError as error:
            raise self.error(key, str(error), hint) from None
