"""Certificates by tokens of a real cluster: each sort of token gets its status, and trouble is never a denial."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import ECKey
from twisted.logger import capturedLogs, formatEvent

from meshtx.identity import ca_folder
from tests.kube.identity_case import ACCOUNT, API_AUDIENCE, EVENTS, REVIEWS, KubeIdentityCase, part, times
from tests.services.test_identity import Expired

REJECTED = "FAILED_PRECONDITION"
RULE = (
    "this service account may not create tokenreviews.authentication.k8s.io: bind it to the roles of 'meshtx install'"
)


class Tokens(KubeIdentityCase):
    async def test_a_pods_projected_token_gets_the_certificate_of_its_account(self) -> None:
        await self.ready()
        token = await self.pod_token()
        with capturedLogs() as events:
            self.assertEqual(await self.certify(token), self.issued())
        said = "\n".join(str(formatEvent(event)) for event in events)
        uid = part(token, 1)["kubernetes.io"]["pod"]["uid"]
        self.assertIn(f"the token of {self.issued()[1]} is bound to pod web-1, uid {uid}", said)
        self.assertIn(f"issued a certificate to {self.issued()[1]}, serial ", said)
        for piece in token.split("."):
            self.assertNotIn(piece, said)

    async def test_another_audience(self) -> None:
        await self.ready()
        await self.pod_token()
        for audience in (API_AUDIENCE, "vault"):
            pod = await self.call("GET", f"/api/v1/namespaces/{self.namespace}/pods/web-1")
            status, said = await self.certify(await self.token(self.namespace, "web", audience, pod))
            self.assertEqual(status, REJECTED)
            self.assertIn(f'token audiences ["{audience}"] is invalid for the target audiences', said)

    async def test_another_account(self) -> None:
        await self.ready()
        token = await self.pod_token()
        said = f"the token is {self.issued()[1]}'s, not that of the identity asked for"
        self.assertEqual(await self.certify(token, "voting"), (REJECTED, said))

    async def test_expired_and_not_valid_yet(self) -> None:
        await self.ready()
        token = await self.pod_token()
        self.assertEqual(await self.certify(self.resigned(token, **times(-3600, 3600))), self.issued())
        status, said = await self.certify(self.resigned(token, **times(-7200, -3600)))
        self.assertEqual(status, REJECTED)
        self.assertIn("token has expired", said)
        status, said = await self.certify(self.resigned(token, **times(3600, 7200)))
        self.assertEqual(status, REJECTED)
        self.assertIn("the API server rejects the token: ", said)

    async def test_forged(self) -> None:
        """With a key of the forger's, with changed claims, with an issuer of another cluster, without a signature."""
        await self.ready()
        token = await self.pod_token()
        head, claims, signature = token.split(".")
        key = ECKey.import_key(ec.generate_private_key(ec.SECP256R1()))
        own = jwt.encode(part(token, 0), part(token, 1), key, algorithms=["ES256"])
        admin = self.resigned(token, sub=f"system:serviceaccount:{self.namespace}:admin").split(".")[1]
        for forged in (
            own,
            f"{head}.{admin}.{signature}",
            self.resigned(token, iss="https://kubernetes.other"),
            f"{head}.{claims}.",
            "hello",
        ):
            status, said = await self.certify(forged)
            self.assertEqual((status, said[:34]), (REJECTED, "the API server rejects the token: "))

    async def test_a_pod_that_is_gone(self) -> None:
        await self.ready()
        token = await self.pod_token()
        await self.delete_pod("web-1")

        async def rejected() -> bool:
            return (await self.certify(token))[0] == REJECTED  # the server looks at the pod through a cache

        await self.wait_until(rejected, what="rejected")
        _, said = await self.certify(token)
        self.assertIn("token has been invalidated", said)

    async def test_a_pod_of_the_same_name_is_another(self) -> None:
        await self.ready()
        token = await self.pod_token()
        await self.delete_pod("web-1")
        made = await self.pod("web-1", "10.1.0.8", account="web")
        self.assertEqual(await self.certify(await self.token(self.namespace, "web", pod=made)), self.issued())

        async def rejected() -> bool:
            return (await self.certify(token))[0] == REJECTED

        await self.wait_until(rejected, what="rejected")

    async def test_an_account_that_is_gone(self) -> None:
        await self.ready()
        token = await self.pod_token()
        await self.call("DELETE", f"/api/v1/namespaces/{self.namespace}/serviceaccounts/web")

        async def rejected() -> bool:
            return (await self.certify(token))[0] == REJECTED

        await self.wait_until(rejected, what="rejected")

    async def test_a_token_of_no_pod(self) -> None:
        await self.ready()
        await self.account("web")
        token = await self.token(self.namespace, "web")
        self.assertEqual(await self.certify(token), (REJECTED, "the token is not bound to a pod"))

    async def test_a_token_of_no_pod_where_the_configuration_takes_it(self) -> None:
        await self.ready(token_requires_pod="false")
        await self.account("web")
        self.assertEqual(await self.certify(await self.token(self.namespace, "web")), self.issued())

    async def test_what_is_no_token(self) -> None:
        await self.ready()
        self.assertEqual((await self.certify("no token"))[0], "INVALID_ARGUMENT")


