"""The checks alone: a snapshot in, an outcome out; and how a snapshot is read."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from cryptography import x509
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from meshtx.kube.annotations import POD_SECURITY
from meshtx.kube.checks.install import needed_rights, rules_of
from meshtx.kube.checks.outcomes import Check, Failed, Group, NotKnown, Outcome, Passed, Report, Skipped, Warned, run
from meshtx.kube.checks.snapshot import Absent, Found, Key, Read, Snapshot, Unread, expected
from meshtx.kube.checks.trust import ANCHORS_LEFT, ISSUER_EARLY, ISSUER_LEFT
from meshtx.kube.checks.webhook import LEFT
from meshtx.kube.checks.whole import AFTER, BEFORE, BETWEEN, look_until_passed
from meshtx.kube.install_trust import generated
from meshtx.kube.manifests.shapes import ISSUER_SECRET, TRUST_CONFIG_MAP, TRUST_KEY
from meshtx.kube.self_check import Rule
from meshtx.kube.serving_certificate import LIFETIME as LEAF
from meshtx.kube.serving_certificate import generate, to_pem
from meshtx.kube.tap_names import API_SERVICE
from meshtx.kube.webhook import NAME as WEBHOOK
from meshtx.pki.issuer import ISSUER_LIFETIME, ROOT_LIFETIME
from meshtx.pki.name import MeshScope
from tests.kube.snapshots import (
    NOW,
    SERVER,
    CheckedCase,
    Json,
    changed,
    healthy,
    meshed_pod,
    outcomes,
)

MOMENT = timedelta(seconds=1)


class RunTests(CheckedCase):
    def test_a_healthy_mesh_passes_every_check(self) -> None:
        self.assertEqual({type(each) for each in outcomes(healthy()).values()}, {Passed})

    def test_names_are_unique(self) -> None:
        for groups in (BEFORE, AFTER):
            names = [check.name for group in groups for check in group.checks]
            self.assertEqual(len(set(names)), len(names))

    def test_nothing_is_looked_at_behind_what_is_fatal(self) -> None:
        def fails(_: Snapshot) -> Failed:
            return Failed("p", "h")

        def unknown(_: Snapshot) -> Passed:
            raise NotKnown("why")

        first, second = Check("a", "", unknown, fatal=True), Check("b", "", fails, fatal=True)
        report = run([Group("g", (first, second)), Group("h", (first,))], healthy())
        self.assertEqual([each.outcome for each in report.results], [Skipped("why"), Failed("p", "h")])

    def test_it_may_pass_by_itself_if_everything_that_fails_may(self) -> None:
        def report(*outcomes: Failed | Passed | Warned) -> Report:
            return run([Group("g", tuple(Check("a", "", lambda _, each=each: each) for each in outcomes))], healthy())

        passing, lasting = Failed("", "", may_pass=True), Failed("", "")
        self.assertEqual(
            [report(*each).may_pass for each in ((), (Passed(),), (passing, Passed()), (passing, lasting))],
            [False, False, True, False],
        )
        self.assertEqual([report(each).passed for each in (Warned("", ""), passing)], [True, False])


class ClusterTests(CheckedCase):
    def test_servers_without_native_sidecars_are_too_old(self) -> None:
        old = replace(SERVER, version=(1, 28), release="v1.28.15")
        hint = "upgrade the cluster to 1.29 or newer, which knows native sidecars"
        self.assertEqual(self.only(healthy(server=old)), ("api-version", Failed("it is v1.28.15", hint)))
        self.assertIsInstance(outcomes(healthy(server=replace(SERVER, version=(1, 29))))["api-version"], Passed)

    def test_clocks_that_differ_are_a_warning_and_beyond_what_certificates_forgive_a_failure(self) -> None:
        for ahead, kind in ((60.0, Passed), (-61.0, Warned), (300.0, Warned), (301.0, Failed), (-301.0, Failed)):
            self.assertIsInstance(outcomes(healthy(server=replace(SERVER, ahead=ahead)))["clock"], kind, ahead)
        self.assertIsInstance(outcomes(healthy(server=replace(SERVER, ahead=None)))["clock"], Skipped)


class ControlPlaneTests(CheckedCase):
    def test_each_object_that_is_gone_is_named_by_one_check(self) -> None:
        for key in healthy().objects:
            found = outcomes(changed(key.kind, key.name, Absent()))
            failed = {name: each for name, each in found.items() if isinstance(each, Failed)}
            self.assertEqual(len(failed), 1, (key, failed))

    def test_what_may_not_be_read_is_skipped_and_fails_nothing(self) -> None:
        for key in healthy().objects:
            found = outcomes(changed(key.kind, key.name, Unread("the user may not")))
            self.assertEqual({name for name, each in found.items() if isinstance(each, Failed | Warned)}, set(), key)
            self.assertIn(Skipped("the user may not"), found.values(), key)

    def test_deployments_are_ready_when_all_of_their_last_change_is(self) -> None:
        for status, said in (
            ({"observedGeneration": 0}, "its change is not taken up yet"),
            ({"observedGeneration": 1}, "0 of 1 pods are of its last change"),
            ({"observedGeneration": 1, "updatedReplicas": 1}, "0 of 1 pods are ready"),
        ):
            snapshot = changed("Deployment", "meshtx-identity", lambda each, status=status: each.update(status=status))
            name, failed = self.only(snapshot)
            self.assertEqual(
                (name, failed.objects, failed.may_pass), ("deployments", (f"meshtx-identity: {said}",), True)
            )
        none = changed("Deployment", "meshtx-identity", lambda each: each["spec"].update(replicas=0))
        self.assertEqual(self.only(none)[1].objects, ("meshtx-identity: scaled to 0 pods",))

    def test_who_has_no_pod_is_not_blamed_for_what_it_does_not_do(self) -> None:
        snapshot = changed("APIService", API_SERVICE, lambda each: each.pop("status"))
        name, failed = self.only(snapshot)
        self.assertEqual((name, failed.problem), ("tap", "the API server has not looked at it yet"))
        snapshot.object("Deployment", "meshtx-directory").pop("status")
        found = outcomes(snapshot)
        self.assertEqual(found["tap"], Skipped("no pod of meshtx-directory is ready"))
        self.assertIsInstance(found["deployments"], Failed)

    def test_a_role_may_say_it_in_other_words(self) -> None:
        def joined(role: Json) -> None:
            role["rules"] = [{**rule, "verbs": rule["verbs"][::-1]} for rule in reversed(role["rules"])]

        self.assertIsInstance(outcomes(changed("ClusterRole", "meshtx-directory", joined))["roles"], Passed)

    def test_each_right_that_is_missing_is_named(self) -> None:
        for key, rendered in expected("meshtx").items():
            for place, rule in enumerate(rendered.get("rules") or ()):
                snapshot = changed(key.kind, key.name, lambda role, place=place: role["rules"].pop(place))
                rights = tuple(f"{key}: {each}" for each in rules_of({**rendered, "rules": [rule]}))
                name, failed = self.only(snapshot)
                self.assertEqual((name, failed.objects), ("roles", rights))

    def test_a_right_on_one_object_is_not_the_right_on_all(self) -> None:
        def narrow(role: Json) -> None:
            role["rules"][0]["resourceNames"] = ["one"]

        failed = outcomes(changed("ClusterRole", "meshtx-directory", narrow))["roles"]
        assert isinstance(failed, Failed), failed
        what = "ClusterRole meshtx-directory"
        self.assertEqual(failed.objects, (f"{what}: list pods", f"{what}: watch pods"))

    def test_a_wildcard_covers_and_is_too_much(self) -> None:
        def wide(role: Json) -> None:
            role["rules"] = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]

        name, warned = self.only(changed("ClusterRole", "meshtx-directory", wide))
        self.assertEqual((name, warned.objects), ("roles", ("ClusterRole meshtx-directory: * *.*",)))


class InstallTests(CheckedCase):
    def before(self, *lacking: Rule, labels: dict[str, str] | None = None) -> dict[str, Outcome]:
        """Return what is said of an empty cluster whose user lacks these rights."""
        rights = dict.fromkeys(needed_rights(expected("meshtx").values()), True) | dict.fromkeys(lacking, False)
        objects: dict[Key, Read[Json]] = dict.fromkeys(expected("meshtx"), Absent())
        if labels is not None:
            objects[Key("Namespace", "meshtx")] = Found({"metadata": {"name": "meshtx", "labels": labels}})
        found = run(BEFORE, healthy(objects=objects, rights=rights)).results
        return {each.check.name: each.outcome for each in found}

    def test_an_empty_cluster_passes(self) -> None:
        for labels in (None, {}, {POD_SECURITY: "privileged"}):
            self.assertEqual({type(each) for each in self.before(labels=labels).values()}, {Passed})

    def test_a_right_that_is_missing_is_named(self) -> None:
        create = Rule("create", "secrets", namespace="meshtx")
        failed = self.before(create)["may-apply"]
        assert isinstance(failed, Failed), failed
        self.assertEqual(failed.objects, ("create secrets in namespace meshtx",))
        pods, escalate = Rule("list", "pods"), Rule("escalate", "clusterroles", "rbac.authorization.k8s.io")
        self.assertIsInstance(self.before(pods)["may-grant"], Passed)  # who may escalate need not have it
        failed = self.before(pods, escalate)["may-grant"]
        assert isinstance(failed, Failed), failed
        self.assertEqual(failed.objects, ("list pods",))

    def test_what_may_not_be_read_counts_for_nothing(self) -> None:
        objects: dict[Key, Read[Json]] = dict.fromkeys(expected("meshtx"), Unread("the user may not"))
        rights = dict.fromkeys(needed_rights(expected("meshtx").values()), True)
        found = {each.check.name: each.outcome for each in run(BEFORE, healthy(objects=objects, rights=rights)).results}
        for check in ("not-installed", "namespace-pod-security"):
            self.assertEqual(found[check], Skipped("the user may not"))
        account = changed("ServiceAccount", "meshtx-directory", Unread("the user may not"))
        self.assertEqual(outcomes(account)["accounts"], Skipped("the user may not"))

    def test_a_level_of_pod_security_is_told(self) -> None:
        self.assertIsInstance(self.before(labels={POD_SECURITY: "baseline"})["namespace-pod-security"], Warned)


class TrustTests(CheckedCase):
    def outcome(self, check: str, lifetime: timedelta, left: timedelta) -> type:
        """Return what comes of a check when this much is left of what lives for so long."""
        return type(outcomes(healthy(now=NOW + lifetime - left))[check])

    def test_everything_is_told_at_its_time(self) -> None:
        for check, lifetime, left, before, after in (
            ("anchors", ROOT_LIFETIME, ANCHORS_LEFT, Passed, Failed),
            ("issuer", ISSUER_LIFETIME, ISSUER_EARLY, Passed, Warned),
            ("issuer", ISSUER_LIFETIME, ISSUER_LEFT, Warned, Failed),
            ("webhook-certificate", LEAF, LEFT, Passed, Failed),
        ):
            self.assertIs(self.outcome(check, lifetime, left + MOMENT), before, check)
            self.assertIs(self.outcome(check, lifetime, left - MOMENT), after, check)
            self.assertIs(self.outcome(check, lifetime, -timedelta(days=1)), Failed, check)

    def test_what_has_expired_is_not_called_a_stranger_too(self) -> None:
        found = outcomes(healthy(now=NOW + ISSUER_LIFETIME + timedelta(days=10)))
        self.assertEqual(
            {name for name, each in found.items() if isinstance(each, Failed)}, {"issuer", "webhook-certificate"}
        )

    def test_an_issuer_below_another_anchor_is_named(self) -> None:
        other = generated(MeshScope(), NOW).trust.anchors
        snapshot = changed("ConfigMap", TRUST_CONFIG_MAP, lambda each: each.update(data={TRUST_KEY: other}))
        failed = outcomes(snapshot)["issuer-verifies"]
        assert isinstance(failed, Failed), failed
        self.assertIn("does not verify against the trust anchors", failed.problem)

    def test_pods_with_other_anchors_are_named(self) -> None:
        old = meshed_pod("old")
        old["metadata"]["annotations"]["meshtx.io/trust-root-sha256"] = "another"
        name, warned = self.only(healthy(pods=Found([meshed_pod(), old])))
        self.assertEqual((name, warned.objects), ("pods-anchors", ("emojivoto/old",)))

    def test_an_issuer_whose_validity_has_not_begun_is_named(self) -> None:
        failed = outcomes(healthy(now=NOW - timedelta(days=1)))["issuer"]
        self.assertEqual(failed, Failed("the issuer is not valid yet", "set the clocks right"))

    def test_a_leaf_in_the_place_of_the_issuer_is_none(self) -> None:
        made = generate("leaf.example", NOW)
        anchors = {TRUST_KEY: to_pem([made.authority])}
        snapshot = changed(
            "Secret", ISSUER_SECRET, lambda each: each["data"].update({"tls.crt": _encoded([made.leaf])})
        )
        snapshot.object("ConfigMap", TRUST_CONFIG_MAP).update(data=anchors)
        failed = outcomes(snapshot)["issuer-verifies"]
        assert isinstance(failed, Failed), failed
        self.assertEqual(failed.problem, "the issuer is no certificate authority")

    def test_an_older_kind_of_secret_is_understood(self) -> None:
        """That of ``linkerd.io/tls``."""

        def renamed(secret: Json) -> None:
            secret["data"] = {"crt.pem": secret["data"]["tls.crt"]}

        self.assertEqual(outcomes(changed("Secret", ISSUER_SECRET, renamed)), outcomes(healthy()))

    def test_nonsense_is_named_by_one_check(self) -> None:
        for text in ("%", b64encode(b"nonsense").decode(), ""):
            name, failed = self._only_failed("Secret", ISSUER_SECRET, {"tls.crt": text})
            self.assertEqual(name, "issuer-verifies", failed)
        self.assertEqual(self._only_failed("ConfigMap", TRUST_CONFIG_MAP, {})[0], "anchors")

    def _only_failed(self, kind: str, name: str, data: dict[str, str]) -> tuple[str, object]:
        found = outcomes(changed(kind, name, lambda each: each.update(data=data)))
        ((name, failed),) = [(name, each) for name, each in found.items() if isinstance(each, Failed)]
        return name, failed


class WebhookTests(CheckedCase):
    def test_what_the_server_adds_is_no_difference(self) -> None:
        def defaulted(each: Json) -> None:
            each["webhooks"][2]["matchConditions"] = []
            each["webhooks"][0]["rules"][0]["more"] = "x"

        self.assertIsInstance(outcomes(changed("MutatingWebhookConfiguration", WEBHOOK, defaulted))["webhook"], Passed)

    def test_an_entry_that_is_missing_is_named(self) -> None:
        name, failed = self.only(changed("MutatingWebhookConfiguration", WEBHOOK, lambda each: each["webhooks"].pop(1)))
        self.assertEqual((name, failed.objects), ("webhook", ("pods.injector.meshtx.io: is missing",)))

    def test_another_selector_is_named(self) -> None:
        def every(each: Json) -> None:
            each["webhooks"][0]["objectSelector"] = {}

        name, failed = self.only(changed("MutatingWebhookConfiguration", WEBHOOK, every))
        self.assertEqual(
            (name, failed.objects), ("webhook", ("namespaces.injector.meshtx.io: objectSelector differs",))
        )

    def test_a_webhook_that_lets_pods_by_is_named(self) -> None:
        def opened(each: Json) -> None:
            each["webhooks"][1]["failurePolicy"] = "Ignore"

        name, failed = self.only(changed("MutatingWebhookConfiguration", WEBHOOK, opened))
        self.assertEqual((name, failed.objects), ("webhook-closed", ("pods.injector.meshtx.io",)))

    def test_another_authority_is_named(self) -> None:
        other = _encoded([generate(f"{WEBHOOK}.meshtx.svc", NOW).authority])
        name, failed = self.only(believing(other, 2))
        self.assertEqual((name, failed.may_pass), ("webhook-believed", True))
        self.assertEqual(failed.objects, ("workloads.injector.meshtx.io",))

    def test_what_is_no_authority_is_named(self) -> None:
        name, failed = self.only(believing(_encoded([generate(f"{WEBHOOK}.meshtx.svc", NOW).leaf]), 0, 1, 2))
        self.assertEqual((name, len(failed.objects)), ("webhook-believed", 3))

    def test_an_entry_that_believes_nobody_yet_may_still_come_to(self) -> None:
        failed = outcomes(believing("", 1))["webhook-believed"]
        assert isinstance(failed, Failed), failed
        self.assertEqual((failed.objects, failed.may_pass), (("pods.injector.meshtx.io",), True))

    def test_of_no_entry_there_is_nothing_to_say(self) -> None:
        found = outcomes(changed("MutatingWebhookConfiguration", WEBHOOK, lambda each: each.pop("webhooks")))
        self.assertEqual(
            {name for name, each in found.items() if isinstance(each, Skipped)},
            {"webhook-believed", "webhook-certificate"},
        )

    def test_nonsense_in_the_place_of_authorities_is_named_by_one_check(self) -> None:
        found = outcomes(believing(b64encode(b"nonsense").decode(), 1))
        self.assertIsInstance(found["webhook-certificate"], Skipped)
        failed = found["webhook-believed"]
        assert isinstance(failed, Failed), failed
        self.assertEqual(failed.problem, "pods.injector.meshtx.io: holds no PEM block (-----BEGIN ...-----)")

    def test_one_of_several_replicas_that_ended_without_renewing_is_nothing_odd(self) -> None:
        old = generate(f"{WEBHOOK}.meshtx.svc", NOW, timedelta(hours=1)).authority
        new = generate(f"{WEBHOOK}.meshtx.svc", NOW).authority
        found = outcomes(believing(_encoded([old, new]), 0, 1, 2))
        self.assertEqual(found["webhook-believed"], Passed())
        self.assertIsInstance(found["webhook-certificate"], Passed)

    def test_an_authority_that_lasts_for_years_says_nothing_of_the_injectors_certificate(self) -> None:
        old = generate(f"{WEBHOOK}.meshtx.svc", NOW, timedelta(hours=1)).authority
        foreign = generate("example.org", NOW, timedelta(days=3650)).authority
        name, failed = self.only(believing(_encoded([old, foreign]), 0, 1, 2))
        self.assertEqual(name, "webhook-certificate")
        self.assertIn("expires in 0 days", failed.problem)

    def test_such_authorities_alone_are_named(self) -> None:
        foreign = generate("example.org", NOW, timedelta(days=3650)).authority
        found = outcomes(believing(_encoded([foreign]), 0, 1, 2))
        self.assertIsInstance(found["webhook-certificate"], Skipped)
        failed = found["webhook-believed"]
        assert isinstance(failed, Failed), failed
        self.assertEqual(failed.problem, "none of the authorities is an injector's: they last too long")

    def test_without_a_pod_of_the_injector_its_endpoints_say_nothing_more(self) -> None:
        snapshot = changed("Deployment", WEBHOOK, lambda each: each.pop("status"))
        self.assertIsInstance(outcomes(snapshot)["webhook-endpoints"], Skipped)

    def test_endpoints_that_are_not_ready_are_none(self) -> None:
        unready = {
            "metadata": {"labels": {"kubernetes.io/service-name": WEBHOOK}},
            "endpoints": [{"conditions": {"ready": False}}],
        }
        self.assertEqual(self.only(healthy(slices=Found([unready])))[0], "webhook-endpoints")


class UntilPassedTests(CheckedCase):
    def until(self, *outcomes: Failed | Passed, patience: float) -> tuple[Deferred[Report], Clock]:
        left = list(outcomes)

        async def once() -> Report:
            outcome = left.pop(0)
            return run([Group("g", (Check("a", "", lambda _: outcome),))], healthy())

        clock = Clock()
        return ensureDeferred(look_until_passed(once, patience, clock)), clock

    def test_it_is_looked_at_again_until_it_passes(self) -> None:
        unready = Failed("", "", may_pass=True)
        looking, clock = self.until(unready, unready, Passed(), patience=60)
        clock.advance(BETWEEN)
        self.assertNoResult(looking)
        clock.advance(BETWEEN)
        self.assertTrue(self.successResultOf(looking).passed)

    def test_what_does_not_pass_by_itself_is_not_waited_for(self) -> None:
        looking, _ = self.until(Failed("", ""), patience=60)
        self.assertFalse(self.successResultOf(looking).passed)

    def test_the_time_is_kept(self) -> None:
        unready = Failed("", "", may_pass=True)
        looking, clock = self.until(unready, unready, patience=BETWEEN)
        clock.advance(BETWEEN)
        self.assertFalse(self.successResultOf(looking).passed)
        at_once, _ = self.until(unready, patience=0)
        self.assertFalse(self.successResultOf(at_once).passed)


def believing(bundle: str, *numbers: int) -> Snapshot:
    """Return a healthy mesh but for what these entries of the webhook have as their ``caBundle``."""

    def replaced(each: Json) -> None:
        for number in numbers:
            each["webhooks"][number]["clientConfig"]["caBundle"] = bundle

    return changed("MutatingWebhookConfiguration", WEBHOOK, replaced)


def _encoded(certificates: Sequence[x509.Certificate]) -> str:
    return b64encode(to_pem(certificates).encode()).decode()
