"""The demo's applications as Deployments, with nothing but objects that a user would write; and what they count.

Programs, names, ports and who asks whom are those of `meshtx.demo.plan`, but for the client outside of the mesh.
They find each other by the names of their Services.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from meshtx.demo.capture import Stream
from meshtx.demo.lab import wait_until
from meshtx.demo.plan import (
    BOT,
    EMOJI,
    LIST,
    LIST_ALL,
    NAMESPACE,
    SECRETS,
    SERVERS,
    VOTE,
    VOTE_ONE,
    VOTING,
    WEB,
    Workload,
    examples,
)
from meshtx.demo.verdict import Counts, Pair, Party, Verdict, judge
from meshtx.wire.address import Address
from tests.kube.kubelet import Json
from tests.kube.town import PROXY, KubeTown, Running
from tests.kube.workloads import account, deployment, namespace, service

WORKLOADS = (*SERVERS, BOT)
COUNTS = "/var/run/counts"
FOR_EVER = 10**9
"""Rounds of the bot."""
AGE = 0.5
"""Seconds after which a gRPC connection is made anew: by itself no client of emoji's would ever come to another pod."""
MORE = 5
"""Requests that are no accident."""

_LINE = re.compile(r"^\S+ req .* proxy=(in|out) .* tls=true .*:path=(\S+).* peer=(\S+)", re.MULTILINE)
_PLAIN = re.compile(r"^\S+ req (?!.* tls=true ).*$", re.MULTILINE)

Seen = tuple[str, str, str]
"""A request as a proxy has seen it: ``in`` or ``out``, its path, the other side's short name."""


