"""A kubelet for the containers of the mesh: runs them as their Pod object says, in a namespace that stands for the pod.

What it takes from the object as it is stored: command and arguments, the environment with the downward API and
``$(NAME)``, the volumes and where they are mounted, the user, the capabilities. What it leaves out: images (the
programs are those of this checkout), cgroups, probes but the first. Each process has mounts of its own, so that paths
like ``/var/run/secrets`` are the container's. /etc/hosts is in the place of the cluster's DNS: it has the Services
that there are when a container is started.
"""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meshtx.demo.lab import Host, Lab, wait_until
from meshtx.supervisor.processes import TWISTD
from tests.kube.control_plane import ControlPlane
from tests.mesh.town import ROOT

Json = dict[str, Any]

PROGRAMS: dict[str, Sequence[str]] = {
    "twistd": TWISTD,
    "meshtx": (sys.executable, "-m", "meshtx"),
    "python": (sys.executable,),
}
"""What the image has in its PATH."""

READABLE = "dac_read_search"
"""A capability in the place of an image that everybody may read: this checkout may be root's alone."""

_REFERENCE = re.compile(r"\$\(([A-Za-z0-9_.-]+)\)")


class Kubelet:
    """Starts containers.

    :param hosts: names that are not the Service's address in every pod, but this one.
    :param environment: that the kubelet adds to each container: where the API server is.
    """

    def __init__(
        self, lab: Lab, cluster: ControlPlane, hosts: Mapping[str, str], environment: Mapping[str, str]
    ) -> None:
        self._lab = lab
        self._cluster = cluster
        self._environment = dict(environment)
        self._hosts = dict(hosts)

    def run_to_end(self, pod: Json, container: Json, host: Host) -> None:
        """Run an init container and wait for its good end."""
        process = self.start(pod, container, host)
        if process.wait(60):
            raise AssertionError(f"{container['name']} of {_full(pod)} failed:\n{self.log(pod, container)}")

    def start(self, pod: Json, container: Json, host: Host) -> subprocess.Popen[bytes]:
        """Start a container of the pod."""
        hosts = self._resolved(f"{_log(pod, container)}.hosts")
        script = ["set -e", f"mount --bind {hosts} /etc/hosts"]
        # a DNS server of this machine's, which is not to be reached from here, would be waited for by who asks for IPv6
        script.append("[ ! -e /etc/resolv.conf ] || mount --bind /dev/null /etc/resolv.conf")
        script.append("mount -t tmpfs -o mode=755 tmpfs /run")  # the file before may be a link to there
        sources = {volume["name"]: volume for volume in pod["spec"].get("volumes", ())}
        for mount in container.get("volumeMounts", ()):
            script.append(f"mkdir -p {mount['mountPath']}")
            script.append(f"mount {self._source(pod, sources[mount['name']])} {mount['mountPath']}")
        script.append('cd /; exec "$@"')
        variables = self._env(pod, container)
        argv = [
            *("unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", "\n".join(script), "sh"),
            *_as_user(container.get("securityContext", {}), pod["spec"].get("securityContext", {})),
            *_command(container, variables),
        ]
        environment = {
            **self._environment,
            **self._env(pod, container),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        return host.start(*argv, log=_log(pod, container), env=environment)

    def until_ready(self, pod: Json, container: Json, host: Host, process: subprocess.Popen[bytes]) -> None:
        """Wait as the hook that follows its start, or else the readiness probe, says."""
        command = _awaited(container)

        def ready() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"{container['name']} of {_full(pod)} ended:\n{self.log(pod, container)}")
            return host.run(*command, check=False).returncode == 0

        try:
            wait_until(ready, f"{container['name']} of {_full(pod)}", 60)
        except Exception as error:
            raise AssertionError(f"{error}; it wrote:\n{self.log(pod, container)}") from None

    def log(self, pod: Json, container: Json) -> str:
        """Return what a container has written."""
        found = sorted(self._lab.folder.glob(f"*-{_log(pod, container)}.log"))
        return "\n".join(path.read_text(errors="replace") for path in found)

    def volume(self, pod: Json, name: str) -> Path:
        """Return where a volume's files are, here; one in memory has none."""
        return self._lab.folder / "pods" / pod["metadata"]["uid"] / name

    def _resolved(self, name: str) -> Path:
        """Write what /etc/hosts is to have: what was given, then every Service of the cluster."""
        names = dict(self._hosts)
        for service in self._cluster.api.call("GET", "/api/v1/services")["items"]:
            full = f"{service['metadata']['name']}.{service['metadata']['namespace']}"
            for each in (full, f"{full}.svc", f"{full}.svc.cluster.local"):
                names.setdefault(each, service["spec"]["clusterIP"])
        path = self._lab.folder / name
        path.write_text("".join(f"{address} {each}\n" for each, address in names.items() if address != "None"))
        return path

    # What the object says.

    def _env(self, pod: Json, container: Json) -> dict[str, str]:
        found: dict[str, str] = {}
        for each in container.get("env", ()):
            text = each["value"] if "value" in each else self._from(pod, each.get("valueFrom"))
            found[each["name"]] = _expanded(text, found)
        return found

    def _from(self, pod: Json, source: Json | None) -> str:
        if source is None:
            return ""  # an empty value is not stored
        if "fieldRef" in source:
            return _field(pod, source["fieldRef"]["fieldPath"])
        reference = source["configMapKeyRef"]
        return self._get(pod, "configmaps", reference["name"])["data"][reference["key"]]

    def _get(self, pod: Json, kind: str, name: str) -> Json:
        return self._cluster.api.call("GET", f"/api/v1/namespaces/{pod['metadata']['namespace']}/{kind}/{name}")

    def _source(self, pod: Json, volume: Json) -> str:
        """Return mount's options for a volume; one in memory is not shared between containers here."""
        if volume.get("emptyDir", {}).get("medium") == "Memory":
            return "-t tmpfs -o mode=777 tmpfs"
        return f"--bind {self._volume(pod, volume)}"

    def _volume(self, pod: Json, volume: Json) -> Path:
        folder = self.volume(pod, volume["name"])
        if folder.exists():
            return folder
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        for path, data in self._files(pod, volume).items():
            (folder / path).write_bytes(data)
            (folder / path).chmod(0o644)
        return folder

    def _files(self, pod: Json, volume: Json) -> dict[str, bytes]:
        if "emptyDir" in volume:
            return {}
        if "secret" in volume:
            data = self._get(pod, "secrets", volume["secret"]["secretName"]).get("data", {})
            return {key: base64.b64decode(text) for key, text in data.items()}
        if "configMap" in volume:
            return self._config_map(pod, volume["configMap"])
        files: dict[str, bytes] = {}
        for source in volume["projected"]["sources"]:
            ((kind, value),) = source.items()
            if kind == "serviceAccountToken":
                files[value["path"]] = self._token(pod, value)
            elif kind == "configMap":
                files |= self._config_map(pod, value)
            else:
                files |= {each["path"]: _field(pod, each["fieldRef"]["fieldPath"]).encode() for each in value["items"]}
        return files

    def _config_map(self, pod: Json, source: Json) -> dict[str, bytes]:
        data = self._get(pod, "configmaps", source["name"])["data"]
        items = {each["key"]: each["path"] for each in source.get("items", ())} or {key: key for key in data}
        return {path: data[key].encode() for key, path in items.items()}

    def _token(self, pod: Json, source: Json) -> bytes:
        meta = pod["metadata"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
        spec: Json = {"boundObjectRef": bound, "expirationSeconds": source.get("expirationSeconds", 3600)}
        if "audience" in source:
            spec["audiences"] = [source["audience"]]
        account = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{pod['spec']['serviceAccountName']}"
        answer = self._cluster.api.call("POST", f"{account}/token", {"spec": spec})
        token: str = answer["status"]["token"]
        return token.encode()


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda match: variables.get(match[1], match[0]), text)


