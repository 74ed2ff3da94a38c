from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import PeerError
from meshtx.kube.cluster import Meshed
from meshtx.kube.objects import Pod
from meshtx.kube.tap_relay import MAX_PODS, RETRY, OnEvent, TapRelay
from meshtx.pki.name import MeshScope
from meshtx.rpc.messages.tap_pb2 import Flow, Lost, TapEvent
from tests.kube.objects import ips, name, pod

OPEN = TapEvent()


class Proxies:
    """Taps of pods, by their addresses."""

    def __init__(self) -> None:
        self.open: dict[str, tuple[Deferred[None], OnEvent]] = {}
        self.asked: list[str] = []

    async def observe(self, where: Meshed, on_event: OnEvent) -> None:
        ip = str(where.ip)
        self.asked.append(ip)
        done: Deferred[None] = Deferred()
        self.open[ip] = done, on_event
        try:
            await done
        finally:
            self.open.pop(ip)


class TapRelayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.proxies = Proxies()
        self.lines: list[dict[str, Any]] = []
        self.room: Deferred[None] | None = None
        self.stopped: list[TapRelay] = []
        self.relay = TapRelay(
            self.reached, self.proxies.observe, self.add, self.clock, self.stopped.append, mesh=MeshScope()
        )
        self.addCleanup(self.assertEqual, self.clock.getDelayedCalls(), [])
        self.addCleanup(self.relay.stop)

    def reached(self, one: Pod) -> Meshed | None:
        return Meshed(one.ips[0], name("web")) if one.live and one.ips else None

    def add(self, line: bytes) -> Deferred[None] | None:
        self.lines.append(json.loads(line))
        return self.room

    def said(self) -> list[str]:
        return [f"{each['pod']}: {each['said']}" for each in self.lines if "said" in each]

    def event(self, ip: str, event: TapEvent) -> Any:
        return self.proxies.open[ip][1](event)

    def end(self, ip: str, how: Callable[[Deferred[None]], None] = lambda done: done.callback(None)) -> None:
        how(self.proxies.open[ip][0])

    def test_events_are_told_with_their_pod(self) -> None:
        self.relay.begin([pod("web-1", "10.1.0.1"), pod("web-2", "10.1.0.2")])
        self.event("10.1.0.1", OPEN)
        self.event("10.1.0.2", TapEvent(flow=Flow(id=3, src="a")))
        self.event("10.1.0.2", TapEvent(lost=Lost(count=7)))
        self.assertEqual(
            self.lines,
            [
                {"pod": "web-1", "said": "the tap is open", "mesh": "meshtx.cluster.local"},
                {"pod": "web-2", "event": {"flow": {"id": "3", "src": "a"}}},
                {"pod": "web-2", "event": {"lost": {"count": "7"}}},
            ],
        )

    def test_where_there_is_no_room_the_proxy_waits(self) -> None:
        self.relay.begin([pod()])
        self.assertIsNone(self.event("10.1.0.1", TapEvent(flow=Flow(id=1))))
        self.room = Deferred()
        self.assertIs(self.event("10.1.0.1", TapEvent(flow=Flow(id=2))), self.room)

    def test_a_pod_that_comes_is_watched_and_one_that_goes_is_not(self) -> None:
        self.relay.begin([])
        one = pod()
        self.relay.changed(None, one)
        self.assertEqual(list(self.proxies.open), ["10.1.0.1"])
        self.relay.changed(one, pod(deleting=True))
        self.assertEqual(self.proxies.asked, ["10.1.0.1"])
        self.relay.changed(one, None)
        self.assertEqual(self.proxies.open, {})
        self.assertEqual(self.said(), ["web-1: the pod is gone"])

    def test_a_pod_that_is_not_there_yet_or_any_more_is_not_watched(self) -> None:
        self.relay.begin([pod(ip=""), pod("web-2", live=False)])
        self.assertEqual(self.proxies.asked, [])
        self.relay.changed(pod(ip=""), pod())
        self.relay.changed(pod(), pod(live=False))
        self.assertEqual((self.proxies.asked, self.proxies.open), (["10.1.0.1"], {}))

    def test_one_with_another_address_is_watched_anew(self) -> None:
        self.relay.begin([pod()])
        self.relay.changed(pod(), pod(ip="10.1.0.9"))
        self.assertEqual(list(self.proxies.open), ["10.1.0.9"])

    def test_a_proxy_that_does_not_answer_is_tried_again_and_said_once(self) -> None:
        self.relay.begin([pod()])
        for wait in (1.0, 2.0, 4.0, 8.0, 16.0, RETRY[1], RETRY[1]):
            self.end("10.1.0.1", lambda done: done.errback(PeerError("nobody\nanswers")))
            self.clock.advance(wait - 0.01)
            self.assertEqual(self.proxies.open, {})
            self.clock.advance(0.01)
            self.assertEqual(list(self.proxies.open), ["10.1.0.1"])
        self.assertEqual(len(self.said()), 1)
        self.assertNotIn("\n", self.said()[0])
        self.end("10.1.0.1")
        self.assertEqual(self.said()[1], "web-1: the proxy has ended the tap")

    def test_more_pods_than_the_bound_wait_for_a_place(self) -> None:
        pods = [pod(f"web-{number}", f"10.1.1.{number}") for number in range(MAX_PODS + 2)]
        self.relay.begin(pods)
        self.assertEqual(len(self.proxies.open), MAX_PODS)
        self.assertEqual(len(self.said()), 2)
        self.relay.changed(pods[-1], None)
        self.relay.changed(pods[0], None)
        self.assertEqual(len(self.proxies.open), MAX_PODS)
        self.assertIn(str(ips(f"10.1.1.{MAX_PODS}")[0]), self.proxies.open)

    def test_stopped_it_watches_nothing(self) -> None:
        self.relay.begin([pod(), pod("web-2", "10.1.0.2")])
        self.relay.stop()
        self.assertEqual((self.proxies.open, self.stopped), ({}, [self.relay]))
        self.stopped.clear()

    def test_a_defect_is_logged_and_ends_that_pod_alone(self) -> None:
        self.relay.begin([pod(), pod("web-2", "10.1.0.2")])
        self.end("10.1.0.1", lambda done: done.errback(ZeroDivisionError()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(list(self.proxies.open), ["10.1.0.2"])
