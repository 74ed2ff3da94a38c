"""A watch of a real API server, with trouble between: whatever happens, the store is in the end what a full list says.

Time limits and waits are on a clock that the test moves; only the server's own are real.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor

from meshtx.kube.api import KubeApi, Object
from meshtx.kube.watching import Change, Turn, Watched
from tests.kube.case import KubeTestCase
from tests.kube.fault_proxy import FaultProxy, Refusal
from tests.kube.stepped_reactor import SteppedReactor

FIRST_WAIT = 0.4
"""Seconds after the first failure, with the dice of these tests."""


def data_of(found: Object) -> dict[str, str]:
    data: dict[str, str] = found.get("data", {})
    return data


class WatchCase(KubeTestCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.path = f"/api/v1/namespaces/{self.namespace}/configmaps"
        await self.wait_for(f"{self.path}/kube-root-ca.crt")
        await self.make(a="1", b="1", c="1")
        self.changes: list[Change[dict[str, str]]] = []
        self.turns: list[Turn] = []

    def watch(self, api: KubeApi, clock: Any, dice: float) -> Watched[dict[str, str]]:
        self.addCleanup(api.close)
        watched = Watched(
            api, self.path, data_of, self.changes.append, clock, rng=lambda: dice, turned=self.turns.append
        )
        watched.startService()
        self.addCleanup(watched.stopService)
        return watched

    async def make(self, **values: str) -> None:
        for name, value in values.items():
            await self.call("POST", self.path, {"metadata": {"name": name}, "data": {"value": value}})

    async def change(self, **values: str) -> None:
        for name, value in values.items():
            await self.call("PATCH", f"{self.path}/{name}", {"data": {"value": value}}, kind="merge")

    async def remove(self, name: str) -> None:
        await self.call("DELETE", f"{self.path}/{name}")

    async def truth(self) -> dict[str, dict[str, str]]:
        found = await self.call("GET", self.path)
        return {f"{self.namespace}/{each['metadata']['name']}": data_of(each) for each in found["items"]}

    async def assert_complete(self, watched: Watched[dict[str, str]]) -> None:
        """Wait until the store is what a full list says, and see that the changes lead there."""

        async def complete() -> bool:
            return watched.store == await self.truth()

        await self.wait_until(complete, what="the store to be what a full list says")
        replayed: dict[str, dict[str, str]] = {}
        for change in self.changes:
            self.assertEqual(replayed.get(change.key), change.before)
            self.assertNotEqual(change.before, change.after)
            replayed[change.key] = change.after or {}
            if change.after is None:
                del replayed[change.key]
        self.assertEqual(replayed, watched.store)


class TestTrouble(WatchCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.proxy = FaultProxy(self.api.config)
        self.addCleanup(self.proxy.close)
        self.reactor = SteppedReactor()
        self.clock = self.reactor.clock
        self.watched = self.watch(KubeApi(self.reactor, self.proxy.client_config), self.clock, 0.5)
        await self.until(lambda: self.watched.synced, "the first list")
        await self.assert_complete(self.watched)
        self.listed = self.proxy.last

    async def until(self, fact: Any, what: str) -> None:
        await self.wait_until(fact, what=what)

    async def fails(self, count: int = 1) -> None:
        """Wait until the watch has failed so many times, and so waits."""
        await self.until(lambda: len([each for each in self.turns if each is Turn.FAILED]) == count, "a failure")

    def of(self, name: str) -> list[tuple[str | None, str | None]]:
        """Return the values that an object went through."""
        key = f"{self.namespace}/{name}"
        ends = [(each.before, each.after) for each in self.changes if each.key == key]
        return [(before and before["value"], after and after["value"]) for before, after in ends]  # type: ignore[misc]

    async def test_without_trouble_the_list_and_all_changes_come_in_one_stream(self) -> None:
        await self.make(d="1")
        await self.change(a="2")
        await self.remove("b")
        await self.assert_complete(self.watched)
        self.assertEqual([self.of(name) for name in "abcd"], [
            [(None, "1"), ("1", "2")], [(None, "1"), ("1", None)], [(None, "1")], [(None, "1")],
        ])  # fmt: skip
        self.assertEqual((self.proxy.requests, self.turns), ([self.listed], [Turn.SYNCED]))

    async def test_a_version_that_is_too_old_is_listed_again_and_nothing_is_missed(self) -> None:
        self.listed.report(410)
        await self.until(lambda: Turn.EXPIRED in self.turns, "the error")
        await self.remove("a")
        await self.change(b="2")
        await self.make(d="1")
        self.assertEqual(len(self.watched.store), 4)
        self.clock.advance(FIRST_WAIT)
        await self.until(lambda: self.turns[-1] is Turn.SYNCED, "the second list")
        await self.assert_complete(self.watched)
        self.assertEqual([self.of(name) for name in "abcd"], [
            [(None, "1"), ("1", None)], [(None, "1"), ("1", "2")], [(None, "1")], [(None, "1")],
        ])  # fmt: skip

    async def test_what_the_api_server_itself_finds_too_old_is_listed_again(self) -> None:
        """After its start it knows no change that is older."""
        self.stop_api()
        await self.fails()
        await self.start_api()
        await self.change(a="2")
        self.proxy.overrides["resourceVersion"] = "1"
        self.clock.advance(FIRST_WAIT)
        await self.until(lambda: Turn.EXPIRED in self.turns, "the API server's error")
        self.clock.advance(30)
        await self.assert_complete(self.watched)
        self.assertEqual(self.of("a"), [(None, "1"), ("1", "2")])

    async def test_a_bookmark_moves_the_version_from_which_it_goes_on(self) -> None:
        """The API server sends one about two seconds before the end of a watch."""
        self.proxy.overrides["timeoutSeconds"] = "4"
        self.listed.reset()
        await self.fails()
        self.clock.advance(FIRST_WAIT)
        await self.until(lambda: len(self.proxy.requests) == 2, "the second watch")
        second = self.proxy.last
        for number in range(5):  # elsewhere: this watch sees nothing of it
            await self.call(
                "POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"generateName": f"n{number}"}}
            )
        await self.until(lambda: len(self.proxy.requests) == 3, "the third watch")
        self.assertGreaterEqual(second.lines, 1)
        self.assertEqual(len(self.changes), 4)  # those of the list: what came since were bookmarks
        self.assertGreater(int(self.proxy.last.query["resourceVersion"]), int(second.query["resourceVersion"]))
        await self.change(a="2")
        await self.assert_complete(self.watched)

    async def assert_a_cut_line_is_read_again(self, *, in_order: bool) -> None:
        self.listed.cut_in_the_next_line(in_order=in_order)
        await self.change(a="2")
        await self.fails()
        self.assertEqual(self.of("a"), [(None, "1")])
        self.clock.advance(FIRST_WAIT)
        await self.assert_complete(self.watched)
        self.assertEqual(self.of("a"), [(None, "1"), ("1", "2")])
        self.assertEqual(self.turns, [Turn.SYNCED, Turn.FAILED])

    async def test_a_line_that_a_reset_cuts_is_read_again(self) -> None:
        await self.assert_a_cut_line_is_read_again(in_order=False)

    async def test_a_line_that_the_end_of_the_answer_cuts_is_read_again(self) -> None:
        await self.assert_a_cut_line_is_read_again(in_order=True)

    async def test_too_many_requests_wait_as_long_as_the_server_says(self) -> None:
        self.proxy.refusals.append(Refusal(429, {"Retry-After": "7"}))
        self.listed.reset()
        await self.fails()
        await self.change(a="2")
        await self.remove("b")
        self.clock.advance(FIRST_WAIT)
        await self.fails(2)
        self.clock.advance(7)
        self.assertEqual(len(self.proxy.requests), 2)
        self.clock.advance(2 * FIRST_WAIT)
        await self.until(lambda: len(self.proxy.requests) == 3, "the third request")
        await self.assert_complete(self.watched)
        self.assertEqual(self.turns, [Turn.SYNCED, Turn.FAILED, Turn.FAILED])

    async def test_a_dead_connection_is_given_up_half_a_minute_after_the_watch_was_to_end(self) -> None:
        life = int(self.listed.query["timeoutSeconds"])
        self.listed.freeze()
        await self.change(a="2")
        await self.remove("b")
        self.clock.advance(life + 29)
        self.assertEqual((self.turns, self.listed.gone), ([Turn.SYNCED], False))
        self.clock.advance(1)
        await self.fails()
        await self.until(lambda: self.listed.gone, "the client to leave")
        self.clock.advance(FIRST_WAIT)
        await self.assert_complete(self.watched)

    async def test_a_server_without_streaming_lists_is_asked_for_pages(self) -> None:
        self.proxy.refusals.append(Refusal(422))
        self.proxy.overrides["limit"] = "2"
        self.listed.report(410)
        await self.until(lambda: Turn.EXPIRED in self.turns, "the error")
        await self.remove("a")
        await self.make(d="1", e="1", f="1")
        self.clock.advance(FIRST_WAIT)
        await self.until(lambda: self.turns[-1] is Turn.SYNCED, "the second list")
        await self.assert_complete(self.watched)
        pages = [each for each in self.proxy.requests if "limit" in each.query]
        self.assertEqual(["continue" in each.query for each in pages], [False, True, True])
        await self.change(b="2")
        await self.assert_complete(self.watched)


class TestRestart(WatchCase):
    async def test_a_watch_outlives_its_api_server(self) -> None:
        watched = self.watch(self.api, reactor, 0.1)
        await watched.first
        self.stop_api()
        await self.wait_until(lambda: Turn.FAILED in self.turns, what="the failure")
        self.assertEqual(len(watched.store), 4)
        await self.start_api()
        await self.remove("a")
        await self.change(b="2")
        await self.make(d="1")
        await self.assert_complete(watched)
        self.assertIsNone(watched.problem)
