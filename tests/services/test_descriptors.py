"""The limit of descriptors, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from meshtx.config import ProxyConfig
from meshtx.config_load import load
from meshtx.services.proxy import ProxyService
from tests.proxy.mesh import SERVER, VOTING_LEAF
from tests.services.test_proxy import ProxyCase


class DescriptorsTests(SynchronousTestCase):
    def raised(self, soft: int, hard: int, wanted: int, *, privileged: bool = True) -> str:
        """Return what it makes of limits: what it says, and the limits then."""
        program = (
            "import os, resource\n"
            "from meshtx.services.descriptors import raise_descriptor_limit\n"
            f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
            f"if not {privileged} and os.getuid() == 0: os.setuid(65534)\n"
            f"print(raise_descriptor_limit({wanted}), *resource.getrlimit(resource.RLIMIT_NOFILE))\n"
        )
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.strip()

    def test_the_soft_limit_is_raised_to_the_hard_one(self) -> None:
        self.assertEqual(self.raised(64, 512, 128), "512 512 512")

    def test_no_more_than_the_hard_one_may_be_had(self) -> None:
        self.assertEqual(self.raised(64, 512, 600, privileged=False), "512 512 512")


class TooFewTests(ProxyCase):
    def lines_with(self, descriptors: int) -> list[str]:
        config = load(ProxyConfig, self.flags(SERVER, VOTING_LEAF, max_undecided="10000"), {}, None)
        service = ProxyService(config, reactor, descriptors)
        service.startService()
        self.addCleanup(service.stopService)
        return [line for line in self.lines if "descriptors" in line]

    def test_a_proxy_says_once_how_many_it_can_hold(self) -> None:
        [line] = self.lines_with(1024)
        self.assertIn("1024 descriptors are too few (RLIMIT_NOFILE; 16001 would do)", line)
        self.assertIn("at most 640 connections may be undecided, 128 in their handshake", line)

    def test_with_enough_it_says_nothing(self) -> None:
        self.assertEqual(self.lines_with(16001), [])
