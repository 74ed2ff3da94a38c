"""The redirect's script, how nft is called, and what it does to traffic in real network namespaces."""

from __future__ import annotations

import json
import os
from ipaddress import ip_network
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import ConfigError
from meshtx.net import redirect
from meshtx.net.redirect import PortRange, RedirectRules, parse_network, render
from tests.net.namespaces import Lab, Namespace, why_not

UID, MARK = 2102, 0x4D

EVERYTHING = RedirectRules(
    uid=UID,
    gid=2103,
    mark=MARK,
    skip_inbound=(PortRange(22, 22), PortRange(8000, 8099), PortRange(22, 22)),
    skip_outbound=(PortRange(53, 53),),
    skip_sources=(ip_network("10.0.0.0/9"), ip_network("10.128.0.0/9"), ip_network("fd00::/8")),
    skip_destinations=(ip_network("192.0.2.7/32"),),
)

SCRIPT = """\
table inet meshtx
delete table inet meshtx
table inet meshtx {
  set skip_in {
    type inet_service; flags interval; auto-merge;
    elements = { 22, 4190-4191, 8000-8099 }
  }
  set skip_out {
    type inet_service; flags interval; auto-merge;
    elements = { 53 }
  }
  set skip_src4 {
    type ipv4_addr; flags interval; auto-merge;
    elements = { 10.0.0.0/8 }
  }
  set skip_src6 {
    type ipv6_addr; flags interval; auto-merge;
    elements = { fd00::/8 }
  }
  set skip_dst4 {
    type ipv4_addr; flags interval; auto-merge;
    elements = { 192.0.2.7/32 }
  }
  set skip_dst6 {
    type ipv6_addr; flags interval; auto-merge;
  }
  counter invalid { }
  chain guard {
    type filter hook prerouting priority mangle; policy accept;
    iifname != "lo" meta l4proto tcp ct state invalid counter name "invalid" drop
  }
  chain inbound {
    type nat hook prerouting priority dstnat; policy accept;
    meta l4proto != tcp return
    fib daddr type != local return
    tcp dport @skip_in return
    ip saddr @skip_src4 return
    ip6 saddr @skip_src6 return
    meta l4proto tcp redirect to :4143
  }
  chain outbound {
    type nat hook output priority -100; policy accept;
    meta l4proto != tcp return
    meta skuid 2102 return
    meta skgid 2103 return
    meta mark 0x4d return
    oifname "lo" return
    tcp dport @skip_out return
    ip daddr @skip_dst4 return
    ip6 daddr @skip_dst6 return
    meta l4proto tcp redirect to :4140
  }
}
"""


class RulesTests(SynchronousTestCase):
    def test_the_script_replaces_the_table_in_one_transaction(self) -> None:
        self.assertEqual(render(EVERYTHING), SCRIPT)

    def test_only_what_is_given_tells_the_proxys_traffic_apart(self) -> None:
        script = render(RedirectRules(mark=MARK))
        self.assertNotIn("skuid", script)
        self.assertNotIn("skgid", script)
        self.assertIn("    meta mark 0x4d return\n", script)

    def test_a_redirect_that_would_turn_the_proxys_own_traffic_back_is_refused(self) -> None:
        refused = self.assertRaises(ConfigError, RedirectRules)
        self.assertEqual(
            str(refused),
            "redirect: nothing tells the proxy's own connections apart, they would be turned back to it for ever; "
            "give its user, its group or its socket mark (--proxy-uid, --proxy-gid, --proxy-mark)",
        )

    def test_rules_that_make_no_sense_are_refused(self) -> None:
        for wrong, problem in (
            ({"inbound_port": 0}, "inbound port 0 is outside 1-65535"),
            ({"outbound_port": 65536}, "outbound port 65536 is outside 1-65535"),
            ({"inbound_port": 4140}, "inbound and outbound port are both 4140"),
            ({"uid": -1}, "proxy uid -1 is outside 0-4294967294"),
            ({"gid": 2**32 - 1}, "proxy gid 4294967295 is outside 0-4294967294"),
            ({"mark": 0}, "proxy mark 0 is outside 1-4294967295"),
            ({"table": "a b"}, "'a b' is no name for a table"),
            ({"table": "x{}"}, "'x{}' is no name for a table"),
        ):
            refused = self.assertRaises(ConfigError, RedirectRules, **{"uid": UID, **wrong})
            self.assertEqual(refused.problem, problem)

    def test_ports_and_networks_are_read_as_they_are_written(self) -> None:
        self.assertEqual(PortRange.parse(" 80 "), PortRange(80, 80))
        self.assertEqual(str(PortRange.parse("8000-8099")), "8000-8099")
        self.assertEqual(parse_network(" fd00::/8"), ip_network("fd00::/8"))
        for wrong in ("", "http", "0", "65536", "9-8", "1-", "-1", "1-2-3", "²"):
            self.assertRaises(ValueError, PortRange.parse, wrong)
        for wrong in ("", "10.0.0.1/8", "host"):
            self.assertRaises(ValueError, parse_network, wrong)


