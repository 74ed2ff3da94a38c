"""A whole rotation of the webhook's certificate while pods are being made: none waits, none is refused."""

from __future__ import annotations

import ssl
from base64 import b64decode
from datetime import timedelta
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from meshtx.kube import serving_certificate
from meshtx.kube.serving_certificate import BACKDATE, Kept, from_data
from meshtx.kube.serving_rotation import ServingRotation
from meshtx.services import injector
from tests.kube.injector_case import PORT, WEBHOOK, InjectorCase

SOON = timedelta(seconds=2)
"""After which the first certificate is to be renewed."""


class RotationTests(InjectorCase):
    async def setUp(self) -> None:
        generate = serving_certificate.generate
        lifetimes = [BACKDATE / 2 + SOON * 3 / 2]  # a third of it, from the start in the past on, is left by then
        self.patch(
            serving_certificate,
            "generate",
            lambda host, now: generate(host, now, lifetimes.pop()) if lifetimes else generate(host, now),
        )
        self.patch(serving_certificate, "SWITCH", 1.0)
        self.patch(serving_certificate, "PRUNE", 1.0)
        self.patch(injector, "ServingRotation", partial(ServingRotation, every=0.2))
        await super().setUp()

    async def kept(self) -> Kept:
        secret = await self.call("GET", f"/api/v1/namespaces/{self.namespace}/secrets/meshtx-injector-tls")
        return from_data(secret["data"])

    async def bundle(self) -> str:
        configuration = await self.call("GET", WEBHOOK)
        bundles = {each["clientConfig"]["caBundle"] for each in configuration["webhooks"]}
        self.assertEqual(len(bundles), 1)
        return b64decode(bundles.pop()).decode()

    async def served(self) -> str:
        """Return the certificate that a new connection sees."""
        return await deferToThread(ssl.get_server_certificate, (self.address, PORT))

    async def test_no_admission_fails_while_it_lasts(self) -> None:
        first = await self.kept()
        statuses: list[int] = []
        bundles: set[int] = set()

        async def make_pods() -> None:
            while not ended:
                status, _ = await self.create(self.a_pod(), dry_run=True)
                statuses.append(status)

        ended: list[bool] = []
        making = Deferred.fromCoroutine(make_pods())

        async def is_renewed() -> bool:
            kept = await self.kept()
            bundles.add((await self.bundle()).count("BEGIN"))
            assert kept.current is not None
            return (
                kept.current.leaf != first.current.leaf
                and kept.previous is None
                and kept.bundle() == await self.bundle()
            )  # type: ignore[union-attr]  # checked above

        await self.wait_until(is_renewed, timeout=30, what="another certificate, and the one before forgotten")
        ended.append(True)
        await making
        self.assertEqual(set(statuses), {201})
        self.assertGreater(len(statuses), 20)
        self.assertEqual(bundles, {1, 2})
        current = (await self.kept()).current
        assert current is not None
        self.assertEqual(
            ssl.PEM_cert_to_DER_cert(await self.served()), current.leaf.public_bytes(serving_certificate.Encoding.DER)
        )
