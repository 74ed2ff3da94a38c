"""What the directory's program can be told: ``twistd meshdirectory``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from meshtx.config_checks import check_distinct, needs
from meshtx.config_credentials import CredentialsConfig, check_credentials
from meshtx.config_load import setting
from meshtx.config_values import ADDRESS, DOMAIN, FLAG, NETWORK, PORTS, listed
from meshtx.kube.ports import DEFAULT_OPAQUE
from meshtx.kube.settings.api_server import KubernetesConfig
from meshtx.wire.address import Address
from meshtx.wire.network import Network
from meshtx.wire.ports import PortRange


@dataclass(frozen=True)
class DirectoryConfig(CredentialsConfig, KubernetesConfig):
    """The directory of a cluster, ``twistd meshdirectory``."""

    program: ClassVar[str] = "meshdirectory"
    prefix: ClassVar[str] = "MESHTX_DIRECTORY_"

    listen: Address = setting(ADDRESS, "0.0.0.0:8086", "Where sidecars ask, over mutual TLS.")
    tap_listen: Address = setting(ADDRESS, "0.0.0.0:8089", "Where the API server asks for taps, over TLS.")
    admin_listen: Address = setting(ADDRESS, "0.0.0.0:9990", "Where /live, /ready and /metrics are served.")
    admin_plaintext_metrics: bool = setting(FLAG, "false", "Serve /metrics to everybody, not only to this host.")

    cluster_domain: str = setting(DOMAIN, "cluster.local", "The domain of the cluster's DNS.")
    cluster_networks: tuple[Network, ...] = setting(
        listed(NETWORK),
        "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8",
        "Inside these sidecars ask for an address before it counts as unmeshed, beside what the cluster tells.",
    )
    balancer_networks: tuple[Network, ...] = setting(
        listed(NETWORK), "", "Load balancers, which connect for others; the cluster does not tell where they are."
    )
    opaque_ports: tuple[PortRange, ...] = setting(
        listed(PORTS), DEFAULT_OPAQUE, "Ports whose bytes are not looked at, of pods that do not say which."
    )

    def check(self) -> None:
        """Judge the values together."""
        check_credentials(self)
        needs(self, "the directory, to know which mesh is its own,", "name")
        check_distinct([self.listen, self.tap_listen, self.admin_listen])
