"""What the sockets of a running proxy are told, on both of its sides."""

from __future__ import annotations

import socket
from typing import Any

from meshtx.net.transports import Client, Server
from meshtx.services.proxy import ProxyService
from tests.proxy.mesh import SERVER, VOTING_LEAF
from tests.proxy.talkers import Talker
from tests.services.test_proxy import BINARY, ProxyCase


def user_timeouts(service: ProxyService, kind: type[Any], port: int) -> set[int]:
    """Return the TCP_USER_TIMEOUTs, in milliseconds, of a proxy's sockets that have a port on either side."""
    readers = [each for each in service._io.getReaders() if isinstance(each, kind)]
    near = [each for each in readers if port in {each.getHost().port, each.getPeer().port}]
    return {each.getHandle().getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) for each in near}


class SocketTests(ProxyCase):
    async def test_how_long_a_reader_may_take_nothing_is_a_setting(self) -> None:
        application = self.application()
        way_in = self.free(SERVER)
        service = self.start(
            SERVER, VOTING_LEAF, inbound_forward=f"{way_in}={application.address}", tcp_user_timeout="7m"
        )
        talker = await self.connect(way_in, Talker(BINARY))
        await talker.has(len(BINARY))
        self.assertEqual(user_timeouts(service, Server, way_in.port), {420_000})
        self.assertIn(420_000, user_timeouts(service, Client, application.address.port))
