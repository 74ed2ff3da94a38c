"""How much the directory takes of followers, and that no namespace takes it from the others."""

from __future__ import annotations

from meshtx.kube import directory_service
from meshtx.rpc.status import Status
from tests.kube.objects import SCOPE
from tests.kube.test_directory_service import FOLLOWER, DirectoryCase

ELSEWHERE, THIRD = SCOPE.name("elsewhere", "web"), SCOPE.name("third", "web")


class BoundTests(DirectoryCase):
    def setUp(self) -> None:
        self.patch(directory_service, "MAX_SESSIONS", 4)
        self.patch(directory_service, "MAX_ASKED", 3)
        self.patch(directory_service, "MAX_SUBSCRIPTIONS", 8)
        super().setUp()
        self.know()

    def test_of_sessions(self) -> None:
        first = self.follower()
        for peer in (FOLLOWER, ELSEWHERE, ELSEWHERE):
            self.follower(peer=peer)
        self.refused(Status.RESOURCE_EXHAUSTED, self.follower(peer=THIRD).running)
        first.leave()
        self.assertEqual(len(self.follower(peer=THIRD).call.sent), 1)

    def test_of_sessions_of_one_namespace(self) -> None:
        first, _ = self.follower(), self.follower(peer=SCOPE.name(FOLLOWER.namespace, "other"))
        self.refused(Status.RESOURCE_EXHAUSTED, self.follower().running)
        self.assertEqual(len(self.follower(peer=ELSEWHERE).call.sent), 1)
        first.leave()
        self.assertEqual(len(self.follower().call.sent), 1)

    def test_of_addresses_that_a_session_asks_for(self) -> None:
        follower = self.follower("10.1.0.1:1", "10.1.0.1:2", "10.1.0.1:3")
        self.refused(Status.RESOURCE_EXHAUSTED, follower.find("10.1.0.1:4"))
        follower.found("10.1.0.1:3")
        self.successResultOf(follower.forget("10.1.0.1:1"))
        follower.found("10.1.0.1:4")

    def test_of_those_that_it_knows_when_it_begins(self) -> None:
        follower = self.follower(*(f"10.1.0.1:{port}" for port in range(1, 5)))
        self.refused(Status.RESOURCE_EXHAUSTED, follower.running)
        self.assertEqual((self.service.sessions, self.service.subscriptions), (0, 0))

    def test_of_all_that_are_asked_for(self) -> None:
        for peer in (FOLLOWER, ELSEWHERE):
            self.follower("10.1.0.1:1", "10.1.0.1:2", "10.1.0.1:3", peer=peer)
        follower = self.follower("10.1.0.1:1", "10.1.0.1:2", peer=THIRD)
        self.refused(Status.RESOURCE_EXHAUSTED, follower.find("10.1.0.1:3"))

    def test_of_those_that_one_namespace_asks_for(self) -> None:
        self.follower("10.1.0.1:1", "10.1.0.1:2", "10.1.0.1:3")
        follower = self.follower("10.1.0.1:1")
        self.refused(Status.RESOURCE_EXHAUSTED, follower.find("10.1.0.1:2"))
        self.follower(peer=ELSEWHERE).found("10.1.0.1:2")
        self.successResultOf(follower.forget("10.1.0.1:1"))
        follower.found("10.1.0.1:2")

    def test_of_different_addresses(self) -> None:
        self.patch(self.service._subscriptions, "_most_addresses", 4)
        follower = self.follower("10.1.0.1:1", "10.1.0.1:2")
        self.refused(Status.RESOURCE_EXHAUSTED, follower.find("10.1.0.1:3"))
        elsewhere = self.follower("10.1.0.1:1", "10.1.0.1:3", "10.1.0.1:4", peer=ELSEWHERE)
        third = self.follower("10.1.0.1:4", peer=THIRD)
        self.refused(Status.RESOURCE_EXHAUSTED, third.find("10.1.0.1:5"))
        self.successResultOf(elsewhere.forget("10.1.0.1:3"))
        third.found("10.1.0.1:5")

    def test_of_different_addresses_each_that_is_forgotten_makes_room_for_one(self) -> None:
        self.patch(self.service._subscriptions, "_most_addresses", 4)
        follower = self.follower("10.1.0.1:1", "10.1.0.1:2")
        self.successResultOf(follower.forget("10.1.0.1:2"))
        follower.found("10.1.0.1:3")
        self.refused(Status.RESOURCE_EXHAUSTED, follower.find("10.1.0.1:4"))
        self.follower("10.1.0.1:5", "10.1.0.1:6", peer=ELSEWHERE)
        self.refused(Status.RESOURCE_EXHAUSTED, self.follower(peer=THIRD).find("10.1.0.1:7"))

    def test_of_a_pods_own_addresses(self) -> None:
        many = [f"10.1.0.{number}" for number in range(1, 18)]
        follower = self.follower(own_ips=many)
        self.refused(Status.INVALID_ARGUMENT, follower.running)
