"""Which pod has an address now.

A pod that has ended keeps its address in the API while the next one may have it already, and two that have not ended
may both claim one for a moment: the newest that is not being deleted has it. Pods on their node's network have no
address of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from meshtx.kube.objects import Pod
from meshtx.wire.address import IP, Address


class PodIndex:
    """Pods by key, by address, and by the ports of nodes that lead to them."""

    def __init__(self) -> None:
        self._pods: dict[str, Pod] = {}
        self._claims: dict[IP | Address, dict[str, Pod]] = {}

    def get(self, key: str) -> Pod | None:
        """Return a pod by its key."""
        return self._pods.get(key)

    def all(self) -> Iterable[Pod]:
        """Return all pods."""
        return self._pods.values()

    def put(self, pod: Pod) -> None:
        """Take a pod that is not known."""
        self._pods[pod.key] = pod
        for claim in _claims(pod):
            self._claims.setdefault(claim, {})[pod.key] = pod

    def remove(self, key: str) -> Pod | None:
        """Forget a pod, and return what was known of it."""
        pod = self._pods.pop(key, None)
        for claim in _claims(pod) if pod else ():
            claims = self._claims[claim]
            del claims[key]
            if not claims:
                del self._claims[claim]
        return pod

    def claiming(self, ip: IP) -> Collection[Pod]:
        """Return all pods that may have an address."""
        return self._claims.get(ip, {}).values()

    def owner(self, of: IP | Address) -> Pod | None:
        """Return the pod that has an address, or to which a node's port leads."""
        claims = self._claims.get(of)
        return max(claims.values(), key=_rank) if claims else None


def own_ips(pod: Pod) -> tuple[IP, ...]:
    """Return the addresses that are this pod's and nobody else's."""
    return () if pod.host_network or not pod.live else pod.ips


def _claims(pod: Pod) -> list[IP | Address]:
    if not pod.live or pod.host_network:
        return []
    return [*pod.ips, *{Address(ip, each.port) for each in pod.host_ports for ip in each.ips}]


def _rank(pod: Pod) -> tuple[bool, str, str]:
    return (not pod.deleting, pod.started, pod.key)
