"""Two injectors behind one Service: one certificate, and no pod waits when one of them is replaced."""

from __future__ import annotations

import ssl

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.kube.injector_case import NAME, PORT, InjectorCase


class ReplicaTests(InjectorCase):
    async def served(self, address: str) -> str:
        """Return the certificate that a new connection sees."""
        return await deferToThread(ssl.get_server_certificate, (address, PORT))

    async def test_both_serve_the_certificate_that_came_first(self) -> None:
        address = await self.place("another")
        await self.start(address=address)
        self.assertEqual(await self.served(address), await self.served(self.address))

    async def test_no_pod_is_refused_while_one_replaces_the_other(self) -> None:
        """It is asked to stop at the moment when its endpoint is taken away, of which API servers hear later."""
        await self.program.stopService()
        old = await self.start(shutdown_delay="3s")
        statuses: list[int] = []
        ended: list[bool] = []

        async def make_pods() -> None:
            while not ended:
                status, _ = await self.create(self.a_pod(), dry_run=True)
                statuses.append(status)

        making = Deferred.fromCoroutine(make_pods())
        address = await self.place("another")
        new = await self.start(address=address)
        await self.wait_until(lambda: self.are_endpoints(2), what="the new one's endpoint")
        stopped = old.stopService()
        await self.delete_pod("injector")
        await stopped
        self.assertTrue(await self.are_endpoints(1))
        before = self.count(new, "injected")
        await self.created(self.a_pod("last"))
        self.assertGreater(self.count(new, "injected"), before)
        ended.append(True)
        await making
        self.assertEqual(set(statuses), {201})
        self.assertGreater(len(statuses), 20)

    async def are_endpoints(self, number: int) -> bool:
        return len(await self.endpoints(NAME)) == number
