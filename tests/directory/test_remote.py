"""The directory that a service serves: what is answered from where."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.logger import capturedLogs, formatEvent
from zope.interface.verify import verifyObject

from meshtx.directory import remote
from meshtx.directory.remote import SWEEP, UNUSED
from meshtx.directory.target import NoEndpoints, PortFacts, Target
from meshtx.interfaces import IDirectory
from meshtx.rpc.connect import Unreachable
from meshtx.rpc.messages import directory_pb2 as pb
from meshtx.rpc.status import RpcError, Status
from meshtx.wire.address import Address, parse_ip
from tests.directory.remote_case import FIRST, PLAIN, RemoteCase, meshed, plain
from tests.directory.scripted import LOCAL
from tests.directory.told import EMOJI, VOTING, backend, network, service, table, workload


class FirstTableTests(RemoteCase):
    def test_it_is_a_directory(self) -> None:
        verifyObject(IDirectory, self.directory)

    def test_before_it_everything_waits(self) -> None:
        self.service.tables, first = [], self.service.tables[0]
        self.service.answers["10.1.0.2:80"] = workload("10.1.0.2:80")
        self.start()
        inside, outside = self.find("10.1.0.2:80"), self.find("192.0.2.1:80")
        self.assertNoResult(inside)
        self.assertNoResult(outside)
        self.assertEqual((self.directory.ready, self.service.asked), (False, []))
        self.stream.send(first)
        self.assertEqual(self.successResultOf(inside), meshed("10.1.0.2:80"))
        self.assertEqual(self.successResultOf(outside), plain("192.0.2.1:80"))
        self.assertTrue(self.directory.ready)

    def test_while_the_service_cannot_be_reached_too(self) -> None:
        """How long is the caller's to say."""
        self.service.refuses = Unreachable("the host name directory has no address")
        self.directory.startService()
        waiting = self.find("10.1.0.2:80")
        self.later()
        self.assertNoResult(waiting)
        self.service.refuses = None
        self.service.answers["10.1.0.2:80"] = workload("10.1.0.2:80")
        self.later()
        self.assertEqual(self.successResultOf(waiting), meshed("10.1.0.2:80"))

    def test_without_credentials_nothing_is_attempted(self) -> None:
        self.contexts = None
        self.directory.startService()
        waiting = self.find("192.0.2.1:80")
        self.later()
        self.assertEqual(self.service.contexts, [])
        self.contexts = FIRST
        self.directory.renewed()
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(waiting), plain("192.0.2.1:80"))

    def test_who_has_given_up_is_not_asked_for(self) -> None:
        self.service.tables, first = [], self.service.tables[0]
        self.start()
        waiting, other = self.find("10.1.0.2:80"), self.find("10.1.0.3:80")
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.stream.send(first)
        self.assertEqual(self.service.asked, [("1", "10.1.0.3:80")])
        other.cancel()
        self.failureResultOf(other, CancelledError)

    def test_own_addresses_are_named(self) -> None:
        self.assertEqual(self.start().own_ips, [LOCAL.ip.packed])

    def test_what_it_says(self) -> None:
        told = self.service.tables[0]
        told.own_opaque.add(first=3306, last=3306)
        told.nodes.append(network("10.0.0.1/32"))
        own = Address.parse("10.1.0.9:3306")
        self.assertEqual(self.directory.own_port(own), PortFacts())
        self.assertFalse(self.directory.ranges.nodes)
        self.start()
        self.assertEqual(self.directory.own_port(own), PortFacts(opaque=True))
        self.assertIn(parse_ip("10.0.0.1"), self.directory.ranges.nodes)

    def test_another_one_takes_its_place_and_is_told(self) -> None:
        told: list[bool] = []
        stream = self.start()
        leave = self.directory.subscribe(lambda: told.append(True))
        self.assertEqual(self.successResultOf(self.find("192.0.2.1:80")), plain("192.0.2.1:80"))
        stream.send(table("1", "192.0.2.0/24"))
        self.assertEqual(told, [True])
        self.find("192.0.2.1:80")
        self.assertEqual(self.service.asked, [("1", "192.0.2.1:80")])
        leave()
        stream.send(table("1"))
        self.assertEqual(told, [True])


