"""The redirect's script, and how nft is called."""

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import ConfigError
from meshtx.net import redirect
from meshtx.net.redirect import RedirectRules, render
from meshtx.wire.ports import PortRange

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
    elements = { 22, 4140, 4143, 4190-4191, 8000-8099 }
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
  chain guard_output {
    type filter hook output priority mangle; policy accept;
    ct state != invalid return
    meta l4proto != tcp return
    meta skuid 2102 return
    meta skgid 2103 return
    meta mark 0x4d return
    oifname "lo" return
    tcp dport @skip_out return
    ip daddr @skip_dst4 return
    ip6 daddr @skip_dst6 return
    tcp sport @skip_in return
    ip daddr @skip_src4 return
    ip6 daddr @skip_src6 return
    counter name "invalid" drop
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
