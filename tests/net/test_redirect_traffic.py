"""What the redirect does to traffic, and to the kernel's tables, in real network namespaces."""

from __future__ import annotations

import json
from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from meshtx.net.redirect import RedirectRules, render
from meshtx.wire.ports import PortRange
from tests.net.namespaces import Lab, Namespace, insist_on_other_users, why_not
from tests.net.redirect_scripts import CLIENT, ENDED_LONG_AGO, FORGOTTEN, LISTENER, NO_RESETS, SAME_PORT, STRAY

UID, MARK = 2102, 0x4D


def ask(
    namespace: Namespace, *targets: str, uid: int | str = "", gid: int | str = "", mark: int | str = ""
) -> list[str]:
    """Connect from a namespace; return what was answered by whom."""
    if uid or gid:
        insist_on_other_users()
    return json.loads(namespace.python(CLIENT, str(uid), str(gid), str(mark), *targets))


def load(namespace: Namespace, rules: RedirectRules) -> None:
    namespace.run("nft", "-f", "-", script=render(rules))


class TrafficTests(SynchronousTestCase):
    """`outside` is 10.99.1.1 and fd99:1::1; `pod`, with the proxy on 4143 and 4140, is .2 and ::2."""

    skip = why_not("nft")

    def setUp(self) -> None:
        self.lab = Lab()
        self.addCleanup(self.lab.remove)
        self.outside, self.pod = self.lab.namespace("outside"), self.lab.namespace("pod")
        self.lab.link(self.outside, self.pod, 1)
        self.outside.start(LISTENER, "8080", "5432")
        self.pod.start(LISTENER, "4143", "4140", "4190", "4191", "8080", "2222")

    def test_traffic_from_outside_comes_to_the_proxy_which_knows_where_it_was_going(self) -> None:
        load(self.pod, RedirectRules(uid=UID))
        self.assertEqual(
            ask(self.outside, "10.99.1.2:8080", "[fd99:1::2]:8080", "10.99.1.2:7777", "[fd99:1::2]:7777"),
            [
                "4143 10.99.1.2:8080 True",
                "4143 [fd99:1::2]:8080 True",
                "4143 10.99.1.2:7777 True",
                "4143 [fd99:1::2]:7777 True",
            ],
        )

    def test_a_connection_to_the_proxy_itself_is_known_as_not_redirected(self) -> None:
        load(self.pod, RedirectRules(uid=UID))
        self.assertEqual(
            ask(self.outside, "10.99.1.2:4143", "[fd99:1::2]:4143"),
            ["4143 10.99.1.2:4143 False", "4143 [fd99:1::2]:4143 False"],
        )

    def test_nor_is_one_to_it_by_another_address_of_the_machine(self) -> None:
        for address, way in (("10.99.9.9", "10.99.1.2"), ("fd99:9::9", "fd99:1::2")):
            self.pod.run("ip", "address", "add", address, "dev", "lo")
            self.outside.run("ip", "route", "add", address, "via", way)
        load(self.pod, RedirectRules(uid=UID))
        self.assertEqual(
            ask(self.outside, "10.99.9.9:4143", "[fd99:9::9]:4143", "10.99.9.9:8080", "[fd99:9::9]:8080"),
            [
                "4143 10.99.9.9:4143 False",
                "4143 [fd99:9::9]:4143 False",
                "4143 10.99.9.9:8080 True",
                "4143 [fd99:9::9]:8080 True",
            ],
        )

    def test_without_rules_there_is_no_original_destination(self) -> None:
        fresh = self.lab.namespace("fresh")
        fresh.start(LISTENER, "8080")
        self.assertEqual(ask(fresh, "127.0.0.1:8080", "[::1]:8080"), ["8080 unknown", "8080 unknown"])

    def test_skipped_ports_and_sources_and_the_proxys_own_ports_are_left_alone(self) -> None:
        load(self.pod, RedirectRules(uid=UID, skip_inbound=(PortRange(2200, 2300),)))
        self.assertEqual(
            ask(self.outside, "10.99.1.2:2222", "[fd99:1::2]:2222", "10.99.1.2:4190"),
            ["2222 10.99.1.2:2222 False", "2222 [fd99:1::2]:2222 False", "4190 10.99.1.2:4190 False"],
        )
        load(self.pod, RedirectRules(uid=UID, skip_sources=(ip_network("10.99.1.0/24"), ip_network("fd99:1::1/128"))))
        self.assertEqual(
            ask(self.outside, "10.99.1.2:8080", "[fd99:1::2]:8080"),
            ["8080 10.99.1.2:8080 False", "8080 [fd99:1::2]:8080 False"],
        )

    def test_the_proxys_own_ports_are_reached_from_outside_and_from_its_machine(self) -> None:
        load(self.pod, RedirectRules(uid=UID))
        for namespace, host in ((self.outside, "10.99.1.2"), (self.pod, "10.99.1.2"), (self.pod, "127.0.0.1")):
            targets = [f"{host}:{port}" for port in (4143, 4140, 4190, 4191)]
            answers = [f"{target.rpartition(':')[2]} {target} False" for target in targets]
            self.assertEqual(ask(namespace, *targets), answers)

    def test_the_workloads_connections_go_out_through_the_proxy(self) -> None:
        load(self.pod, RedirectRules(uid=UID))
        self.assertEqual(
            ask(self.pod, "10.99.1.1:8080", "[fd99:1::1]:8080", "10.99.1.1:7777"),
            ["4140 10.99.1.1:8080 True", "4140 [fd99:1::1]:8080 True", "4140 10.99.1.1:7777 True"],
        )

    def test_the_proxys_own_connections_pass_by_user_group_or_mark(self) -> None:
        passed = ["8080 unknown", "8080 unknown"]  # the outside has no rules, so no connection tracking
        targets = ("10.99.1.1:8080", "[fd99:1::1]:8080")
        turned = ["4140 10.99.1.1:8080 True", "4140 [fd99:1::1]:8080 True"]
        load(self.pod, RedirectRules(uid=UID))
        self.assertEqual(ask(self.pod, *targets, uid=UID), passed)
        self.assertEqual(ask(self.pod, *targets, mark=MARK), turned)
        load(self.pod, RedirectRules(gid=UID))
        self.assertEqual(ask(self.pod, *targets, gid=UID), passed)
        self.assertEqual(ask(self.pod, *targets), turned)
        load(self.pod, RedirectRules(mark=MARK))
        self.assertEqual(ask(self.pod, *targets, mark=MARK), passed)
        self.assertEqual(ask(self.pod, *targets, mark=MARK + 1), turned)

    def test_loopback_and_skipped_ports_and_destinations_are_reached_directly(self) -> None:
        load(self.pod, RedirectRules(uid=UID, skip_outbound=(PortRange(5432, 5432),)))
        self.assertEqual(
            ask(self.pod, "127.0.0.1:8080", "[::1]:8080", "10.99.1.2:8080", "[fd99:1::2]:8080"),
            [
                "8080 127.0.0.1:8080 False",
                "8080 [::1]:8080 False",
                "8080 10.99.1.2:8080 False",
                "8080 [fd99:1::2]:8080 False",
            ],
        )
        self.assertEqual(ask(self.pod, "10.99.1.1:5432", "[fd99:1::1]:5432"), ["5432 unknown", "5432 unknown"])
        networks = (ip_network("10.99.1.1/32"), ip_network("fd99::/16"))
        load(self.pod, RedirectRules(uid=UID, skip_destinations=networks))
        self.assertEqual(ask(self.pod, "10.99.1.1:8080", "[fd99:1::1]:8080"), ["8080 unknown", "8080 unknown"])

    def test_traffic_that_is_only_routed_through_is_left_alone(self) -> None:
        inner = self.lab.namespace("inner")
        self.lab.link(self.pod, inner, 2)
        inner.start(LISTENER, "8080")
        self.pod.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.outside.run("ip", "route", "add", "10.99.2.0/24", "via", "10.99.1.2")
        inner.run("ip", "route", "add", "default", "via", "10.99.2.1")
        load(self.pod, RedirectRules(uid=UID))
        self.assertEqual(
            ask(self.outside, "10.99.2.2:8080", "10.99.2.1:8080"), ["8080 unknown", "4143 10.99.2.1:8080 True"]
        )

    def test_networks_of_everything_and_overlapping_ports_load(self) -> None:
        every = (ip_network("0.0.0.0/0"), ip_network("::/0"))
        ports = (PortRange(1, 65535), PortRange(80, 90), PortRange(85, 95))
        load(self.pod, RedirectRules(uid=UID, skip_sources=every, skip_destinations=every, skip_inbound=ports))
        self.assertEqual(ask(self.outside, "10.99.1.2:8080"), ["8080 10.99.1.2:8080 False"])

    def test_it_works_where_ipv6_is_disabled(self) -> None:
        bare = self.lab.namespace("noipv6")
        bare.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        self.lab.link(bare, self.outside, 3)
        load(bare, RedirectRules(uid=UID))
        self.assertEqual(ask(bare, "10.99.3.2:8080"), ["ConnectionRefusedError"])  # no proxy there: turned, not passed
        self.assertEqual(ask(bare, "10.99.3.2:8080", uid=UID), ["8080 unknown"])

    def test_packets_that_belong_to_no_connection_are_dropped_and_counted(self) -> None:
        load(self.pod, RedirectRules(uid=UID))
        ask(self.outside, "10.99.1.2:8080")
        self.outside.python(STRAY, "10.99.1.1", "10.99.1.2")
        self.assertEqual((self.invalid(), resets(self.pod)), (1, 0))

    def test_nor_does_such_a_packet_of_the_workload_pass_the_proxy_by(self) -> None:
        load(self.pod, RedirectRules(uid=UID))
        self.pod.python(STRAY, "10.99.1.2", "10.99.1.1", check=False)  # it is told that it may not
        self.assertEqual((self.invalid(), resets(self.outside)), (1, 0))

    def test_it_does_where_the_proxy_has_no_part_in_the_connection(self) -> None:
        there, own = (ip_network("10.99.1.1/32"),), (PortRange(40000, 40000),)
        for number, rules in enumerate(
            (
                RedirectRules(uid=UID, skip_destinations=there),
                RedirectRules(uid=UID, skip_sources=there),
                RedirectRules(uid=UID, skip_outbound=(PortRange(8080, 8080),)),
                RedirectRules(uid=UID, skip_inbound=own),
                RedirectRules(uid=0),
            ),
            1,
        ):
            load(self.pod, rules)
            self.pod.python(STRAY, "10.99.1.2", "10.99.1.1")
            self.assertEqual(resets(self.outside), number, rules)

    def test_of_a_connection_that_was_forgotten_nothing_goes_out_in_clear(self) -> None:
        load(self.pod, RedirectRules(uid=UID))
        self.pod.run("sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0")  # as hardened hosts have it
        self.pod.python(FORGOTTEN, "10.99.1.1", "8080")
        self.assertEqual(resets(self.outside), 0)
        self.assertGreater(self.invalid(), 0)

    def test_a_connection_that_was_reset_is_not_told_where_the_next_one_from_its_port_was_going(self) -> None:
        load(self.pod, RedirectRules(uid=UID, outbound_port=4999))
        said = self.pod.python(SAME_PORT, "10.99.1.1").splitlines()
        self.assertEqual(said, ["the connection is gone: Transport endpoint is not connected", "10.99.1.1:7002"])

    def test_nor_is_one_that_its_client_has_ended_long_ago(self) -> None:
        load(self.pod, RedirectRules(uid=UID, outbound_port=4999))
        self.pod.run("nft", "-f", "-", script=NO_RESETS)
        said = self.pod.python(ENDED_LONG_AGO, "10.99.1.1").strip()
        self.assertRegex(said, r"the connection is gone: its client ended it \d+ s before it was accepted")

    def invalid(self) -> int:
        counters = json.loads(self.pod.run("nft", "-j", "list", "counters"))["nftables"]
        (packets,) = (item["counter"]["packets"] for item in counters if "counter" in item)
        return packets


