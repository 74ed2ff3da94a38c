"""What an injected pod must have, written out: the tests of the value and those of the API server compare with it."""

from __future__ import annotations

from typing import Any

from meshtx.net.redirect import RedirectRules, render
from meshtx.wire.ports import PortRange


def injected_redirect(skip_inbound: str = "", skip_outbound: str = "") -> list[str]:
    """Return the arguments of the init container's nft.

    :param skip_inbound: ports and ranges of them, with commas between.
    """
    skipped = (
        tuple(PortRange.parse(each) for each in said.split(",") if each) for said in (skip_inbound, skip_outbound)
    )
    inbound, outbound = skipped
    return [render(RedirectRules(uid=2102, skip_inbound=inbound, skip_outbound=outbound))]


def injected_proxy() -> dict[str, Any]:
    """Return the native sidecar without its environment."""
    return {
        "name": "meshtx-proxy",
        "image": "example.org/meshtx:1",
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "command": ["twistd", "--nodaemon", "--pidfile=", "--logger=meshtx.observe.log_levels.info", "meshproxy"],
        "ports": [
            {"name": "meshtx-proxy", "containerPort": 4143, "protocol": "TCP"},
            {"name": "meshtx-admin", "containerPort": 4191, "protocol": "TCP"},
        ],
        "lifecycle": {"postStart": {"exec": {"command": ["meshtx", "wait", "--timeout=120s"]}}},
        "livenessProbe": {"httpGet": {"path": "/live", "port": 4191}, "initialDelaySeconds": 10, "timeoutSeconds": 1},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 4191}, "timeoutSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsUser": 2102,
            "runAsGroup": 2102,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "meshtx-identity", "mountPath": "/var/run/meshtx/identity"},
            {"name": "meshtx-identity-token", "mountPath": "/var/run/secrets/tokens", "readOnly": True},
            {
                "name": "meshtx-no-api-token",
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                "readOnly": True,
            },
        ],
    }


def injected_volumes() -> list[dict[str, Any]]:
    """Return the volumes, before the API server's defaults."""
    token = {"path": "meshtx-identity-token", "audience": "identity.l5d.io", "expirationSeconds": 86400}
    return [
        {"name": "meshtx-identity", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "meshtx-identity-token", "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": "meshtx-no-api-token", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]