class Trouble(KubeIdentityCase):
    async def test_the_missing_rule_is_named_and_waited_for(self) -> None:
        await self.account(ACCOUNT)
        service = await self.start()
        reason = f"not ready: {RULE}\n"
        await self.wait_until(lambda: service.ready_reason() == RULE, what="the rule named")
        self.assertEqual(await self.looked(), (503, reason))
        self.assertEqual(
            await self.certify(await self.pod_token()), ("UNAVAILABLE", f"the token cannot be judged: {RULE}")
        )

        name = f"{self.namespace}-reviews"
        group = "rbac.authorization.k8s.io"
        common = {"apiVersion": f"{group}/v1", "metadata": {"name": name}}
        binding = {
            "kind": "ClusterRoleBinding",
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": self.namespace}],
        }
        await self.apply([{**common, "kind": "ClusterRole", "rules": [REVIEWS]}, {**common, **binding}])
        await self.wait_until(lambda: service.ready_reason() is None, 30, "ready")
        self.assertEqual(await self.looked(), (200, "ready\n"))

    async def test_an_api_server_that_is_away_is_unavailable_and_not_a_denial(self) -> None:
        service = await self.ready()
        token = await self.pod_token()
        self.assertEqual(await self.certify(token), self.issued())
        self.cluster.stop_api()
        try:
            status, said = await self.certify(token)
        finally:
            self.cluster.start_api()
        self.assertEqual(status, "UNAVAILABLE")
        self.assertIn("the token cannot be judged: ", said)
        self.assertIsNone(service.ready_reason())
        self.assertEqual(await self.certify(token), self.issued())

    async def test_without_an_api_server_it_is_not_ready_and_then_it_is(self) -> None:
        await self.account(ACCOUNT, [REVIEWS], cluster=True)
        folder = await self.mounted()
        self.cluster.stop_api()
        try:
            self.patch(self, "mounted", lambda: _now(folder))
            service = await self.start()
            await self.wait_until(lambda: "API server" in str(service.ready_reason()), what="not ready")
            self.assertEqual((await self.looked())[0], 503)
        finally:
            self.cluster.start_api()
        await self.wait_until(lambda: service.ready_reason() is None, 40, "ready")

    async def test_a_token_of_our_own_that_has_expired_is_unavailable(self) -> None:
        await self.account(ACCOUNT, [REVIEWS], cluster=True)
        folder = await self.mounted()
        self.patch(self, "mounted", lambda: _now(folder))
        await self.start()
        (folder / "token").write_text(self.resigned((folder / "token").read_text(), **times(-7200, -3600)))
        said = "the token cannot be judged: the API server does not take our own token"
        self.assertEqual(await self.certify(await self.pod_token()), ("UNAVAILABLE", said))


class Events(KubeIdentityCase):
    async def events(self) -> list[tuple[str, str, str, str]]:
        found = await self.call("GET", f"/api/v1/namespaces/{self.namespace}/events")
        return [
            (each["involvedObject"]["kind"], each["involvedObject"]["name"], each["reason"], each["type"])
            for each in found["items"]
            if each["source"].get("component") == ACCOUNT
        ]

    async def told(self, *expected: tuple[str, str]) -> None:
        """Wait until these are the events, by reason and type."""
        whole = sorted(("Deployment", ACCOUNT, reason, kind) for reason, kind in expected)

        async def are_there() -> bool:
            return sorted(await self.events()) == whole

        await self.wait_until(are_there, what="the events")

    async def test_what_becomes_of_the_issuer_is_told_at_the_deployment(self) -> None:
        service = await self.ready()
        await self.bind(ACCOUNT, [EVENTS])
        key = self.mesh / ca_folder.ISSUER / "tls.key"
        key.write_text("no key\n")
        service.issuer._watch.look()
        skipped = ("IssuerUpdateSkipped", "Warning")
        await self.told(skipped)
        key.unlink()
        ca_folder.issuer(self.mesh, datetime.now(UTC))
        service.issuer._watch.look()
        updated = ("IssuerUpdated", "Normal")
        await self.told(skipped, updated)
        service.issuer.loaded = Expired()  # type: ignore[assignment]  # a stand-in
        service._judge()
        await self.told(skipped, updated, ("IssuerValidationFailed", "Warning"))

    async def test_without_the_rule_the_log_names_it(self) -> None:
        service = await self.ready()
        (self.mesh / ca_folder.ISSUER / "tls.key").write_text("no key\n")
        with capturedLogs() as events:
            service.issuer._watch.look()
            await self.wait_until(
                lambda: any("cannot create resource" in str(formatEvent(each)) for each in events), what="the log"
            )
        said = "\n".join(str(formatEvent(event)) for event in events)
        self.assertIn("event IssuerUpdateSkipped was not written: ", said)
        self.assertIn('cannot create resource "events"', said)


async def _now(value: object) -> object:
    return value