class FindTests(RemoteCase):
    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_what_is_known_is_known_at_once(self) -> None:
        self.know("10.1.0.2:80")
        self.assertEqual(self.successResultOf(self.find("10.1.0.2:80")), meshed("10.1.0.2:80"))
        self.assertEqual(self.service.asked, [("1", "10.1.0.2:80")])

    def test_an_unknown_address_is_asked_for_once(self) -> None:
        waiting = [self.find("10.1.0.2:80") for _ in range(3)]
        self.assertEqual(self.service.asked, [("1", "10.1.0.2:80")])
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        self.service.reply("10.1.0.2:80", workload("10.1.0.2:80"))
        for each in waiting[1:]:
            self.assertEqual(self.successResultOf(each), meshed("10.1.0.2:80"))

    def test_what_everybody_has_given_up_is_learned_all_the_same(self) -> None:
        """For the service will tell of its changes."""
        waiting = self.find("10.1.0.2:80")
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.service.reply("10.1.0.2:80", workload("10.1.0.2:80"))
        self.assertEqual(self.successResultOf(self.find("10.1.0.2:80")), meshed("10.1.0.2:80"))

    def test_one_who_goes_takes_another_along(self) -> None:
        first, second = self.find("10.1.0.2:80"), self.find("10.1.0.2:80")
        first.addCallback(lambda _: second.cancel())
        self.service.reply("10.1.0.2:80", workload("10.1.0.2:80"))
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)

    def test_a_change_comes_by_itself(self) -> None:
        told: list[bool] = []
        self.directory.subscribe(lambda: told.append(True))
        self.know("10.1.0.2:80")
        self.stream.send(workload("10.1.0.2:80", EMOJI))
        self.assertEqual(self.successResultOf(self.find("10.1.0.2:80")), meshed("10.1.0.2:80", EMOJI))
        self.assertEqual(told, [True])

    def test_what_nobody_asked_for_is_not_kept(self) -> None:
        self.stream.send(workload("10.1.0.2:80"))
        self.find("10.1.0.2:80")
        self.assertEqual(self.service.asked, [("1", "10.1.0.2:80")])

    def test_a_change_that_overtakes_the_answer_holds(self) -> None:
        waiting = self.find("10.1.0.2:80")
        self.stream.send(workload("10.1.0.2:80", EMOJI))
        self.assertEqual(self.successResultOf(waiting), meshed("10.1.0.2:80", EMOJI))
        self.service.reply("10.1.0.2:80", workload("10.1.0.2:80", VOTING))
        self.assertEqual(self.successResultOf(self.find("10.1.0.2:80")), meshed("10.1.0.2:80", EMOJI))

    def test_what_makes_no_sense_is_not_known(self) -> None:
        for answer in (
            pb.Answer(address=workload("10.1.0.2:80").address),
            workload("10.1.0.3:80"),
            workload("10.1.0.2:80", "nobody"),
        ):
            waiting = self.find("10.1.0.2:80")
            self.service.reply("10.1.0.2:80", answer)
            self.assertIn("10.1.0.2:80 was never known", self.refused(waiting))

    def test_a_change_that_makes_no_sense_leaves_nothing_known(self) -> None:
        self.know("10.1.0.2:80")
        with capturedLogs() as events:
            for _ in range(2):
                self.stream.send(workload("10.1.0.2:80", "nobody"))
        (said,) = map(formatEvent, events)
        self.assertIn("the directory's answer for 10.1.0.2:80 makes no sense: ", said)
        self.assertEqual(self.service.forgotten, [("1", ["10.1.0.2:80"])])
        self.assertNoResult(self.find("10.1.0.2:80"))
        self.assertEqual(len(self.service.streams), 1)

    def test_a_service_that_does_not_say_is_asked_again_by_the_next(self) -> None:
        self.service.answers["10.1.0.2:80"] = RpcError(Status.UNAVAILABLE, "still reading")
        self.assertEqual(
            self.refused(self.find("10.1.0.2:80")),
            "10.1.0.2:80 was never known, and the directory does not say: UNAVAILABLE: still reading",
        )
        self.know("10.1.0.2:80")

    def test_a_service_that_never_answers(self) -> None:
        waiting = self.find("10.1.0.2:80")
        self.clock.advance(remote.TIMEOUT)
        self.assertIn("DEADLINE_EXCEEDED", self.refused(waiting))

    def test_who_waits_when_the_proxy_stops_is_refused(self) -> None:
        waiting = self.find("10.1.0.2:80")
        self.directory.stopService()
        self.assertEqual(self.refused(waiting), "the proxy stops")
        self.service.flush()
        self.assertTrue(self.stream.lost)


