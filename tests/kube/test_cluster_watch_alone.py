"""What follows a cluster, with an API server that a test plays."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.api_errors import ApiError, ApiForbidden, ApiUnavailable, Object, Query
from meshtx.kube.cluster_watch import NEEDED, OPTIONAL, RETRY, RULES, ClusterWatch
from meshtx.kube.directory_metrics import DirectoryMetrics
from meshtx.kube.objects import Kept, Pod
from meshtx.kube.watching import SHORT
from meshtx.observe.metrics import Metrics
from tests.kube.scripted_watch import Stream, added, bookmark, end_of_list


class PlayedApi:
    """Keeps the streams that were asked for, by path; whether there are networks of Services it says as told."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self.optional: list[ApiError | None] = [None]
        self.asked = 0

    async def get(self, path: str, **query: str | int | bool) -> Object:
        assert (path, query) == (OPTIONAL.path, {"limit": 1})
        self.asked += 1
        answer = self.optional.pop(0)
        if answer is not None:
            raise answer
        return {"items": []}

    def stream(
        self,
        path: str,
        query: Query,
        on_line: Callable[[bytes], None],
        *,
        silence: float,
        begun: Callable[[], None] = lambda: None,
    ) -> Deferred[None]:
        stream = self.streams[path] = Stream(query, on_line, silence)
        begun()
        return stream.done


class ClusterWatchAloneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.api = PlayedApi()
        self.changes: list[tuple[Kept | None, Kept | None]] = []
        self.known = 0

    def start(self) -> ClusterWatch:
        metrics = DirectoryMetrics(Metrics().registry, lambda: 0, lambda: 0)
        watch = ClusterWatch(self.api, lambda *change: self.changes.append(change), self.whole, self.clock, metrics)
        watch.startService()
        self.addCleanup(self.stop, watch)
        return watch

    def stop(self, watch: ClusterWatch) -> None:
        watch.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def whole(self) -> None:
        self.known += 1

    def complete(self, *names: str) -> None:
        for each in NEEDED:
            if each.name in names:
                self.api.streams[each.path].send(end_of_list(9))

    def test_it_is_known_once_all_that_is_needed_is_known_whole(self) -> None:
        watch = self.start()
        self.complete("pods", "nodes", "endpointslices")
        self.assertEqual((self.known, watch.ready_reason()), (0, "the cluster's services are not known yet"))
        self.complete("services")
        self.assertEqual((self.known, watch.ready_reason()), (1, None))

    def test_why_it_is_not_known_is_said(self) -> None:
        watch = self.start()
        self.complete("pods", "nodes")
        self.api.streams[NEEDED[1].path].fail(ApiUnavailable("no answer"))
        reason = "the cluster's services, endpointslices are not known yet: no answer"
        self.assertEqual(watch.ready_reason(), reason)

    def test_later_trouble_is_no_reason(self) -> None:
        watch = self.start()
        self.complete(*(each.name for each in NEEDED))
        self.api.streams[NEEDED[0].path].fail(ApiUnavailable("no answer"))
        self.assertIsNone(watch.ready_reason())

    def test_trouble_is_known_until_what_was_missed_has_come(self) -> None:
        watch = self.start()
        self.complete(*(each.name for each in NEEDED))
        self.assertTrue(watch.followed())
        self.api.streams[NEEDED[1].path].fail(ApiUnavailable("no answer"))
        self.assertFalse(watch.followed())
        self.clock.advance(30)
        self.assertFalse(watch.followed())
        self.clock.advance(SHORT)
        self.assertTrue(watch.followed())

    def test_when_one_is_followed_again_the_others_wait_no_longer(self) -> None:
        watch = self.start()
        self.complete(*(each.name for each in NEEDED))
        for each in NEEDED:
            self.api.streams[each.path].fail(ApiUnavailable("no answer"))
        first, *others = sorted(call.getTime() for call in self.clock.getDelayedCalls())
        self.assertLess(first, min(others))
        streams = dict(self.api.streams)
        self.clock.advance(first - self.clock.seconds())
        (path,) = (path for path, stream in self.api.streams.items() if stream is not streams[path])
        self.clock.advance(0)
        self.assertFalse(watch.followed())
        self.api.streams[path].send(bookmark(10))
        self.clock.advance(0)
        self.clock.advance(SHORT)
        self.assertTrue(watch.followed())

    def test_changes_are_told_as_values(self) -> None:
        self.start()
        event = added("web", 5)
        self.api.streams[NEEDED[0].path].send(event)
        self.assertEqual(self.changes, [(None, Pod.read(event["object"]))])

    def test_the_networks_of_services_are_followed_and_not_waited_for(self) -> None:
        self.start()
        self.assertIn(OPTIONAL.path, self.api.streams)
        self.complete(*(each.name for each in NEEDED))
        self.assertEqual(self.known, 1)

    def test_where_they_may_not_be_listed_they_are_not_asked_for_again(self) -> None:
        self.api.optional = [ApiForbidden("no", 403)]
        self.start()
        self.clock.advance(10 * RETRY)
        self.assertEqual((self.api.asked, OPTIONAL.path in self.api.streams), (1, False))

    def test_while_there_is_no_answer_they_are_asked_for_again(self) -> None:
        self.api.optional = [ApiUnavailable("no answer"), None]
        self.start()
        self.assertNotIn(OPTIONAL.path, self.api.streams)
        self.clock.advance(RETRY)
        self.assertIn(OPTIONAL.path, self.api.streams)

    def test_what_must_be_allowed(self) -> None:
        self.assertEqual(
            sorted(map(str, RULES)),
            sorted(
                f"{verb} {resource}"
                for verb in ("list", "watch")
                for resource in ("pods", "services", "nodes", "endpointslices.discovery.k8s.io")
            ),
        )