class Emojivoto:
    """In a town; `apply` makes its objects, and `run` runs a pod that has come of them."""

    def __init__(self, town: KubeTown) -> None:
        self._town = town
        self.pods: dict[str, list[Running]] = {workload.name: [] for workload in WORKLOADS}
        """By the workload's name, oldest first; those that were deleted too."""

    def apply(self) -> None:
        """Make the objects."""
        self._town.apply_objects(
            namespace(NAMESPACE),
            *(account(NAMESPACE, workload.name) for workload in WORKLOADS),
            *(service(NAMESPACE, _service(server), server.name, server.port, server.port) for server in SERVERS),
            *map(_deployment, WORKLOADS),
        )

    def remove(self) -> None:
        """Delete the namespace."""
        self._town.cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")

    def address(self, server: Workload) -> Address:
        """Return where the cluster has a workload's Service."""
        path = f"/api/v1/namespaces/{NAMESPACE}/services/{_service(server)}"
        return Address.of(self._town.cluster.api.call("GET", path)["spec"]["clusterIP"], server.port)

    def place(self, server: Workload, number: int = -1) -> Address:
        """Return where a workload's pod serves, the last one or another."""
        return Address.of(self.pods[server.name][number].ip, server.port)

    def run(self, workload: Workload, replicas: int = 1, *, ready: bool = True) -> Running:
        """Run the one pod of a Deployment's that does not run yet."""
        pods = self._town.wait_for_pods(NAMESPACE, {"app": workload.name}, replicas)
        known = {running.name for running in self.pods[workload.name]}
        (new,) = [pod for pod in pods if pod["metadata"]["name"] not in known]
        running = self._town.run(new, ready=ready)
        self.pods[workload.name].append(running)
        return running

    def scale(self, workload: Workload, replicas: int) -> None:
        """Have the cluster make pods, or end some."""
        self._town.cluster.kubectl(
            "scale", f"deployment/{workload.name}", f"--replicas={replicas}", namespace=NAMESPACE
        )

    def delete(self, workload: Workload, number: int) -> float:
        """Delete a pod, which goes on running; return when that was written."""
        return self._town.delete(self.pods[workload.name][number])

    # What they count.

    def counts(self, workload: Workload, number: int = -1) -> Counts:
        """Return what a workload's pod has counted so far, the last one or another."""
        file = self._town.volume(self.pods[workload.name][number], "counts") / "counts"
        return json.loads(file.read_text()) if file.is_file() else {}

    def until_more(self, workload: Workload, request: str) -> None:
        """Wait until the last pod of a workload has served some more requests of a kind, or was answered them."""

        def count() -> int:
            return self.counts(workload).get(request, 0)

        wanted = count() + MORE
        try:
            wait_until(lambda: count() >= wanted, f"{request} at {workload.name}", 30)
        except Exception as error:
            raise AssertionError(f"{error}\n{self._state()}") from None

    def _state(self) -> str:
        """Return what may explain why something is not served."""
        running = [each for pods in self.pods.values() for each in pods]
        logs = [f"{each.name}:\n{self._town.log(each, name)[-1000:]}" for each in running for name in ("app", PROXY)]
        counted = {each.name: self.counts(each) for each in WORKLOADS if self.pods[each.name]}
        return "\n\n".join([str(counted), *logs])

    # What was seen.

    def tap(self, workload: Workload, expected: set[Seen]) -> None:
        """Tap a Deployment as a user of kubectl, until these requests were seen; all are to be mutual TLS."""
        process, said = self._town.tap(f"deploy/{workload.name}", "--namespace", NAMESPACE, "--output", "wide")
        try:
            wait_until(lambda: expected <= _seen(said.read_text()), f"{expected} in the tap", 30)
        except Exception as error:
            raise AssertionError(f"{error}:\n{said.read_text()[-4000:]}") from None
        finally:
            process.kill()
        if plain := _PLAIN.findall(said.read_text()):
            raise AssertionError("\n".join(plain))

    def end_bot(self) -> None:
        """End the bot, which does so between two rounds, so that what it counted is what was served."""
        self.pods[BOT.name][-1].end("app")

    def verdict(self, streams: Sequence[Stream]) -> Verdict:
        """Hold what was on the wire against the counts, as the demo does."""
        pods = [(workload, number) for workload in SERVERS for number in range(len(self.pods[workload.name]))]
        served = {self._party(*each).name: self.counts(*each) for each in pods}
        asked = {BOT.name: self.counts(BOT)}
        return judge(self._pairs(), streams, asked, served, SECRETS)

    def _pairs(self) -> list[Pair]:
        web = self._party(WEB)
        emoji = [self._party(EMOJI, number) for number in range(len(self.pods[EMOJI.name]))]
        return [
            Pair(self._party(BOT), web, (LIST, VOTE)),
            *(Pair(web, each, (LIST_ALL,)) for each in emoji),
            Pair(web, self._party(VOTING), (VOTE_ONE,)),
        ]

    def _party(self, workload: Workload, number: int = 0) -> Party:
        name = f"{workload.name}-{number}" if number else workload.name
        return Party(name, self.pods[workload.name][number].ip, str(workload.identity))


def _seen(lines: str) -> set[Seen]:
    """Return the requests with mutual TLS in a tap's wide lines."""
    return {(match[1], match[2], match[3]) for match in _LINE.finditer(lines)}


def _service(workload: Workload) -> str:
    return f"{workload.name}-svc"


def _deployment(workload: Workload) -> Json:
    servers = {server.name: server for server in SERVERS}
    asks = {f"{name.upper()}_HOST": servers[name] for _, name in workload.asks}
    command = ["python", str(examples() / workload.program), "--counts", f"{COUNTS}/counts"]
    for option, name in workload.asks:
        command += [option, f"$({name.upper()}_HOST)"]
    container = {
        "env": [
            {"name": name, "value": f"{_service(server)}.{NAMESPACE}:{server.port}"} for name, server in asks.items()
        ],
        "volumeMounts": [{"name": "counts", "mountPath": COUNTS}],
    }
    if workload in {EMOJI, VOTING}:
        command += ["--connection-age", str(AGE)]
    if workload.port:
        container |= {
            "ports": [{"containerPort": workload.port}],
            "readinessProbe": {"tcpSocket": {"port": workload.port}},
        }
    else:
        command += ["--rounds", str(FOR_EVER)]
    return deployment(NAMESPACE, workload.name, command, volumes=["counts"], **container)
