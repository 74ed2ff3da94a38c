"""What followers of the directory are told, and when; the bounds; who may ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.directory.messages import endpoint as endpoint_message
from meshtx.kube import directory_service
from meshtx.kube.cluster import Cluster, Settings
from meshtx.kube.directory_messages import answer_message, ranges_message, table_message
from meshtx.kube.directory_service import BATCH, DirectoryService
from meshtx.kube.objects import Kept
from meshtx.pki.name import MeshScope, Name
from meshtx.rpc.messages.directory_pb2 import (
    Answer,
    Endpoint,
    FindRequest,
    FollowRequest,
    ForgetRequest,
    Forgotten,
    HiddenPort,
    Update,
)
from meshtx.rpc.status import RpcError, Status
from meshtx.wire.network import parse_network
from tests.kube.fake_call import FakeCall
from tests.kube.objects import SCOPE, address, endpoint, ips, name, node, piece, pod, service

WEB, VIP = "10.1.0.1:8080", "10.96.0.1:80"
TURN = 0.001
OWN, FOLLOWER = "10.1.0.99", name("web")
STRANGER = MeshScope("linkerd").name("shop", "web")


class TurnClock(Clock):
    """A clock on which a later turn is later: one millisecond."""

    def callLater(self, when: float, what: Callable[..., object], *args: Any, **kw: Any) -> IDelayedCall:
        return super().callLater(max(when, TURN), what, *args, **kw)


class Follower:
    """One sidecar."""

    def __init__(self, case: DirectoryCase, peer: Name | None, known: Iterable[str], own_ips: Iterable[str]) -> None:
        self.case = case
        self.call = FakeCall(peer)
        request = FollowRequest(
            own_ips=[ip.packed for ip in ips(*own_ips)], known=[endpoint_message(address(each)) for each in known]
        )
        self.running: Deferred[None] = ensureDeferred(case.service.follow(request, self.call))
        case.addCleanup(self.leave)

    def leave(self) -> None:
        self.running.cancel()
        self.running.addErrback(lambda _: None)

    @property
    def session(self) -> str:
        return self.call.sent[0].table.session

    def find(self, text: str, *, peer: Name | None = None) -> Deferred[Answer]:
        request = FindRequest(session=self.session, address=endpoint_message(address(text)))
        return ensureDeferred(self.case.service.find(request, FakeCall(peer or self.call.peer)))

    def found(self, text: str) -> Answer:
        return self.case.successResultOf(self.find(text))

    def forget(self, *texts: str) -> Deferred[Forgotten]:
        addresses = [endpoint_message(address(text)) for text in texts]
        request = ForgetRequest(session=self.session, addresses=addresses)
        return ensureDeferred(self.case.service.forget(request, self.call))

    def told(self) -> list[Update]:
        """Return what it was told since the last look."""
        sent, self.call.sent = self.call.sent[1:], self.call.sent[:1]
        return sent


class DirectoryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = TurnClock()
        self.cluster = Cluster(SCOPE, Settings(mesh=(parse_network("10.0.0.0/8"),)))
        self.followed = True
        self.service = DirectoryService(self.cluster, self.clock, lambda: self.followed)

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [], "a timer is left behind")

    def know(self, *objects: Kept) -> None:
        """Let the first sync end with these."""
        for each in objects:
            self.service.changed(None, each)
        self.service.known()
        self.clock.advance(TURN)

    def change(self, before: Kept | None, after: Kept | None) -> None:
        """Change an object, and let followers be told."""
        self.service.changed(before, after)
        self.clock.advance(BATCH)
        while self.clock.getDelayedCalls():
            self.clock.advance(TURN)

    def follower(self, *known: str, peer: Name | None = FOLLOWER, own_ips: Iterable[str] = (OWN,)) -> Follower:
        return Follower(self, peer, known, own_ips)

    def answer(self, text: str) -> Update:
        """Return the message of the present answer."""
        return Update(answer=answer_message(self.cluster.answer(address(text))))

    def table(self, follower: Follower) -> Update:
        """Return the message of the present table."""
        own = self.cluster.own_ports(ips(OWN), FOLLOWER)
        return Update(table=table_message(follower.session, ranges_message(self.cluster.ranges), own))

    def refused(self, status: Status, call: Deferred[Any]) -> None:
        """Check that a call has ended with this status."""
        self.assertEqual(self.failureResultOf(call, RpcError).value.status, status)


class FollowTests(DirectoryCase):
    def test_the_table_comes_first_then_an_answer_for_each_address_that_is_known(self) -> None:
        self.know(pod(), service(), piece(endpoint()))
        follower = self.follower(WEB, VIP)
        self.assertEqual(follower.call.sent, [self.table(follower), self.answer(WEB), self.answer(VIP)])

    def test_before_the_cluster_is_known_whole_nobody_is_told_anything(self) -> None:
        follower = self.follower(WEB)
        self.service.changed(None, pod())
        self.clock.advance(60)
        self.assertEqual(follower.call.sent, [])
        self.know()
        self.assertEqual(follower.call.sent, [self.table(follower), self.answer(WEB)])

    def test_changes_come_by_themselves(self) -> None:
        self.know(pod())
        follower = self.follower(WEB)
        follower.told()
        self.change(pod(), pod(account="else"))
        self.assertEqual(follower.told(), [self.answer(WEB)])

    def test_changes_of_a_moment_come_together(self) -> None:
        self.know(pod())
        follower = self.follower(WEB)
        follower.told()
        for before, after in ((pod(), None), (None, pod(account="b")), (pod(account="b"), pod(account="c"))):
            self.service.changed(before, after)
        self.clock.advance(BATCH)
        self.assertEqual(follower.told(), [self.answer(WEB)])

    def test_a_change_that_leaves_the_answer_the_same_is_not_told(self) -> None:
        self.know(pod())
        follower = self.follower(WEB)
        follower.told()
        self.change(pod(), pod(started="2026-11-25T13:00:00Z"))
        self.assertEqual(follower.told(), [])

    def test_what_nobody_has_asked_for_wakes_nobody(self) -> None:
        self.know(pod())
        follower = self.follower()
        self.service.changed(None, pod("web-2", "10.1.0.2"))
        self.assertEqual((self.clock.getDelayedCalls(), follower.told()), ([], []))

    def test_of_what_is_asked_for_only_what_a_change_touches_is_looked_at(self) -> None:
        self.know(pod(), service(), piece(endpoint()))
        self.follower(VIP, *(f"10.1.{each // 250}.{each % 250 + 1}:8080" for each in range(1000)))
        looked, answer = [], self.cluster.answer
        self.patch(self.cluster, "answer", lambda where: looked.append(str(where)) or answer(where))
        self.change(pod(), None)
        self.assertEqual(set(looked), {WEB, VIP})

    def test_another_table_comes_whole(self) -> None:
        self.know(pod())
        follower = self.follower()
        self.change(None, node())
        self.assertEqual(follower.told(), [self.table(follower)])

    def test_another_word_of_its_own_ports_is_another_table(self) -> None:
        self.know()
        follower = self.follower()
        self.change(None, pod(ip=OWN, skip=(range(9100, 9101),)))
        [update] = follower.told()
        self.assertEqual(update, self.table(follower))
        self.assertEqual(
            [(each.first, each.last) for each in update.table.own_skip_inbound], [(9100, 9100), (4190, 4191)]
        )

    def test_of_another_accounts_pod_nothing_is_told(self) -> None:
        self.know(pod(ip=OWN, skip=(range(9100, 9101),)), service(hides=True), piece(endpoint(OWN)))
        table = self.follower(peer=name("voting")).call.sent[0].table
        self.assertEqual((list(table.own_skip_inbound), list(table.own_hidden)), ([], []))

    def test_a_service_that_comes_to_hide_clients_or_to_hide_none_is_told_its_pods_alone(self) -> None:
        self.know(pod(ip=OWN), pod("web-2", "10.1.0.2"), service(), piece(endpoint(OWN)))
        behind, aside = self.follower(), self.follower(own_ips=["10.1.0.2"])
        for before, after, ports in (
            (service(), service(hides=True), [HiddenPort(port=8080, service="shop/web")]),
            (service(hides=True), service(), []),
        ):
            self.change(before, after)
            [update] = behind.told()
            self.assertEqual((update, list(update.table.own_hidden)), (self.table(behind), ports))
        self.assertEqual(aside.told(), [])

    def test_each_has_a_session_of_its_own_that_nobody_can_guess(self) -> None:
        self.know()
        names = {self.follower().session for _ in range(10)}
        self.assertEqual((len(names), min(map(len, names)) > 20), (10, True))

    def test_who_goes_leaves_nothing(self) -> None:
        self.know(pod())
        followers = [self.follower(WEB), self.follower(WEB)]
        followers[0].found(VIP)
        self.assertEqual((self.service.sessions, self.service.subscriptions), (2, 3))
        for each in followers:
            each.leave()
        self.assertEqual((self.service.sessions, self.service.subscriptions), (0, 0))
        self.service.changed(pod(), None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_goes_before_the_first_table_leaves_nothing(self) -> None:
        self.follower(WEB).leave()
        self.assertEqual(self.service.sessions, 0)
        self.know()

    def test_who_goes_while_it_is_being_woken_is_not(self) -> None:
        self.know(pod())
        gone, there = self.follower(WEB), self.follower(WEB)
        there.told()
        self.service.changed(pod(), None)
        gone.leave()
        self.clock.advance(BATCH)
        self.assertEqual(there.told(), [self.answer(WEB)])

    def test_when_it_stops_all_are_told_to_follow_another(self) -> None:
        early = self.follower()
        self.know(pod())
        followers = [early, self.follower(WEB), self.follower(WEB)]
        self.service.changed(pod(), None)
        self.service.stop()
        for each in followers:
            self.refused(Status.UNAVAILABLE, each.running)
        self.assertEqual(self.service.sessions, 0)

    def test_when_it_stops_before_the_first_table_nobody_waits_on(self) -> None:
        follower = self.follower()
        self.service.stop()
        self.refused(Status.UNAVAILABLE, follower.running)


class SlowTests(DirectoryCase):
    def test_who_reads_slowly_gets_the_newest_answer_once_and_holds_nobody(self) -> None:
        self.know(pod())
        slow, quick = self.follower(WEB), self.follower(WEB)
        slow.told(), quick.told()
        slow.call.full = Deferred()
        accounts = ["web", *(f"a{number}" for number in range(50))]
        for before, after in pairwise(accounts):
            self.change(pod(account=before), pod(account=after))
        self.assertEqual(len(quick.told()), 50)
        slow.call.read()
        self.assertEqual(slow.told(), [self.answer(WEB)])

    def test_many_are_woken_in_turns(self) -> None:
        self.patch(directory_service, "A_TURN", 2)
        self.know(pod())
        followers = [self.follower(WEB) for _ in range(5)]
        for each in followers:
            each.told()
        self.service.changed(pod(), None)
        counts = []
        for seconds in (BATCH, TURN, TURN):
            self.clock.advance(seconds)
            counts.append(sum(bool(each.call.sent[1:]) for each in followers))
        self.assertEqual(counts, [2, 4, 5])

    def test_many_addresses_are_looked_at_in_turns(self) -> None:
        self.patch(directory_service, "A_TURN", 2)
        self.know(pod())
        follower = self.follower(*(f"10.1.0.1:{port}" for port in range(8000, 8005)))
        follower.told()
        self.service.changed(pod(), None)
        counts = []
        for seconds in (BATCH, TURN, TURN):
            self.clock.advance(seconds)
            counts.append(len(follower.call.sent) - 1)
        self.assertEqual(counts, [2, 4, 5])


class FindTests(DirectoryCase):
    def setUp(self) -> None:
        super().setUp()
        self.know(pod(), service(), piece(endpoint()))
        self.asking = self.follower()

    def test_it_is_answered_and_from_then_on_its_changes_come(self) -> None:
        self.assertEqual(self.asking.found(WEB), self.answer(WEB).answer)
        self.assertEqual(self.asking.told(), [])
        self.change(pod(), None)
        self.assertEqual(self.asking.told(), [self.answer(WEB)])

    def test_while_changes_do_not_come_it_is_not_known_who_has_what_nobody_had(self) -> None:
        self.followed = False
        self.refused(Status.UNAVAILABLE, self.asking.find("10.1.0.9:8080"))
        for where in (WEB, VIP, "10.96.0.1:81"):
            self.assertEqual(self.asking.found(where), self.answer(where).answer)

    def test_asking_twice_subscribes_once(self) -> None:
        self.asking.found(WEB)
        self.asking.found(WEB)
        self.assertEqual(self.service.subscriptions, 1)

    def test_a_change_behind_a_service_comes_at_its_address(self) -> None:
        self.asking.found(VIP)
        self.change(piece(endpoint()), piece())
        self.assertEqual(self.asking.told(), [self.answer(VIP)])

    def test_what_is_forgotten_is_not_told(self) -> None:
        self.asking.found(WEB)
        self.asking.found(VIP)
        self.successResultOf(self.asking.forget(WEB, "10.9.9.9:1"))
        self.change(pod(), None)
        self.assertEqual(self.asking.told(), [self.answer(VIP)])

    def test_what_is_forgotten_while_it_waits_is_not_told(self) -> None:
        self.asking.found(WEB)
        self.asking.found(VIP)
        self.asking.call.full = Deferred()
        self.change(None, node())
        self.change(pod(), None)
        self.successResultOf(self.asking.forget(WEB))
        self.asking.call.read()
        self.assertEqual(self.asking.told(), [self.table(self.asking), self.answer(VIP)])

    def test_without_such_a_session_it_is_to_be_followed_anew(self) -> None:
        self.asking.leave()
        for call in (self.asking.find(WEB), self.asking.forget(WEB)):
            self.refused(Status.FAILED_PRECONDITION, call)

    def test_anothers_session_is_none(self) -> None:
        self.refused(Status.FAILED_PRECONDITION, self.asking.find(WEB, peer=name("voting")))

    def test_what_is_no_address_is_refused(self) -> None:
        for where in (Endpoint(ip=b"123", port=80), Endpoint(ip=b"\n\1\0\1"), Endpoint(ip=b"\n\1\0\1", port=65536)):
            request = FindRequest(session=self.asking.session, address=where)
            finding = ensureDeferred(self.service.find(request, self.asking.call))
            self.refused(Status.INVALID_ARGUMENT, finding)


class PermittedTests(DirectoryCase):
    def test_who_has_no_name_or_one_of_another_mesh_is_told_nothing(self) -> None:
        self.know()
        for peer, status in ((None, Status.UNAUTHENTICATED), (STRANGER, Status.PERMISSION_DENIED)):
            follower = self.follower(peer=peer)
            self.refused(status, follower.running)
            self.assertEqual(follower.call.sent, [])
