"""A whole mesh of pods, from API objects alone: installed, injected, certified, discovered, seen (issue 5, bar 3)."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshtx.demo.lab import wait_until
from meshtx.demo.plan import BOT, EMOJI, LIST, LIST_ALL, NAMESPACE, SERVERS, VOTE, VOTE_ONE, VOTING, WEB
from meshtx.wire.address import Address
from tests.kube.case import started
from tests.kube.emojivoto import Emojivoto
from tests.kube.told import Told
from tests.kube.town import PROXY, KubeTown, Running
from tests.kube.workloads import account, deployment, namespace, service
from tests.mesh.town import why_not
from tests.pki.made import SCOPE

APPLICATIONS = "town"
AWAY = float(os.environ.get("MESHTX_KUBE_AWAY", "10"))
"""Seconds for which the API server is away."""
AT_ONCE = 1.0
"""Seconds in which a change reaches the proxies."""

TLS = b"\x16\x03"
"""How a connection begins that is TLS (RFC 8446, section 5.1)."""

_LINE = re.compile(r"^(\d+\.\d+) (ok|failed) (.*)$", re.MULTILINE)


class MeshTests(SynchronousTestCase):
    """One town for all, for it takes its time to build; the tests follow each other by their names.

    Two applications run in it: a caller and its responders, which say when each request was sent and who has answered
    it, and the demo's.
    """

    timeout = 600

    def test_pods_are_a_mesh_by_api_objects_alone(self) -> None:
        if reason := why_not("setpriv", "unshare", "bash"):
            if os.environ.get("MESHTX_KUBE") == "required":
                self.fail(reason)
            raise SkipTest(reason)
        self.town = KubeTown(started())
        self.addCleanup(self.town.remove)
        self.town.record()
        self.town.install()
        self._populate()
        self._the_demo_votes()
        self._a_scaled_deployment_is_known_at_once()
        self._a_deleted_pod_is_forgotten_at_once()
        self._requests_are_seen_by_the_clusters_rights()
        self._the_demos_requests_are_seen_by_the_clusters_rights()
        self._a_scaled_deployment_of_the_demo_is_known_at_once()
        self._a_deleted_pod_of_the_demo_is_forgotten_at_once()
        self._traffic_goes_on_without_the_api_server()
        self._nothing_was_missed_meanwhile()
        self._changes_reach_the_demo_again()
        self._all_was_mutual_tls()

    def _populate(self) -> None:
        town = self.town
        town.apply_objects(
            namespace(APPLICATIONS),
            *(account(APPLICATIONS, name) for name in ("server", "client")),
            service(APPLICATIONS, "server", "server", 80, 8080),
        )
        self.addCleanup(town.cluster.kubectl, "delete", "namespace", APPLICATIONS, "--wait=false")
        serve = ["python", "-m", "tests.kube.responder", "8080", "$(POD)"]
        ask = ["python", "-m", "tests.kube.caller", f"server.{APPLICATIONS}", "80"]
        town.apply_objects(
            deployment(
                APPLICATIONS,
                "server",
                serve,
                replicas=2,
                env=[{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                ports=[{"containerPort": 8080}],
                readinessProbe={"httpGet": {"port": 8080, "path": "/who"}},
            ),
            deployment(APPLICATIONS, "client", ask),
        )
        self.servers = [town.run(pod) for pod in town.wait_for_pods(APPLICATIONS, {"app": "server"}, 2)]
        (client,) = town.wait_for_pods(APPLICATIONS, {"app": "client"}, 1)
        self.client = town.run(client)
        made = town.cluster.api.call("GET", f"/api/v1/namespaces/{APPLICATIONS}/services/server")
        self.server = Address.of(made["spec"]["clusterIP"], 80)
        self._until_answered_by(*self.servers)

    def _the_demo_votes(self) -> None:
        self.demo = demo = Emojivoto(self.town)
        demo.apply()
        self.addCleanup(demo.remove)
        self.emoji = demo.address(EMOJI)
        services = [self.server, *map(demo.address, SERVERS)]
        pods = [Address.of(f"10.1.0.{last}", port) for last in range(2, 30) for port in (80, 8080)]
        self.told = Told(self.town, SCOPE.name(NAMESPACE, "told"), (*services, *pods))
        for server in SERVERS:
            demo.run(server)
            self.told.until_reached(demo.address(server), [demo.place(server)])
        demo.run(BOT)
        demo.until_more(BOT, LIST)
        demo.until_more(VOTING, VOTE_ONE)

    def _the_demos_requests_are_seen_by_the_clusters_rights(self) -> None:
        emoji, voting, web, bot = (f"{each.name}.{NAMESPACE}" for each in (EMOJI, VOTING, WEB, BOT))
        listed, voted = "/emojivoto.v1.EmojiService/ListAll", "/emojivoto.v1.VotingService/Vote"
        asked = {("in", "/api/list", bot), ("in", "/api/vote", bot), ("out", listed, emoji), ("out", voted, voting)}
        self.demo.tap(WEB, asked)
        self.demo.tap(EMOJI, {("in", listed, web)})

    def _a_scaled_deployment_of_the_demo_is_known_at_once(self) -> None:
        demo = self.demo
        demo.scale(EMOJI, 2)
        running = demo.run(EMOJI, 2, ready=False)
        written = self.town.tell_ready(running)
        told = self.told.until_reached(self.emoji, [demo.place(EMOJI, 0), demo.place(EMOJI, 1)])
        self.assertLess(told - written, AT_ONCE)
        demo.until_more(EMOJI, LIST_ALL)

    def _a_deleted_pod_of_the_demo_is_forgotten_at_once(self, number: int = 0) -> None:
        """Delete one of emoji's two pods; calls go to the other one, and the bot notices nothing."""
        demo = self.demo
        written = demo.delete(EMOJI, number)
        self.assertLess(self.told.until_reached(self.emoji, [demo.place(EMOJI)]) - written, AT_ONCE)
        demo.until_more(EMOJI, LIST_ALL)  # web has one connection for its calls: if these go here, none go there
        served = demo.counts(EMOJI, number)
        demo.until_more(EMOJI, LIST_ALL)
        self.assertEqual(demo.counts(EMOJI, number), served)
        demo.pods[EMOJI.name][number].end("app")
        demo.until_more(BOT, LIST)
        self.assertNotIn("failed", demo.counts(BOT))

    def _changes_reach_the_demo_again(self) -> None:
        """A pod more and one less reach its proxies, and the directory knows nothing but what is."""
        self.demo.run(EMOJI, 2)
        self.told.until_reached(self.emoji, [self.demo.place(EMOJI, 1), self.demo.place(EMOJI, 2)])
        self._a_deleted_pod_of_the_demo_is_forgotten_at_once(1)
        self.told.until_all_is_known()

    def _all_was_mutual_tls(self) -> None:
        """See what was on the wire, without asking any proxy."""
        self.assertEqual(self._failed(), [])
        self.client.stop()  # the recording ends once nothing comes any more
        self.demo.end_bot()
        streams = self.town.recorded()
        verdict = self.demo.verdict(streams)
        self.assertTrue(verdict.good, verdict)
        servers = {running.ip for running in self.servers}
        asked = [each for each in streams if each.client.host == self.client.ip and each.server.host in servers]
        self.assertGreater(len(asked), 0)
        for each in asked:
            self.assertEqual((each.server.port, each.sent[:2]), (4143, TLS), each.server)
        for secret in (b"GET /who", b"HTTP/1.1 200", b"eyJhbGciOi"):  # the last: how every token begins
            self.assertEqual([each for each in streams if secret in each.sent + each.received], [])

    def _a_scaled_deployment_is_known_at_once(self) -> None:
        self.town.cluster.kubectl("scale", "deployment/server", "--replicas=3", namespace=APPLICATIONS)
        pods = self.town.wait_for_pods(APPLICATIONS, {"app": "server"}, 3)
        known = {running.name for running in self.servers}
        (new,) = [pod for pod in pods if pod["metadata"]["name"] not in known]
        running = self.town.run(new, ready=False)
        self.servers.append(running)
        written = self.town.tell_ready(running)
        self._until_answered_by(running)
        first = next(when for when, _, who in self._lines() if who == running.name)
        self.assertLess(first - written, AT_ONCE)

    def _a_deleted_pod_is_forgotten_at_once(self) -> None:
        gone = self.servers.pop(0)
        written = self.town.delete(gone)
        time.sleep(2 * AT_ONCE)  # what is shown is that nothing comes any more
        late = [when - written for when, _, who in self._lines() if who == gone.name and when > written + AT_ONCE]
        self.assertEqual(late, [])
        gone.stop()

    def _requests_are_seen_by_the_clusters_rights(self) -> None:
        process, said = self.town.tap("deploy/server", "--namespace", APPLICATIONS)
        self.addCleanup(process.kill)
        seen = r"(?m)^req .*proxy=in .* tls=true .*:path=/who"
        try:
            wait_until(lambda: re.search(seen, said.read_text()) is not None, "a request in the tap", 30)
        except Exception as error:
            raise AssertionError(f"{error}:\n{said.read_text()[-2000:]}") from None

    def _traffic_goes_on_without_the_api_server(self) -> None:
        begun, votes = time.time(), self.demo.counts(BOT)[VOTE]
        self.town.cluster.stop_api()
        time.sleep(AWAY)
        self.assertGreater(self.demo.counts(BOT)[VOTE] - votes, AWAY * 2)
        self.assertNotIn("failed", self.demo.counts(BOT))
        self.town.cluster.start_api()
        self._gone = self.servers.pop(0)
        self.town.delete(self._gone)  # no watch hears of it: each tries again after 30 s at most, and has to list anew
        self.assertGreater(len([line for line in self._lines() if line[0] > begun]), AWAY * 2)
        self.assertEqual(self._failed(), [])

    def _nothing_was_missed_meanwhile(self) -> None:
        """Pods that came and went before the watches have resumed are known as they are."""
        pods = self.town.wait_for_pods(APPLICATIONS, {"app": "server"}, 3)  # those that were deleted have successors
        known = {running.name for running in self.servers}
        new, *_ = [pod for pod in pods if pod["metadata"]["name"] not in known]
        self.servers.append(self.town.run(new))
        self.told.until_reached(self.server, [Address.of(running.ip, 8080) for running in self.servers], seconds=90)
        self.told.until_all_is_known()
        self._gone.stop()
        self._until_answered_by(*self.servers)

    def _lines(self) -> Iterator[tuple[float, str, str]]:
        for match in _LINE.finditer(self.town.log(self.client, "app")):
            yield float(match[1]), match[2], match[3]

    def _failed(self) -> list[tuple[float, str, str]]:
        return [line for line in self._lines() if line[1] != "ok"]

    def _until_answered_by(self, *servers: Running, seconds: float = 30) -> None:
        wanted = {running.name for running in servers}
        begun = time.time()

        def answered() -> bool:
            return wanted <= {who for when, how, who in self._lines() if how == "ok" and when > begun - AT_ONCE}

        try:
            wait_until(answered, f"an answer by {', '.join(wanted)}", seconds)
        except Exception as error:
            raise AssertionError(f"{error}\n{self._state()}") from None

    def _state(self) -> str:
        """Return what may explain why a pod is not known."""
        town = self.town
        path = f"/apis/discovery.k8s.io/v1/namespaces/{APPLICATIONS}/endpointslices"
        slices = [each["endpoints"] for each in town.cluster.api.call("GET", path)["items"]]
        directory = next(each for each in town.pods.values() if each.name.startswith("meshtx-directory"))
        logs = (town.log(self.client, "app")[-500:], town.log(self.client, PROXY), town.log(directory, "directory"))
        return "\n\n".join([json.dumps(slices, indent=1), *(log[-3000:] for log in logs)])
