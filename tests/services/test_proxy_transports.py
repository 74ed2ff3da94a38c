"""The option `transports`: what moves a proxy's bytes."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import SkipTest

from meshtx.config import ProxyConfig
from meshtx.config_load import load
from meshtx.errors import ConfigError
from meshtx.net.poller import HAS_EPOLL, FdSet, Transports
from meshtx.services.proxy import ProxyService
from tests.proxy.mesh import SERVER, VOTING_LEAF
from tests.services.test_proxy import ProxyCase


class TransportsTests(ProxyCase):
    async def check(self, transports: Transports, *, quick: bool) -> None:
        """Check that two proxies talk, and what they watch their connections with."""
        client, server = self.pair_of(self.application(), transports=transports.value)
        await self.talk(client)
        self.assertEqual(isinstance(server._io, FdSet), quick)

    async def test_they_are_quick_by_default(self) -> None:
        config = load(ProxyConfig, self.flags(SERVER, VOTING_LEAF), {}, None)
        self.assertIs(config.transports, Transports.QUICK)
        await self.check(Transports.QUICK, quick=HAS_EPOLL)

    async def test_they_may_be_twisteds_own(self) -> None:
        if isinstance(reactor, FdSet):
            raise SkipTest("this reactor has quick transports only")
        await self.check(Transports.TWISTED, quick=False)

    def test_our_own_reactor_has_no_others(self) -> None:
        config = load(ProxyConfig, self.flags(SERVER, VOTING_LEAF, transports="twisted"), {}, None)
        error = self.assertRaises(ConfigError, ProxyService, config, FdSet())
        self.assertIn("transports: ", str(error))
