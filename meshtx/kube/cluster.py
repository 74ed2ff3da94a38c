"""Who is behind an address in a cluster: the directory's answers, from Kubernetes' objects. No I/O.

    Pod, Service, Slice, Node, ServiceNetwork ─▶ apply ─▶ addresses whose answer may be another
    Address ─▶ answer

What a change costs grows with what it touches, a pod's addresses or a Service's endpoints, and not with the cluster.

An endpoint's pod that is not known, or that does not have the endpoint's address (any more), is left out: the API's
watches are not in step with each other, and what is not known of a pod would else make it plaintext.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

from meshtx.kube.cluster_ranges import ClusterRanges, RangeBook
from meshtx.kube.objects import Endpoint, Kept, Node, Pod, Service, ServiceNetwork, ServicePort, Slice
from meshtx.kube.pod_index import PodIndex, own_ips
from meshtx.kube.ports import DEFAULT_OPAQUE, PROXY_PORTS, Ports, among, parse_ports
from meshtx.kube.service_index import Front, ServiceIndex
from meshtx.pki.name import InvalidName, MeshScope, Name
from meshtx.wire.address import IP, Address
from meshtx.wire.network import Network

MOST_ENDPOINTS = 10_000
"""Of one Service that are told: what is longer than a message may be would end the session of whoever asks."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A place to connect to.

    :param name: the identity that its proxy proves; ``None``: it is not meshed, or not on this port.
    :param opaque: the port's bytes are not to be looked at.
    :param skipped: its proxy does not take part in this port.
    """

    address: Address
    name: Name | None = None
    opaque: bool = False
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Meshed:
    """A meshed pod's own address, and the identity that its proxy proves."""

    ip: IP
    name: Name


@dataclass(frozen=True, slots=True)
class Answer:
    """What is behind an address.

    :param authority: of a Service; else empty.
    :param what: one place, which is the address itself; or those behind a Service or a node's port, of which one is to
        be picked, and there may be none.
    """

    address: Address
    authority: str
    what: Backend | tuple[Backend, ...]


