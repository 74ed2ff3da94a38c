"""The redirect: one nftables table that turns a machine's TCP traffic to the proxy, and away again.

    from outside ─▶ prerouting ─▶ :INBOUND of the proxy  ─▶ the workload
    the workload ─▶ output     ─▶ :OUTBOUND of the proxy ─▶ outside

The script is rendered here, from a value, and given to nft in one transaction for both address families:
either all of it holds or nothing has changed. It defines the table anew, so applying it twice is applying
it once. Untouched are: everything but TCP, traffic over loopback (the workload with itself), traffic that is only
routed through this machine, ports and networks on the skip lists, and what the proxy itself sends - known by
its user, its group, or the mark on its sockets.

Where IPv6 is disabled the table is loaded all the same. A kernel must have NAT for the ``inet`` family (Linux 5.2).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from meshtx.errors import ConfigError
from meshtx.wire.network import Network
from meshtx.wire.ports import PROXY_ADMIN, PROXY_INBOUND, PROXY_OUTBOUND, PROXY_TAP, PortRange

DEFAULT_TABLE = "meshtx"

_TABLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where nft lives; often not in the PATH of an ordinary user."""
_NFT_TIMEOUT = 30.0
"""Seconds; a load takes 13 ms."""

OWN_PORTS = (PortRange(PROXY_TAP, PROXY_ADMIN),)
"""Tap and the admin site: the proxy serves them itself."""


@dataclass(frozen=True, slots=True)
class RedirectRules:
    """What is redirected, and what is not.

    :param inbound_port: the proxy's port for connections from outside; it must listen on all addresses.
    :param outbound_port: the proxy's port for connections of the workload.
    :param uid: the proxy's user, by which its own traffic is known; likewise `gid` and `mark`. One is needed, each
        that is given is enough.
    :param own_ports: ports of this machine that the proxy serves itself, beside those two.
    :param skip_inbound: ports of this machine that the proxy leaves alone.
    :param skip_outbound: ports elsewhere to which the workload connects directly.
    :param skip_sources: networks whose connections to this machine are left alone.
    :param skip_destinations: networks to which the workload connects directly.
    :raises ConfigError: they make no sense together.
    """

    inbound_port: int = PROXY_INBOUND
    outbound_port: int = PROXY_OUTBOUND
    uid: int | None = None
    gid: int | None = None
    mark: int | None = None
    own_ports: tuple[PortRange, ...] = OWN_PORTS
    skip_inbound: tuple[PortRange, ...] = ()
    skip_outbound: tuple[PortRange, ...] = ()
    skip_sources: tuple[Network, ...] = ()
    skip_destinations: tuple[Network, ...] = ()
    table: str = DEFAULT_TABLE

    def __post_init__(self) -> None:
        _within("inbound port", self.inbound_port, 1, 65535)
        _within("outbound port", self.outbound_port, 1, 65535)
        if self.inbound_port == self.outbound_port:
            raise ConfigError(
                "redirect",
                f"inbound and outbound port are both {self.inbound_port}",
                "give the two listeners of the proxy different ports",
            )
        _within("proxy uid", self.uid, 0, 2**32 - 2)
        _within("proxy gid", self.gid, 0, 2**32 - 2)
        _within("proxy mark", self.mark, 1, 2**32 - 1)
        if self.uid is None and self.gid is None and self.mark is None:
            raise ConfigError(
                "redirect",
                "nothing tells the proxy's own connections apart, they would be turned back to it for ever",
                "give its user, its group or its socket mark (--proxy-uid, --proxy-gid, --proxy-mark)",
            )
        _check_table(self.table)


def render(rules: RedirectRules) -> str:
    """Return the nft script: add the table (so that deleting it cannot fail), delete it, define it."""
    return "\n".join([*_clear(rules.table), f"table inet {rules.table} {{", *_body(rules), "}", ""])


def apply(rules: RedirectRules) -> None:
    """Load the rules in place of those that are there.

    :raises ConfigError: nft is missing, not permitted, or the kernel refuses; nothing has changed then.
    """
    _nft("-f", "-", script=render(rules))


def remove(table: str = DEFAULT_TABLE) -> bool:
    """Delete the table with all that belongs to it; return whether there was one.

    Connections that it redirected stay as they are until they end.

    :raises ConfigError: as `apply`.
    """
    existed = show(table) is not None
    _nft("-f", "-", script="\n".join([*_clear(table), ""]))
    return existed


def show(table: str = DEFAULT_TABLE) -> str | None:
    """Return the table as nft lists it, ``None`` if there is no redirect.

    :raises ConfigError: nft is missing or not permitted.
    """
    _check_table(table)
    if f"table inet {table}" not in _nft("list", "tables", "inet").splitlines():
        return None
    return _nft("list", "table", "inet", table)


def _clear(table: str) -> list[str]:
    return [f"table inet {table}", f"delete table inet {table}"]