class NftTests(SynchronousTestCase):
    """How nft's own failures are told; nft is a script here."""

    def nft(self, script: str) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        program = folder / "nft"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        self.patch(os, "environ", {"PATH": str(folder)})

    def test_without_nft_the_error_says_what_to_install(self) -> None:
        self.patch(redirect, "_SBIN", ())
        self.patch(os, "environ", {"PATH": "/nonexistent"})
        for act in (redirect.show, redirect.remove, lambda: redirect.apply(EVERYTHING)):
            refused = self.assertRaises(ConfigError, act)
            self.assertEqual(
                str(refused),
                "nft: is not installed; install the package nftables, "
                "or let the proxy listen on addresses of its own without a redirect",
            )

    def test_without_permission_the_error_says_who_may(self) -> None:
        self.nft("echo 'Operation not permitted (you must be root)' >&2; exit 1")
        refused = self.assertRaises(ConfigError, redirect.show)
        self.assertEqual(
            str(refused),
            "nft: may not see or change the rules here; "
            "run this as root, or with the capability NET_ADMIN, in the network namespace of the workload",
        )

    def test_a_kernel_that_does_not_take_the_rules_is_named(self) -> None:
        self.nft("printf '\\n/dev/stdin:3:1-2: Error: Could not process rule: Not supported\\nmore\\n' >&2; exit 1")
        refused = self.assertRaises(ConfigError, redirect.apply, EVERYTHING)
        self.assertEqual(
            str(refused),
            "nft: the kernel does not take the rules (/dev/stdin:3:1-2: Error: Could not process rule: Not supported); "
            "use Linux 5.2 or later with nf_tables and its modules nft_nat, nft_redir and nft_fib_inet",
        )

    def test_an_nft_that_does_not_run_or_hangs_is_told(self) -> None:
        self.nft("kill -STOP $$")
        self.patch(redirect, "_NFT_TIMEOUT", 0.05)
        refused = self.assertRaises(ConfigError, redirect.show)
        self.assertIn("timed out", refused.problem)
        Path(os.environ["PATH"], "nft").write_text("\x7fno program")
        refused = self.assertRaises(ConfigError, redirect.show)
        self.assertIn("Exec format error", refused.problem)

    def test_nft_is_found_outside_the_path_of_an_ordinary_user(self) -> None:
        self.nft("echo 'table inet meshtx'")
        self.patch(redirect, "_SBIN", (os.environ["PATH"],))
        self.patch(os, "environ", {"PATH": "/nonexistent"})
        self.assertEqual(redirect.show(), "table inet meshtx\n")
        self.assertTrue(redirect.remove())


LISTENER = """
import selectors, socket, sys
from meshtx.net.origdst import NoOriginalDestination, original_destination
from meshtx.wire.address import Address
ready = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        sock = socket.socket(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen()
        ready.register(sock, selectors.EVENT_READ, port)
print("ready", flush=True)
while True:
    for key, _ in ready.select():
        peer, _ = key.fileobj.accept()
        try:
            original = original_destination(peer, Address.of(*peer.getsockname()[:2]))
            said = f"{key.data} {original.address} {original.redirected}"
        except NoOriginalDestination:
            said = f"{key.data} unknown"
        peer.sendall(said.encode())
        peer.close()
"""
"""Answers each connection with its port, the original destination, and whether it was redirected."""

CLIENT = """
import json, os, socket, sys
from meshtx.net.sockets import SocketOptions, set_mark
uid, gid, mark, *targets = sys.argv[1:]
if gid: os.setgid(int(gid))
if uid: os.setuid(int(uid))
said = []
for target in targets:
    host, _, port = target.rpartition(":")
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.settimeout(5)
    set_mark(sock, SocketOptions(mark=int(mark) if mark else None))
    try:
        sock.connect((host.strip("[]"), int(port)))
        said.append(sock.recv(200).decode())
    except OSError as why:
        said.append(type(why).__name__)
print(json.dumps(said))
"""


STRAY = """
import socket, struct, sys
source, target = map(socket.inet_aton, sys.argv[1:])
head = [40000, 8080, 1000, 2000, 0x5019, 1000, 0, 0]  # ports, sequence, acknowledged, FIN+PSH+ACK, window, sum, urgent
pseudo = source + target + struct.pack("!HH", socket.IPPROTO_TCP, 20)
total = sum(struct.unpack("!16H", pseudo + struct.pack("!HHIIHHHH", *head)))
head[6] = ~(total + (total >> 16)) & 0xFFFF
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP).sendto(
    struct.pack("!HHIIHHHH", *head), (sys.argv[2], 0))
"""
"""Sends one segment of a connection that there is not."""


def ask(
    namespace: Namespace, *targets: str, uid: int | str = "", gid: int | str = "", mark: int | str = ""
) -> list[str]:
    """Connect from a namespace; return what was answered by whom."""
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
        self.pod.start(LISTENER, "4143", "4140", "4190", "8080", "2222")

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
        counters = json.loads(self.pod.run("nft", "-j", "list", "counters"))["nftables"]
        self.assertEqual([item["counter"]["packets"] for item in counters if "counter" in item], [1])
        self.assertIn("OutRsts 0", " ".join(self.tcp_counters("OutRsts")))

    def tcp_counters(self, name: str) -> list[str]:
        names, values = (line.split() for line in self.pod.run("cat", "/proc/net/snmp").splitlines() if "Tcp:" in line)
        return [f"{key} {value}" for key, value in zip(names, values, strict=True) if key == name]


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
        act = ACT + (
            "import os; os.setuid(65534)\n"
            "from meshtx.errors import ConfigError\n"
            "for act in (show, remove, lambda: apply(RedirectRules(uid=1))):\n"
            "    try: act()\n"
            "    except ConfigError as why: print(why.problem)"
        )
        self.assertEqual(self.here.python(act), "may not see or change the rules here\n" * 3)
