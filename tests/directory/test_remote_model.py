"""Whatever happens between a sidecar's directory and its service: nobody waits for ever, and in the end both agree."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from meshtx.directory.remote import TIMEOUT
from meshtx.directory.target import Meshed, NoEndpoints, NotReady, Target
from meshtx.kube.cluster import Cluster, Settings
from meshtx.kube.directory_service import DirectoryService
from meshtx.kube.objects import Pod
from meshtx.net.contexts import Contexts
from meshtx.rpc.connect import Unreachable
from meshtx.rpc.server import RpcServer
from meshtx.wire.address import Address
from meshtx.wire.network import parse_network
from tests.directory.remote_case import CA, FIRST, SECOND, RemoteCase
from tests.kube.objects import SCOPE, name, pod
from tests.net.certificates import WEB, make_leaf

THIRD = Contexts(make_leaf(CA, WEB), CA.trust)
PODS = st.integers(1, 3)
ACCOUNTS = st.sampled_from(["web", "voting", "", None])
"""``""``: not meshed; ``None``: no such pod."""
ACTIONS = st.one_of(
    st.tuples(st.just("find"), PODS),
    st.tuples(st.just("change"), PODS, ACCOUNTS),
    st.tuples(st.just("later"), st.sampled_from([0.0, 0.5, 3.0, 12.0, 70.0, 700.0])),
    st.tuples(st.just("step"), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.02, 1.0, 11.0])),
    st.tuples(st.sampled_from(["cut", "gone", "back", "renew", "restart", "drain", "flush"])),
)


class ModelTests(RemoteCase):
    most = 2

    def begin(self) -> None:
        """Have both sides begin."""
        self.pods: dict[int, Pod] = {}
        self.contexts = FIRST
        self.waiting: list[Deferred[Target]] = []
        self.restart()
        self.service.peer = name("web")
        self.service.slow = True
        self.directory.startService()

    def restart(self) -> None:
        """Put another service in the place of this one, which knows nothing of its sessions."""
        mesh = Settings(mesh=(parse_network("10.0.0.0/8"),))
        self.cluster = DirectoryService(Cluster(SCOPE, mesh), self.clock, lambda: True)
        for each in self.pods.values():
            self.cluster.changed(None, each)
        self.cluster.known()
        self.service.server = RpcServer(self.cluster.handlers(), self.clock)

    # What happens, by the name of the action.

    def do_find(self, number: int) -> None:
        self.waiting.append(self.directory.find(Address.parse(f"10.1.0.{number}:80")))

    def do_change(self, number: int, account: str | None) -> None:
        before = self.pods.pop(number, None)
        if account is not None:
            who = {"account": account} if account else {"meshed_by": ""}
            self.pods[number] = pod(f"web-{number}", f"10.1.0.{number}", **who)
        self.cluster.changed(before, self.pods.get(number))

    def do_later(self, seconds: float) -> None:
        self.later(seconds)
        self.clock.advance(0)

    def do_cut(self) -> None:
        self.lose_all()

    def do_gone(self) -> None:
        self.service.refuses = Unreachable("nobody")
        self.lose_all()

    def do_back(self) -> None:
        self.service.refuses = None

    def do_renew(self) -> None:
        self.contexts = THIRD if self.contexts is SECOND else SECOND
        self.directory.renewed()

    def do_restart(self) -> None:
        self.restart()
        self.lose_all()

    def do_drain(self) -> None:
        old = self.service.server
        self.restart()
        old.stop(1.0)

    def do_flush(self) -> None:
        self.service.flush()

    def do_step(self, number: int, from_client: bool) -> None:
        """Move what one side of one connection has said, the newest one first."""
        wires = self.service.wires[::-1]
        if wires:
            wires[number % len(wires)].step(from_client=from_client)

    def do_wait(self, seconds: float) -> None:
        """Let time pass in which nothing moves."""
        self.clock.advance(seconds)

    def lose_all(self) -> None:
        for wire in self.service.wires:
            wire.lose(ConnectionError())

    def settled(self) -> None:
        self.service.refuses = None
        self.later(120)
        for each in self.waiting:
            each.addErrback(lambda failure: failure.trap(NotReady, NoEndpoints))
            self.assertTrue(each.called)

    def agree(self, number: int) -> None:
        found = self.directory.find(Address.parse(f"10.1.0.{number}:80"))
        self.later(TIMEOUT)
        told = self.successResultOf(found).security
        there = self.pods.get(number)
        wanted = name(there.account) if there is not None and there.meshed_by else None
        self.assertEqual(told.name if isinstance(told, Meshed) else None, wanted)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(ACTIONS, max_size=40))
    def test_in_the_end_both_agree(self, actions: list[tuple[str, object]]) -> None:
        self.setUp()
        self.begin()
        for what, *details in actions:
            getattr(self, f"do_{what}")(*details)
        self.settled()
        for number in (1, 2, 3):
            self.agree(number)
        self.cluster.stop()
        self.stop()