def _command(container: Json, variables: Mapping[str, str]) -> list[str]:
    argv = [_expanded(text, variables) for text in (*container["command"], *container.get("args", ()))]
    return [*PROGRAMS.get(argv[0], (argv[0],)), *argv[1:]]


def _awaited(container: Json) -> list[str]:
    """Return the command that succeeds once the container is started, or else ready."""
    if "lifecycle" in container:
        return _command(container["lifecycle"]["postStart"]["exec"], {})
    probe = container["readinessProbe"]
    how = probe.get("httpGet") or probe["tcpSocket"]
    named = {each.get("name"): each["containerPort"] for each in container["ports"]}
    port = named.get(how["port"], how["port"])
    if "httpGet" in probe:
        return ["curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{port}{how['path']}"]
    return ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"]


def containers(pod: Json) -> dict[str, Json]:
    """Return all containers of a pod by their names."""
    spec = pod["spec"]
    return {each["name"]: each for each in (*spec.get("initContainers", ()), *spec["containers"])}


def _as_user(own: Json, of_pod: Json) -> list[str]:
    """Return the command that becomes who a container's security context says."""
    context = {**of_pod, **own}
    user, group = context.get("runAsUser", 0), context.get("runAsGroup", context.get("runAsUser", 0))
    added = [name.lower() for name in context.get("capabilities", {}).get("add", ())]
    capabilities = ",".join(["-all", *(f"+{name}" for name in (READABLE, *added))])
    ambient = f"-all,+{READABLE}"  # what is added is not: Kubernetes has no way to make it so
    argv = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    if context.get("allowPrivilegeEscalation") is False:
        argv.append("--no-new-privs")
    return [*argv, f"--inh-caps={capabilities}", f"--ambient-caps={ambient}", f"--bounding-set={capabilities}"]


def _field(pod: Json, path: str) -> str:
    """Return what the downward API gives."""
    if path == "status.podIPs":
        return ",".join(each["ip"] for each in pod["status"]["podIPs"])
    value: Any = pod
    for part in path.split("."):
        value = value[part]
    return str(value)


def _full(pod: Json) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _log(pod: Json, container: Json) -> str:
    return f"{pod['metadata']['name']}-{container['name']}"
