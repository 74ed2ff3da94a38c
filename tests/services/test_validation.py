"""Which validator a configuration gives, and what it says where one cannot be had."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet import reactor

from meshtx.config import IdentityConfig, load
from meshtx.errors import ConfigError
from meshtx.files import write_file
from meshtx.services.identity import make
from tests.identity.signed_tokens import ISSUER, P256, key_set, token
from tests.services.identity_case import IdentityCase

CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


class ValidationCase(IdentityCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def flags(self, **changed: str) -> dict[str, str]:
        flags = super().flags(**changed)
        del flags["token_key_file"]
        return flags

    def file(self, name: str, data: bytes) -> str:
        write_file(self.folder / name, data, private=False)
        return str(self.folder / name)

    def problem(self, **changed: str) -> str:
        with self.assertRaises(ConfigError) as caught:
            make(reactor, load(IdentityConfig, self.flags(**changed), {}, None))
        return str(caught.exception)


class Kubernetes(ValidationCase):
    def test_outside_of_a_cluster_it_does_not_start(self) -> None:
        environ = {key: value for key, value in os.environ.items() if key not in CLUSTER}
        self.patch(os, "environ", environ)
        self.assertIn("not set: this is no pod of a cluster", self.problem(validator="kubernetes"))

    def test_without_a_token_for_the_api_it_does_not_start(self) -> None:
        self.patch(os, "environ", {**os.environ, **CLUSTER})
        said = self.problem(validator="kubernetes", kubernetes_folder=str(self.folder))
        self.assertIn("mount the service account token into this container", said)


class KeySets(ValidationCase):
    def test_a_file_that_is_no_key_set(self) -> None:
        path = self.file("keys.json", b"[]")
        self.assertEqual(
            self.problem(validator="jwks", jwks_file=path, jwks_issuer=ISSUER),
            f'jwks_file: {path}: it is no JSON Web Key Set: {{"keys": [...]}}; '
            "name a JSON Web Key Set, as 'kubectl get --raw /openid/v1/jwks' prints",
        )

    def test_authorities_that_are_none(self) -> None:
        path = self.file("ca.crt", b"hello")
        said = self.problem(validator="jwks", jwks_url="https://a.example", jwks_ca_file=path, jwks_issuer=ISSUER)
        self.assertTrue(said.startswith("jwks_ca_file: "), said)
        self.assertTrue(said.endswith("; name the authorities of the URL's server"), said)

    async def test_keys_that_come_into_the_file_are_used_and_bad_ones_counted(self) -> None:
        service = self.start(validator="jwks", jwks_issuer=ISSUER, jwks_file=self.file("keys.json", key_set(P256)))
        self.assertIsNone(service.ready_reason())
        judge = service.validation.validator
        name = await judge.validate(token(), service.own.identity.scope, 1_800_000_000.0)
        self.assertEqual(str(name), "web.shop.serviceaccount.identity.meshtx.cluster.local")
        self.file("keys.json", b"{}")
        service.validation.beside._begin()  # type: ignore[union-attr]  # as time does
        self.assertIn(b'meshtx_reload_total{result="rejected",what="key_set"} 1.0', service.metrics.exposition())
        await judge.validate(token(), service.own.identity.scope, 1_800_000_000.0)

    async def test_while_there_are_no_keys_it_is_not_ready(self) -> None:
        ca = str((self.mesh / "root.crt").absolute())
        service = self.start(validator="jwks", jwks_issuer=ISSUER, jwks_url="https://127.0.0.1:1/keys", jwks_ca_file=ca)
        self.assertEqual(service.ready_reason(), "no token keys yet: not fetched")
