"""Two injectors behind one Service, each with a certificate of its own: no pod waits when one is replaced."""

from __future__ import annotations

from base64 import b64encode

from twisted.internet.defer import Deferred

from meshtx.kube.serving_certificate import generate, to_pem
from meshtx.kube.serving_rotation import EVERY
from tests.kube.injector_case import NAME, WEBHOOK, InjectorCase


class ReplicaTests(InjectorCase):
    async def test_both_are_believed_and_called(self) -> None:
        address = await self.place("another")
        other = await self.start(address=address)
        leaves = [await self.served(each) for each in (self.address, address)]
        self.assertNotEqual(leaves[0].public_key(), leaves[1].public_key())
        believed = await self.believed()
        for leaf in leaves:
            leaf.verify_directly_issued_by(next(each for each in believed if each.subject == leaf.issuer))
        await self.program.stopService()  # what it has kept open would be asked else
        await self.delete_pod("injector")
        await self.wait_until(lambda: self.is_asked(other), what="a question to the other one")

    async def test_another_one_is_believed_before_it_is_ready(self) -> None:
        """A readiness that came too early would have API servers call it."""
        program = await self.start(address=await self.place("another"), wait=False)
        await self.wait_until(lambda: program.rotation.current, what="a certificate")
        self.assertIn("told whom to believe", program.rotation.ready_reason() or "")
        await self.wait_until(lambda: program.rotation.ready_reason() is None, what="its readiness")
        assert program.rotation.current is not None
        self.assertIn(program.rotation.current.authority, await self.believed())

    async def test_who_takes_one_out_has_it_in_again(self) -> None:
        before = await self.believed()
        bundle = b64encode(to_pem([generate(f"{NAME}.{self.namespace}.svc", self.program.now()).authority]).encode())
        change = [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle.decode()}]
        await self.call("PATCH", WEBHOOK, change, kind="json-patch")

        async def is_in() -> bool:
            return set(before) < set(await self.believed())

        await self.wait_until(is_in, 2 * EVERY, "its authority beside the other one")
        await self.created(self.a_pod())

    async def test_no_pod_is_refused_while_one_replaces_the_other(self) -> None:
        """As the kubelet does it: the new one has its endpoint when it is ready; the old one is asked to stop at the
        moment when its endpoint is taken away, of which API servers hear later."""
        await self.program.stopService()
        old = await self.start(shutdown_delay="3s")
        statuses: list[int] = []
        ended: list[bool] = []

        async def make_pods() -> None:
            while not ended:
                status, _ = await self.create(self.a_pod(), dry_run=True)
                statuses.append(status)

        making = Deferred.fromCoroutine(make_pods())
        address = await self.place("another", ready=False)
        new = await self.start(address=address)
        await self.run_pod("another", address)
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
        return [each["conditions"]["ready"] for each in await self.endpoints(NAME)] == [True] * number