def _body(rules: RedirectRules) -> Iterator[str]:
    # A peer's connection to the proxy itself must not be redirected to where it goes already: that would turn it to the
    # first address of this machine, and one that meant another would look as if it had been meant for the workload.
    listeners = (PortRange(port, port) for port in (rules.inbound_port, rules.outbound_port))
    yield from _set("skip_in", "inet_service", sorted({*listeners, *rules.own_ports, *rules.skip_inbound}))
    yield from _set("skip_out", "inet_service", sorted({*rules.skip_outbound}))
    yield from _network_sets("skip_src", rules.skip_sources)
    yield from _network_sets("skip_dst", rules.skip_destinations)
    yield "  counter invalid { }"
    # Packets that connection tracking calls invalid pass NAT by. The workload would answer those from outside by a
    # reset; its own, what it sends again of a connection that was forgotten, would go out as they are, in clear.
    yield from _chain(
        "guard",
        "filter hook prerouting priority mangle",
        ['iifname != "lo" meta l4proto tcp ct state invalid counter name "invalid" drop'],
    )
    yield from _chain(
        "guard_output",
        "filter hook output priority mangle",
        [
            "ct state != invalid return",
            *_left_alone(rules),
            "tcp sport @skip_in return",
            "ip daddr @skip_src4 return",
            "ip6 daddr @skip_src6 return",
            'counter name "invalid" drop',
        ],
    )
    # What this machine sends to itself was decided on the output hook; it does not come here.
    yield from _chain(
        "inbound",
        "nat hook prerouting priority dstnat",
        [
            "meta l4proto != tcp return",
            "fib daddr type != local return",
            "tcp dport @skip_in return",
            "ip saddr @skip_src4 return",
            "ip6 saddr @skip_src6 return",
            f"meta l4proto tcp redirect to :{rules.inbound_port}",
        ],
    )
    # The name of this priority, dstnat, is unknown to nft before 1.0.7 on the output hook.
    yield from _chain(
        "outbound",
        "nat hook output priority -100",
        [*_left_alone(rules), f"meta l4proto tcp redirect to :{rules.outbound_port}"],
    )


def _set(name: str, kind: str, elements: Iterable[object]) -> Iterator[str]:
    yield f"  set {name} {{"
    yield f"    type {kind}; flags interval; auto-merge;"
    listed = ", ".join(map(str, elements))
    if listed:
        yield f"    elements = {{ {listed} }}"
    yield "  }"


def _chain(name: str, hook: str, rules: Iterable[str]) -> Iterator[str]:
    yield f"  chain {name} {{"
    yield f"    type {hook}; policy accept;"
    yield from (f"    {rule}" for rule in rules)
    yield "  }"


def _left_alone(rules: RedirectRules) -> Iterator[str]:
    """Return from what does not go out through the proxy."""
    yield "meta l4proto != tcp return"
    yield from _own_traffic(rules)
    yield 'oifname "lo" return'
    yield "tcp dport @skip_out return"
    yield "ip daddr @skip_dst4 return"
    yield "ip6 daddr @skip_dst6 return"


def _own_traffic(rules: RedirectRules) -> Iterator[str]:
    if rules.uid is not None:
        yield f"meta skuid {rules.uid} return"
    if rules.gid is not None:
        yield f"meta skgid {rules.gid} return"
    if rules.mark is not None:
        yield f"meta mark {rules.mark:#x} return"


def _network_sets(name: str, networks: tuple[Network, ...]) -> Iterator[str]:
    yield from _set(f"{name}4", "ipv4_addr", collapse_addresses(n for n in networks if isinstance(n, IPv4Network)))
    yield from _set(f"{name}6", "ipv6_addr", collapse_addresses(n for n in networks if isinstance(n, IPv6Network)))


def _within(what: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise ConfigError("redirect", f"{what} {value} is outside {low}-{high}", "give a number in that range")


def _check_table(name: str) -> None:
    if not _TABLE_NAME.fullmatch(name):
        raise ConfigError(
            "redirect",
            f"{name!r} is no name for a table",
            "use a letter, then letters, digits, '-' and '_', at most 31 in all",
        )


def _nft(*arguments: str, script: str | None = None) -> str:
    program = shutil.which("nft", path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_SBIN]))
    if program is None:
        raise ConfigError(
            "nft",
            "is not installed",
            "install the package nftables, or let the proxy listen on addresses of its own without a redirect",
        )
    try:
        done = subprocess.run(  # noqa: S603  # no shell; every argument is a constant or a checked name
            [program, *arguments],
            input=script,
            capture_output=True,
            text=True,
            timeout=_NFT_TIMEOUT,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as why:
        raise ConfigError("nft", f"cannot be run ({why})", f"check that {program} works") from why
    if done.returncode:
        raise _refused(done.stderr)
    return done.stdout


def _refused(stderr: str) -> ConfigError:
    said = next((line for line in stderr.splitlines() if line.strip()), "no reason given")
    if "not permitted" in said or "ermission denied" in said:
        return ConfigError(
            "nft",
            "may not see or change the rules here",
            "run this as root, or with the capability NET_ADMIN, in the network namespace of the workload",
        )
    return ConfigError(
        "nft",
        f"the kernel does not take the rules ({said.strip()})",
        "use Linux 5.2 or later with nf_tables and its modules nft_nat, nft_redir and nft_fib_inet",
    )
