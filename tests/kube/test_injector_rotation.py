"""A whole rotation of the webhook's certificate while pods are being made: none waits, none is refused."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from twisted.internet.defer import Deferred

from meshtx.kube import serving_rotation
from meshtx.kube.serving_certificate import BACKDATE, generate
from meshtx.kube.serving_rotation import ServingRotation
from meshtx.services import injector
from tests.kube.injector_case import InjectorCase

SOON = timedelta(seconds=5)
"""After which the first certificate is to be renewed; it expires in BACKDATE / 2 more."""


class RotationTests(InjectorCase):
    async def setUp(self) -> None:
        lifetimes = [BACKDATE / 2 + SOON * 3 / 2]  # a third of it, from the start in the past on, is left by then
        self.patch(
            serving_rotation,
            "generate",
            lambda host, now: generate(host, now, lifetimes.pop()) if lifetimes else generate(host, now),
        )
        self.patch(serving_rotation, "SWITCH", 1.0)
        self.patch(injector, "ServingRotation", partial(ServingRotation, every=0.2))
        await super().setUp()

    async def test_no_admission_fails_while_it_lasts(self) -> None:
        first = await self.served()
        (authority,) = await self.believed()
        statuses: list[int] = []
        ended: list[bool] = []

        async def make_pods() -> None:
            while not ended:
                status, _ = await self.create(self.a_pod(), dry_run=True)
                statuses.append(status)

        making = Deferred.fromCoroutine(make_pods())

        async def is_announced() -> bool:
            return len(await self.believed()) == 2

        await self.wait_until(is_announced, 30, "the next authority beside the present one")
        self.assertEqual(await self.served(), first)

        async def is_renewed() -> bool:
            return await self.served() != first

        await self.wait_until(is_renewed, 30, "another certificate")
        before = len(statuses)
        await self.wait_until(lambda: len(statuses) > before + 20, 30, "pods that it was asked about")
        ended.append(True)
        await making
        self.assertEqual(set(statuses), {201})
        self.assertGreater(before, 20)
        old, new = await self.believed()
        self.assertEqual(old, authority)
        (await self.served()).verify_directly_issued_by(new)
