"""How the programs of a control plane are told what to do."""

from __future__ import annotations

from pathlib import Path

from tests.kube.credentials import FRONT, Credentials

LOOPBACK = "127.0.0.1"
"""Where all of them listen."""

KUBERNETES_ADDRESS = "10.96.0.1"
"""Of the Service ``kubernetes``: the first one of the range."""

ISSUER = "https://kubernetes.default.svc.cluster.local"
"""Of ServiceAccount tokens; the audience of those that are for the API server, too."""

CONTROLLERS = (
    "clusterrole-aggregation",
    "cronjob",
    "daemonset",
    "deployment",
    "endpointslice",
    "garbage-collector",
    "job",
    "namespace",
    "replicaset",
    "resourcequota",
    "root-ca-certificate-publisher",
    "service-cidr",
    "serviceaccount",
    "statefulset",
)
"""Not among them: what judges nodes (ours never report, their pods would be evicted) and what collects ended pods."""


AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
}
"""What of requests is written down: who has asked for what, of those with an account of the cluster; no content."""


def etcd(folder: Path, port: int) -> list[str]:
    """Return the flags of etcd, whose data goes into a folder."""
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=http://{LOOPBACK}:{port}",
        f"--advertise-client-urls=http://{LOOPBACK}:{port}",
        f"--listen-peer-urls=http://{LOOPBACK}:0",
        "--socket-reuse-port=true",  # whoever starts it holds the port already
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(credentials: Credentials, port: int, etcd_port: int, policy: Path, audit: Path) -> list[str]:
    """Return the flags of kube-apiserver.

    :param policy: the file that has `AUDIT_POLICY`.
    :param audit: where that is written, an object a line.
    """
    return [
        f"--etcd-servers=http://{LOOPBACK}:{etcd_port}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={port}",
        "--permit-port-sharing=true",  # whoever starts it holds the port already
        "--advertise-address=192.0.2.1",  # there must be one, not on loopback; nobody is told it
        "--endpoint-reconciler-type=none",
        f"--tls-cert-file={credentials.server.certificate}",
        f"--tls-private-key-file={credentials.server.key}",
        f"--client-ca-file={credentials.ca}",
        "--authorization-mode=RBAC",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={audit}",
        "--service-cluster-ip-range=10.96.0.0/16",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={credentials.tokens.certificate}",
        f"--service-account-signing-key-file={credentials.tokens.key}",
        "--allow-privileged=true",
        "--enable-aggregator-routing=true",  # calls a Service at its endpoints: here is no kube-proxy
        f"--requestheader-client-ca-file={credentials.front_ca}",
        f"--requestheader-allowed-names={FRONT}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={credentials.front.certificate}",
        f"--proxy-client-key-file={credentials.front.key}",
    ]


def controller_manager(credentials: Credentials, kubeconfig_file: Path) -> list[str]:
    """Return the flags of kube-controller-manager."""
    return [
        f"--kubeconfig={kubeconfig_file}",
        f"--service-account-private-key-file={credentials.tokens.key}",
        f"--root-ca-file={credentials.ca}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=1000",  # it is not what a test of thousands of pods is to wait for
        "--kube-api-burst=2000",
        f"--controllers={','.join(f'{name}-controller' for name in CONTROLLERS)}",
    ]


def kubeconfig(url: str, credentials: Credentials, namespace: str) -> dict[str, object]:
    """Return a kubeconfig of the admin, whose commands are about that namespace; as JSON it is YAML too."""
    admin = {"client-certificate": str(credentials.admin.certificate), "client-key": str(credentials.admin.key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(credentials.ca)}}],
        "users": [{"name": "admin", "user": admin}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin", "namespace": namespace}}],
        "current-context": "test",
    }
