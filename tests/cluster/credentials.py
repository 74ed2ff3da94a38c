"""The keys and certificates of a cluster with a node, and a kubeconfig for each program that asks the API server."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from tests.kube.credentials import Authority, Credentials, Pair, make_credentials
from tests.kube.flags import kubeconfig

ADMIN = "admin"

USERS = ("system:kube-controller-manager", "system:kube-proxy", "system:kube-scheduler")
"""Names of the programs to which Kubernetes binds their rights."""


@dataclass(frozen=True)
class ClusterCredentials:
    """All files of this kind that a cluster of one node needs.

    :param control_plane: what a control plane needs that has no node.
    :param kubelet: what the kubelet shows as a server.
    :param kubelet_client: what the API server shows to the kubelet.
    :param kubeconfigs: of the administrator, the node, and each of the programs, by the last part of its name.
    """

    control_plane: Credentials
    kubelet: Pair
    kubelet_client: Pair
    kubeconfigs: dict[str, Path]


def make_cluster_credentials(folder: Path, url: str, node: str, *addresses: str) -> ClusterCredentials:
    """Make new ones in a folder.

    :param url: of the API server.
    :param node: its name.
    :param addresses: at which the API server is reached; the first is the node's.
    """
    folder.mkdir(mode=0o700, parents=True)
    authority = Authority(folder, "ca")
    made = make_credentials(folder, *addresses, authority=authority)
    clients = {user.rpartition(":")[2]: authority.client(user) for user in USERS}
    clients |= {ADMIN: made.admin, "kubelet": authority.client(f"system:node:{node}", "system:nodes")}
    kubeconfigs = {name: folder / f"{name}.kubeconfig" for name in clients}
    for name, path in kubeconfigs.items():
        path.touch(mode=0o600)
        path.write_text(json.dumps(kubeconfig(url, replace(made, admin=clients[name]), "default")))
    kubelet_client = authority.client("kube-apiserver-kubelet-client", "system:masters")
    return ClusterCredentials(made, authority.server("kubelet", node, addresses[0]), kubelet_client, kubeconfigs)