def resets(namespace: Namespace) -> int:
    """Return how many resets a namespace has sent: so it answers a packet of a connection that it does not know."""
    names, values = (line.split() for line in namespace.run("cat", "/proc/net/snmp").splitlines() if "Tcp:" in line)
    return int(values[names.index("OutRsts")])


ACT = """
import sys
from meshtx.net.redirect import RedirectRules, apply, remove, show
"""


class TableTests(SynchronousTestCase):
    """Loading and removing for real, through our own calls."""

    skip = why_not("nft")

    def setUp(self) -> None:
        lab = Lab()
        self.addCleanup(lab.remove)
        self.here = lab.namespace("table")

    def test_applying_twice_is_applying_once_and_removing_leaves_nothing(self) -> None:
        act = ACT + (
            "print([show(), remove()]); apply(RedirectRules(uid=1)); one = show(); apply(RedirectRules(uid=1))\n"
            "print(one == show(), one.splitlines()[0], sep='|'); print([remove(), remove(), show()])"
        )
        self.assertEqual(self.here.python(act), "[None, False]\nTrue|table inet meshtx {\n[True, False, None]\n")
        self.assertEqual(self.here.run("nft", "list", "ruleset"), "")

    def test_other_tables_stay_as_they_are(self) -> None:
        theirs = "table inet meshtx_theirs {\n\tchain forward {\n\t}\n}\n"
        self.here.run("nft", "-f", "-", script=theirs)
        self.here.python(ACT + "apply(RedirectRules(uid=1)); remove()")
        self.assertEqual(self.here.run("nft", "list", "ruleset"), theirs)

    def test_a_script_that_fails_leaves_the_old_table(self) -> None:
        load(self.here, RedirectRules(uid=1))
        before = self.here.run("nft", "list", "ruleset")
        broken = render(RedirectRules(uid=2)).replace("redirect to :4140", "jump nowhere")
        self.here.run("nft", "-f", "-", script=broken, check=False)
        self.assertEqual(self.here.run("nft", "list", "ruleset"), before)

    def test_without_the_capability_it_says_so(self) -> None:
        insist_on_other_users()
        act = ACT + (
            "import os; os.setuid(65534)\n"
            "from meshtx.errors import ConfigError\n"
            "for act in (show, remove, lambda: apply(RedirectRules(uid=1))):\n"
            "    try: act()\n"
            "    except ConfigError as why: print(why.problem)"
        )
        self.assertEqual(self.here.python(act), "may not see or change the rules here\n" * 3)
