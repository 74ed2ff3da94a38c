"""What the sidecar can be told, and what reads the settings of every program.

One frozen dataclass a program, each setting declared once; the others are in ``config_identity.py`` and its like.

`load` reads a TOML file, then environment variables, then flags; `options_class` makes the
options of a twistd command. See `meshtx.config_load` for how the names of a setting relate.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from meshtx.config_checks import check_distinct
from meshtx.config_credentials import CredentialsConfig, check_credentials
from meshtx.config_identity import IdentityConfig
from meshtx.config_load import load, optional, setting, settings
from meshtx.config_options import ConfigOptions, options_class
from meshtx.config_values import (
    ADDRESS,
    BALANCER,
    COUNT,
    ENDPOINT,
    FILE,
    FLAG,
    FORWARD,
    MARK,
    NAME,
    NETWORK,
    PORTS,
    PROBES,
    SECONDS,
    WORD,
    Endpoint,
    Forward,
    Kind,
    choice,
    listed,
)
from meshtx.errors import ConfigError
from meshtx.net.dial import LONGEST
from meshtx.net.poller import Transports
from meshtx.pki.name import Name
from meshtx.proxy.balancers import Balancer
from meshtx.proxy.introduction import Extra
from meshtx.proxy.policy import Mode
from meshtx.proxy.probes import Probes
from meshtx.wire.address import Address
from meshtx.wire.network import Network
from meshtx.wire.ports import PROXY_ADMIN, PROXY_INBOUND, PROXY_OUTBOUND, PROXY_TAP, PortRange

__all__ = [
    "ConfigOptions",
    "Endpoint",
    "Forward",
    "IdentityConfig",
    "ProxyConfig",
    "load",
    "options_class",
    "settings",
]


_INBOUND = ("inbound_listen", "inbound_forward")
_FROM_OTHERS = (*_INBOUND, "outbound_forward")
"""The listeners where others than the workload connect."""


def _dialling(text: str) -> float:
    seconds = SECONDS.parse(text)
    if seconds > LONGEST:
        raise ValueError(f"longer than {LONGEST:g}s, behind which no SYN goes out before the fifteenth second")
    return seconds


_DIALLING = Kind(f"DURATION of {LONGEST:g}s or less", "3s", _dialling)


@dataclass(frozen=True)
class ProxyConfig(CredentialsConfig):
    """The sidecar, ``twistd meshproxy``."""

    program: ClassVar[str] = "meshproxy"
    prefix: ClassVar[str] = "MESHTX_PROXY_"

    directory_file: Path | None = optional(FILE, "Who is meshed: a TOML or JSON file, read again when it changes.")
    directory_address: Endpoint | None = optional(
        ENDPOINT, "Instead of a file: where a directory service tells who is meshed."
    )
    directory_name: Name = setting(
        NAME,
        "meshtx-directory.meshtx.serviceaccount.identity.meshtx.cluster.local",
        "The name that the directory service must prove.",
        needs=["directory_address"],
    )

    inbound_listen: tuple[Address, ...] = setting(
        listed(ADDRESS),
        f"0.0.0.0:{PROXY_INBOUND}",
        "Where redirected connections to the workload and those of its peers come in.",
    )
    outbound_listen: tuple[Address, ...] = setting(
        listed(ADDRESS), f"127.0.0.1:{PROXY_OUTBOUND}", "Where redirected connections of the workload come in."
    )
    inbound_forward: tuple[Forward, ...] = setting(
        listed(FORWARD), "", "Without a redirect: take connections at LISTEN as if they came for DESTINATION."
    )
    outbound_forward: tuple[Forward, ...] = setting(
        listed(FORWARD), "", "Without a redirect: who connects to LISTEN, the workload or others, means DESTINATION."
    )

    inbound_policy: Mode = setting(
        choice(Mode), "all-unauthenticated", "Who may connect to the workload.", needs=_INBOUND, by_author=True
    )
    inbound_allow: tuple[Name, ...] = setting(
        listed(NAME), "", "The names that the policy 'listed' lets in.", needs=["inbound_policy=listed"], by_author=True
    )

    node_networks: tuple[Network, ...] = setting(
        listed(NETWORK),
        "",
        "Addresses that nodes put in their clients' place, beside the directory's.",
        needs=_FROM_OTHERS,
        by_author=True,
    )
    pod_networks: tuple[Network, ...] = setting(
        listed(NETWORK),
        "",
        "Where workloads are, beside the directory's; once they are known, no ClientHello is awaited from elsewhere.",
        needs=_FROM_OTHERS,
        by_author=True,
    )
    balancer_networks: tuple[Network, ...] = setting(
        listed(NETWORK),
        "",
        "Load balancers, which connect for others, beside the directory's.",
        needs=_FROM_OTHERS,
        by_author=True,
    )
    gateways: tuple[Name, ...] = setting(
        listed(NAME),
        "",
        "The names that carry others' connections, and are believed whose; others are not.",
        needs=_INBOUND,
        by_author=True,
    )

    proxy_protocol_from: tuple[Balancer, ...] = setting(
        listed(BALANCER),
        "",
        "Balancers that begin connections with a PROXY header (v1, v2), by their address and the port, of the workload"
        " or an outbound_forward: there it is mandatory and says who the client is; elsewhere none is looked for.",
        needs=_FROM_OTHERS,
        by_author=True,
    )
    proxy_protocol_to: tuple[PortRange, ...] = setting(
        listed(PORTS),
        "",
        "Ports where the workload expects a PROXY header (v2), which tells it who the client is.",
        needs=_INBOUND,
        by_author=True,
    )
    proxy_protocol_tlvs: tuple[Extra, ...] = setting(
        listed(choice(Extra)),
        "alpn,authority,identity",
        "What that header has beside the addresses; nginx before 1.23.2 resets one that is longer than 107 bytes.",
        needs=["proxy_protocol_to"],
        by_author=True,
    )

    tap_listen: Address = setting(ADDRESS, f"0.0.0.0:{PROXY_TAP}", "Where tap is served, over mutual TLS.")
    tap_identity: tuple[Name, ...] = setting(listed(NAME), "", "The names that may tap; none, and nobody may.")
    admin_listen: Address = setting(ADDRESS, f"0.0.0.0:{PROXY_ADMIN}", "Where /live, /ready and /metrics are served.")
    admin_plaintext_metrics: bool = setting(FLAG, "false", "Serve /metrics without TLS, to everybody.", by_author=True)
    metrics_identity: tuple[Name, ...] = setting(
        listed(NAME), "", "The names that may read /metrics over mutual TLS; none, and nobody may."
    )
    probes: Probes = setting(
        PROBES,
        "{}",
        "Probes of the workload that the proxy makes when a page of admin_listen is asked for, by the page's path; the"
        " injector writes them.",
    )

    detectors: tuple[str, ...] = setting(
        listed(WORD),
        "http/1.1,h2",
        "The protocols whose requests are observed, in the order in which they are tried.",
        by_author=True,
    )
    mark: int | None = optional(MARK, "The socket mark (SO_MARK) of the proxy's own connections.")
    max_undecided: int = setting(
        COUNT,
        "16384",
        "Connections that have not said what they want, at once: past it one goes for each that comes. One costs a"
        " descriptor and some 8 KB.",
        by_author=True,
    )
    handshake_timeout: float = setting(SECONDS, "10s", "Longest TLS handshake.", by_author=True)
    connect_timeout: float = setting(
        _DIALLING, "3s", f"Longest wait for a connection to be made; {LONGEST:g}s at most.", by_author=True
    )
    tcp_user_timeout: float = setting(
        SECONDS,
        "30s",
        "After this long a connection ends whose peer acknowledges nothing, or whose reader takes nothing.",
        by_author=True,
    )
    transports: Transports = setting(
        choice(Transports),
        Transports.QUICK.value,
        "What moves the bytes: quick transports, with a poller of their own, or Twisted's, which work everywhere.",
        by_author=True,
    )
    directory_timeout: float = setting(
        SECONDS, "5s", "Longest wait for the directory's answer.", needs=["directory_address"], by_author=True
    )
    drain_timeout: float = setting(
        SECONDS, "30s", "How long connections may go on after a stop was asked for.", by_author=True
    )
    outlive_workload: bool = setting(
        FLAG,
        "false",
        "Within that time, take the workload's connections until nobody of another user listens in this network"
        " namespace: for a workload that is told to end at the same moment.",
    )

    def check(self) -> None:
        """Judge the values together."""
        check_credentials(self)
        _check_listeners(self)


def _check_listeners(config: ProxyConfig) -> None:
    outbound = config.outbound_listen + tuple(each.listen for each in config.outbound_forward)
    inbound = config.inbound_listen + tuple(each.listen for each in config.inbound_forward)
    if not outbound and not inbound:
        raise ConfigError("inbound_listen, outbound_listen", "both are empty", "name an address for at least one")
    if config.directory_file is not None and config.directory_address is not None:
        raise ConfigError(
            "directory_file, directory_address", "both are set", "who is meshed is one's to say: keep one"
        )
    if outbound and config.directory_file is None and config.directory_address is None:
        raise ConfigError(
            "directory_file, directory_address",
            "neither is set, and outbound connections need a directory",
            "name the mesh's file or its directory service, or make outbound_listen empty",
        )
    if any(each.listen.port == 0 for each in config.inbound_forward):
        raise ConfigError("inbound_forward", "port 0 is none that clients know", "name the port that they connect to")
    led: dict[int, Address] = {}
    for each in config.inbound_forward:
        other = led.setdefault(each.listen.port, each.destination)
        if other != each.destination:
            raise ConfigError(
                "inbound_forward",
                f"port {each.listen.port} leads to {other} and to {each.destination}",
                "give each destination a port of its own, by which clients mean it",
            )
    check_distinct([*inbound, *outbound, config.tap_listen, config.admin_listen])