@dataclass(frozen=True, slots=True)
class OwnPorts:
    """What a pod's proxy is to know of its own ports.

    :param hidden: those whose clients a Service hides, in order, and its key.
    """

    opaque: Ports = ()
    skip_inbound: Ports = ()
    hidden: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the API does not tell.

    :param mesh: see `ClusterRanges.mesh`.
    :param opaque: such ports of pods whose annotations do not say which.
    :param domain: of the cluster's DNS.
    """

    mesh: tuple[Network, ...] = ()
    balancers: tuple[Network, ...] = ()
    opaque: Ports = field(default_factory=lambda: parse_ports(DEFAULT_OPAQUE))
    domain: str = "cluster.local"


class Cluster:
    """The state of a cluster, as far as it has been told.

    :param scope: of the mesh whose workloads count as meshed.
    """

    def __init__(self, scope: MeshScope, settings: Settings | None = None) -> None:
        self.scope = scope
        self._settings = settings or Settings()
        self._pods = PodIndex()
        self._services = ServiceIndex()
        self._book = RangeBook(self._settings.mesh, self._settings.balancers)

    @property
    def ranges(self) -> ClusterRanges:
        """Whose addresses are whose; equal until a change."""
        return self._book.ranges

    def apply(self, before: Kept | None, after: Kept | None) -> set[IP]:
        """Take a change of one object; return the addresses where an answer may now be another one, or `own_ports`.

        :param before: what it was; ``None``: it is new.
        :param after: what it is; ``None``: it is gone.
        """
        if before == after:
            return set()
        match after or before:
            case Pod(key=key):
                return self._apply_pod(key, after)
            case Service(key=key):
                return self._apply_service(key, after)
            case Slice(key=key):
                return self._apply_slice(key, after)
            case Node() | ServiceNetwork() as item if after is None:
                self._book.remove(item)
            case Node() | ServiceNetwork() as item:
                self._book.put(item)
        return set()

    def answer(self, address: Address) -> Answer:
        """Return what is behind an address. What nobody has is not meshed.

        What the cluster gives comes before what a Service's author may choose: nobody takes over another's address.
        """
        services, pods = self._services, self._pods
        if services.is_cluster_ip(address.ip):
            return self._through(services.front(address, cluster_ip=True), address)
        pod = pods.owner(address.ip)
        if pod is not None:
            return Answer(address, "", self._backend(address, pod))
        by_node = pods.owner(address)
        if by_node is not None:
            return Answer(address, "", self._through_node(by_node, address))
        front = services.front(address, cluster_ip=False)
        return Answer(address, "", self._backend(address, None)) if front is None else self._through(front, address)

    def has(self, address: Address) -> bool:
        """Tell whether there is anything at an address; else its answer is only that nothing is known of it."""
        services, pods = self._services, self._pods
        owned = pods.owner(address.ip) or pods.owner(address) or services.front(address, cluster_ip=False)
        return owned is not None or services.is_cluster_ip(address.ip)

    def own_ports(self, ips: Iterable[IP], caller: Name) -> OwnPorts:
        """Return what is said of the ports of the pod that has one of these addresses, if it is the caller's."""
        for ip in ips:
            pod = self._pods.owner(ip)
            if pod is not None and self._name(pod) == caller:
                hidden = self._services.hidden(pod.ips, pod.namespace)
                return OwnPorts(self._opaque(pod), (*pod.skip, *PROXY_PORTS), hidden)
        return OwnPorts()

    @property
    def pods(self) -> Iterable[Pod]:
        """All pods."""
        return self._pods.all()

    def reached(self, pod: Pod) -> Meshed | None:
        """Return where a pod is reached and whom its proxy proves to be; ``None``: our control plane has not meshed it.

        Nor is one reached that has ended, or whose address another one has by now.
        """
        name = self._name(pod)
        mine = next((ip for ip in own_ips(pod) if self._pods.owner(ip) == pod), None)
        return Meshed(mine, name) if name and mine else None

    # Changes

    def _apply_pod(self, key: str, pod: Kept | None) -> set[IP]:
        changed: set[IP] = set()
        known = self._pods.remove(key)
        if known is not None:
            self._book.leave(own_ips(known))
            changed |= _touched(known)
        if isinstance(pod, Pod):
            self._pods.put(pod)
            self._book.enter(own_ips(pod))
            changed |= _touched(pod)
        for ip in tuple(changed):
            changed |= self._services.in_front_of(ip)
        return changed

    def _apply_service(self, key: str, service: Kept | None) -> set[IP]:
        changed: set[IP] = set()
        known = self._services.remove(key)
        if known is not None:
            self._book.leave(known.ips)
            changed.update(known.ips)
        if isinstance(service, Service):
            self._services.put(service)
            self._book.enter(service.ips)
            changed.update(service.ips)
        either = service or known
        if isinstance(either, Service) and _hides(known) != _hides(service):
            changed |= self._told(self._services.behind(key), either.namespace)
        return changed

    def _apply_slice(self, key: str, piece: Kept | None) -> set[IP]:
        changed: set[IP] = set()
        known = self._services.remove_slice(key)
        if known is not None:
            changed.update(self._services.addresses(known.service))
        after = piece if isinstance(piece, Slice) else None
        if after is not None:
            self._services.put_slice(after)
            changed.update(self._services.addresses(after.service))
        either = after or known
        if either is not None:
            changed |= self._told(self._services.hidden_anew(known, after), either.namespace)
        return changed

    def _told(self, hidden: Iterable[IP], namespace: str) -> set[IP]:
        """Return all addresses of pods that are told of Services of a namespace, by those of endpoints behind them.

        Else who makes such a Service could have the tables of all pods made anew, and of one only some of the addresses
        from which its proxy may follow.
        """
        pods = (pod for ip in hidden for pod in self._pods.claiming(ip) if pod.namespace == namespace)
        return {ip for pod in pods for ip in pod.ips}

    # Answers

    def _through(self, front: Front | None, address: Address) -> Answer:
        """Return the endpoints of a Service; none at a port that it does not have."""
        if front is None:
            return Answer(address, "", ())
        service = front.service
        authority = f"{service.name}.{service.namespace}.svc.{self._settings.domain}:{front.port.port}"
        found = (self._endpoint(*each) for each in self._services.endpoints(front, address.ip.version).items())
        return Answer(address, authority, tuple(islice((each for each in found if each is not None), MOST_ENDPOINTS)))

    def _endpoint(self, address: Address, endpoint: Endpoint) -> Backend | None:
        owner = self._pods.owner(address.ip)
        if not endpoint.pod:
            return self._backend(address, owner)
        pod = self._pods.get(endpoint.pod)
        if pod is None or address.ip not in pod.ips:
            return None
        if pod.host_network:
            return self._backend(address, None) if pod.live else None
        return self._backend(address, pod) if owner is pod else None

    def _through_node(self, pod: Pod, address: Address) -> tuple[Backend, ...]:
        targets = [each.target for each in pod.host_ports if each.port == address.port and address.ip in each.ips]
        places = [Address(ip, targets[0]) for ip in pod.ips if ip.version == address.ip.version]
        return tuple(self._backend(place, pod) for place in places[:1])

    def _backend(self, address: Address, pod: Pod | None) -> Backend:
        opaque = among(address.port, self._opaque(pod))
        name = self._name(pod) if pod else None
        if pod is None or name is None:
            return Backend(address, opaque=opaque)
        skipped = among(address.port, pod.skip) or among(address.port, PROXY_PORTS)
        return Backend(address, None if skipped else name, opaque, skipped)

    def _opaque(self, pod: Pod | None) -> Ports:
        return self._settings.opaque if pod is None or pod.opaque is None else pod.opaque

    def _name(self, pod: Pod) -> Name | None:
        """Return the identity of a pod that our control plane has meshed."""
        if pod.meshed_by != self.scope.control_namespace:
            return None
        return _identity(self.scope, pod.namespace, pod.account)


@lru_cache(maxsize=4096)
def _identity(scope: MeshScope, namespace: str, account: str) -> Name | None:
    try:
        return scope.name(namespace, account)
    except InvalidName:  # an account with a dot: no certificate can have its name
        return None


def _hides(service: Kept | None) -> tuple[ServicePort, ...]:
    """Return the ports of a Service whose clients it hides."""
    return service.ports if isinstance(service, Service) and service.hides else ()


def _touched(pod: Pod) -> set[IP]:
    return {*pod.ips, *(ip for port in pod.host_ports for ip in port.ips)}
