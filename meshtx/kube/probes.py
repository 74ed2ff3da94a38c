"""Turns a pod's probes to its proxy, which makes them as their author wrote them: `meshtx.proxy.prober` says why.

    readinessProbe: {httpGet: {path: /healthy, port: web}, periodSeconds: 5}
        ─▶ readinessProbe: {httpGet: {path: /probe/app/readiness, port: 4191}, periodSeconds: 5}
         + the proxy's variable: {"/probe/app/readiness": {"httpGet": {"path": "/healthy", "port": 8080}}}

A probe that names a host is one of something else than this pod, and stays; so does one by ``exec``, and one that the
API server or the kubelet has its words for: of two actions, or at a port that there is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from meshtx.kube.json_patch import Json
from meshtx.wire.ports import PROXY_ADMIN

KINDS = {"startupProbe": "startup", "readinessProbe": "readiness", "livenessProbe": "liveness"}
"""The fields of a container, and what a page of the admin site is called for each."""

ACTIONS = ("httpGet", "tcpSocket", "grpc")
"""Those that are turned."""

SCHEMES = ("HTTP", "HTTPS")

MAX_TEXT = 64 * 1024
"""Bytes of the variable; Linux takes twice as much (MAX_ARG_STRLEN)."""


class TooLong(Exception):
    """The probes do not fit into a variable of the proxy."""


class Probes:
    """The probes of one pod, collected while its containers are turned to the proxy."""

    def __init__(self) -> None:
        self._meant: dict[str, Json] = {}

    def turn(self, containers: Sequence[Json]) -> list[Json]:
        """Return the containers with their probes turned to the proxy; those without any are the same objects."""
        return [{**each, **turned} if (turned := dict(self._turned(each))) else each for each in containers]

    def _turned(self, container: Json) -> Iterator[tuple[str, Json]]:
        for field, word in KINDS.items():
            probe = container.get(field) or {}
            actions = [each for each in (*ACTIONS, "exec") if probe.get(each)]
            action = actions[0] if len(actions) == 1 else "exec"
            meant = _meant(probe, action, container) if action in ACTIONS else None
            if meant is not None:
                path = f"/probe/{container.get('name')}/{word}"
                self._meant[path] = meant
                others = {key: value for key, value in probe.items() if key != action}
                yield field, {**others, "httpGet": {"path": path, "port": PROXY_ADMIN}}

    def text(self) -> str:
        """Return the setting ``probes`` of meshproxy; empty if there are none.

        :raises TooLong: it is more than `MAX_TEXT`.
        """
        if not self._meant:
            return ""
        text = json.dumps(self._meant, separators=(",", ":"))
        text = text.replace("$", r"\u0024")  # the kubelet puts the values of variables in place of $(NAME)
        if len(text) > MAX_TEXT:
            raise TooLong
        return text


def _meant(probe: Json, action: str, container: Json) -> Json | None:
    """Return what the proxy is to do; ``None`` for a probe that stays as it is."""
    port = port_number(probe[action].get("port"), container)
    if not 0 < port < 65536 or probe[action].get("host") or probe[action].get("scheme") not in (None, *SCHEMES):
        return None
    timeout = {"timeoutSeconds": probe["timeoutSeconds"]} if probe.get("timeoutSeconds") else {}
    return {action: {**probe[action], "port": port}, **timeout}


def port_number(port: Any, container: Json) -> int:
    """Return the number of a port, as the kubelet finds it: by a name of the container's own. 0 is none."""
    if isinstance(port, str):
        named = {each.get("name"): each.get("containerPort") for each in container.get("ports") or ()}
        port = named.get(port) or (port if port.isascii() and port.isdigit() else 0)
    return int(port or 0)
