"""How the programs of a node, and of the control plane beside it, are told what to do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.credentials import ClusterCredentials
from tests.cluster.node import ADDRESS, OUTSIDE
from tests.kube import flags
from tests.kube.credentials import FRONT

PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
DNS_ADDRESS = "10.96.0.10"
"""Of the Service that answers names: what `tests/cluster/dns.yaml` says."""

NODE_NAME = "node"
ETCD = "http://127.0.0.1:2379"
API_PORT = 6443
URL = f"https://{ADDRESS}:{API_PORT}"

Document = dict[str, object]


@dataclass(frozen=True)
class Daemons:
    """Their command lines; the files that these name are written as they are asked for.

    :param folder: of the node.
    """

    folder: Path
    credentials: ClusterCredentials

    def etcd(self) -> list[str]:
        """Return the flags of etcd; what it knows ends with the cluster."""
        return [
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={ETCD}",
            f"--advertise-client-urls={ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def containerd(self) -> list[str]:
        """Return the flags of containerd 1.6 and newer ones, whose network is a bridge of the node's."""
        cni = self.folder / "cni"
        cni.mkdir(exist_ok=True)
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]},
        }
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        self._write("cni/10-bridge.conflist", {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports]})
        config = self.folder / "containerd.toml"
        config.write_text(
            "version = 2\n"
            '[plugins."io.containerd.grpc.v1.cri"]\n'
            'sandbox_image = "localhost/pause:1"\n'
            "restrict_oom_score_adj = true  # root may not lower it everywhere\n"
            '[plugins."io.containerd.grpc.v1.cri".cni]\n'
            f'bin_dir = "/usr/lib/cni"\nconf_dir = "{cni}"\n'
        )
        return ["--config", str(config)]

    def kube_apiserver(self) -> list[str]:
        """Return the flags of the API server."""
        made = self.credentials.control_plane
        return [
            f"--etcd-servers={ETCD}",
            f"--secure-port={API_PORT}",
            f"--advertise-address={ADDRESS}",
            f"--tls-cert-file={made.server.certificate}",
            f"--tls-private-key-file={made.server.key}",
            f"--client-ca-file={made.ca}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--service-cluster-ip-range={SERVICES}",
            f"--service-account-issuer={flags.ISSUER}",
            f"--service-account-key-file={made.tokens.certificate}",
            f"--service-account-signing-key-file={made.tokens.key}",
            f"--kubelet-client-certificate={self.credentials.kubelet_client.certificate}",
            f"--kubelet-client-key={self.credentials.kubelet_client.key}",
            f"--kubelet-certificate-authority={made.ca}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--requestheader-client-ca-file={made.front_ca}",
            f"--requestheader-allowed-names={FRONT}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={made.front.certificate}",
            f"--proxy-client-key-file={made.front.key}",
        ]

    def kube_controller_manager(self) -> list[str]:
        """Return the flags of all controllers there are."""
        made = self.credentials.control_plane
        return [
            f"--kubeconfig={self.credentials.kubeconfigs['kube-controller-manager']}",
            f"--service-account-private-key-file={made.tokens.key}",
            f"--root-ca-file={made.ca}",
            "--use-service-account-credentials",
            "--allocate-node-cidrs",
            f"--cluster-cidr={PODS}",
            "--node-cidr-mask-size=24",
            "--leader-elect=false",
            "--secure-port=0",
        ]

    def kube_scheduler(self) -> list[str]:
        """Return the flags of the scheduler."""
        kubeconfig = self.credentials.kubeconfigs["kube-scheduler"]
        return [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0"]

    def kubelet(self) -> list[str]:
        """Return the flags of the kubelet; it pulls nothing and evicts nobody before the disk is full."""
        resolv = self.folder / "resolv.conf"
        resolv.write_text(f"nameserver {OUTSIDE}\n")
        made = self.credentials.kubelet
        full = {"nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"}
        config = self._write(
            "kubelet.json",
            {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "failCgroupV1": False,
                "cgroupDriver": "cgroupfs",
                "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
                "clusterDNS": [DNS_ADDRESS],
                "clusterDomain": "cluster.local",
                "resolvConf": str(resolv),
                "tlsCertFile": str(made.certificate),
                "tlsPrivateKeyFile": str(made.key),
                "authentication": {
                    "anonymous": {"enabled": False},
                    "webhook": {"enabled": True},
                    "x509": {"clientCAFile": str(self.credentials.control_plane.ca)},
                },
                "authorization": {"mode": "Webhook"},
                "evictionHard": {"memory.available": "200Mi", **full},
                "imageGCHighThresholdPercent": 100,
                "imageGCLowThresholdPercent": 99,
                "volumePluginDir": str(self.folder / "plugins"),
            },
        )
        kubeconfig = self.credentials.kubeconfigs["kubelet"]
        return [
            f"--config={config}",
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={ADDRESS}",
        ]

    def kube_proxy(self) -> list[str]:
        """Return the flags of kube-proxy, which leaves the whole machine's conntrack alone."""
        config = self._write(
            "kube-proxy.json",
            {
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "kind": "KubeProxyConfiguration",
                "mode": "iptables",
                "clusterCIDR": PODS,
                "hostnameOverride": NODE_NAME,
                "clientConnection": {"kubeconfig": str(self.credentials.kubeconfigs["kube-proxy"])},
                "conntrack": {"maxPerCore": 0, "min": 0},
            },
        )
        return [f"--config={config}"]

    def _write(self, name: str, document: Document) -> Path:
        """Write a file as JSON, which is YAML too."""
        path = self.folder / name
        path.write_text(json.dumps(document, indent=1))
        return path