class ServiceTests(RemoteCase):
    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_each_connection_gets_one_of_its_endpoints(self) -> None:
        ready = [backend(f"10.1.0.{last}:8080") for last in (1, 2, 3)]
        self.service.answers["10.96.0.1:80"] = service("10.96.0.1:80", *ready)
        authority = "voting.emojivoto.svc.cluster.local:80"
        expected = [meshed(f"10.1.0.{last}:8080", authority=authority) for last in (1, 2, 3)]
        seen: list[Target] = []
        for _ in range(30):
            target = self.successResultOf(self.find("10.96.0.1:80"))
            assert target.choice is not None
            target.choice.begun()
            seen.append(target)
        spread = [seen.count(each) for each in expected]
        self.assertEqual(sum(spread), 30)
        self.assertLessEqual(max(spread) - min(spread), 2)
        self.assertEqual(len(self.service.asked), 1)

    def test_those_that_fail_are_counted(self) -> None:
        self.service.answers["10.96.0.1:80"] = service("10.96.0.1:80", backend("10.1.0.1:80"))
        target = self.successResultOf(self.find("10.96.0.1:80"))
        assert target.choice is not None
        target.choice.again()
        self.assertEqual(self.shown("meshtx_endpoints_failed_total"), 1)

    def test_of_those_who_wait_each_one_too(self) -> None:
        waiting = [self.find("10.96.0.1:80") for _ in range(20)]
        self.service.reply("10.96.0.1:80", service("10.96.0.1:80", backend("10.1.0.1:80"), backend("10.1.0.2:80")))
        self.assertEqual(len({self.successResultOf(each).address for each in waiting}), 2)

    def test_one_without_endpoints(self) -> None:
        waiting = self.find("10.96.0.1:80")
        self.service.reply("10.96.0.1:80", service("10.96.0.1:80"))
        self.failureResultOf(waiting, NoEndpoints)
        self.failureResultOf(self.find("10.96.0.1:80"), NoEndpoints)
        self.stream.send(service("10.96.0.1:80", backend("10.1.0.1:80", "")))
        self.assertEqual(self.successResultOf(self.find("10.96.0.1:80")).security, PLAIN)


class ForgetTests(RemoteCase):
    most = 3

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_what_nobody_uses_is_forgotten(self) -> None:
        self.know("10.1.0.2:80", "10.1.0.3:80", "10.1.0.4:80")
        self.later(UNUSED / 2)
        self.know("10.1.0.3:80")
        self.later(UNUSED / 2 + SWEEP)
        self.assertEqual(self.service.forgotten, [("1", ["10.1.0.2:80", "10.1.0.4:80"])])
        self.stream.send(workload("10.1.0.2:80"))
        asked = len(self.service.asked)
        self.find("10.1.0.2:80")
        self.assertEqual(len(self.service.asked), asked + 1)

    def test_changes_are_no_use(self) -> None:
        self.know("10.1.0.2:80")
        self.later(UNUSED - SWEEP)
        self.stream.send(workload("10.1.0.2:80", EMOJI))
        self.later(SWEEP * 2)
        self.assertEqual(self.service.forgotten, [("1", ["10.1.0.2:80"])])

    def test_of_too_many_the_oldest_is(self) -> None:
        self.know("10.1.0.2:80", "10.1.0.3:80", "10.1.0.4:80", "10.1.0.2:80", "10.1.0.5:80")
        self.assertEqual(self.service.forgotten, [("1", ["10.1.0.3:80"])])

    def test_while_the_service_is_away_it_is_not_told(self) -> None:
        self.know("10.1.0.2:80")
        self.service.refuses = Unreachable("nobody")
        self.stream.cut()
        self.later(UNUSED + SWEEP)
        self.service.refuses = None
        self.later()
        self.assertEqual((self.stream.known, self.service.forgotten), ([], []))

    def test_a_service_that_does_not_want_to_hear_of_it(self) -> None:
        self.service.forget_error = RpcError(Status.INTERNAL, "a defect")
        self.know("10.1.0.2:80")
        self.later(UNUSED + SWEEP)
        self.assertEqual(len(self.service.streams), 1)
