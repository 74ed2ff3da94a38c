"""The manifests, without a cluster: what is in them and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshtx.config import IdentityConfig, ProxyConfig, settings
from meshtx.config_load import ProgramConfig
from meshtx.kube import cluster_watch, tap_api
from meshtx.kube.annotations import Resources as SidecarResources
from meshtx.kube.manifests.rbac import TAPPERS
from meshtx.kube.manifests.shapes import ISSUER_SECRET, TRUST_CONFIG_MAP, Document
from meshtx.kube.manifests.values import Program, PullPolicy, Resources, Sidecar, Trust, Values
from meshtx.kube.manifests.whole import deletions, documents
from meshtx.kube.self_check import Rule
from meshtx.kube.settings.directory import DirectoryConfig
from meshtx.kube.settings.injector import InjectorConfig
from meshtx.kube.sidecar import INIT, PROXY, Family
from meshtx.kube.token_review import NEEDED as TOKEN_REVIEWS
from meshtx.pki.name import MeshScope
from meshtx.services import injector

TRUST = Trust(anchors="ANCHORS\n", digest="d1635", issuer="ISSUER\n", issuer_key="THE KEY\n")

CONFIGS: dict[str, type[ProgramConfig]] = {
    "meshidentity": IdentityConfig,
    "meshdirectory": DirectoryConfig,
    "meshinjector": InjectorConfig,
    "meshproxy": ProxyConfig,
}
"""By the twistd command."""


def needed(program: Program, namespace: str = "meshtx") -> tuple[Rule, ...]:
    """Return what a program asks the API for: its self-check's rules, and what it can do without."""
    return {
        Program.IDENTITY: (TOKEN_REVIEWS, *(Rule(verb, "events", namespace=namespace) for verb in ("create", "patch"))),
        Program.DIRECTORY: (*cluster_watch.RULES, *cluster_watch.OPTIONAL.rules, *tap_api.RULES),
        Program.INJECTOR: injector.RULES,
    }[program]


SERVED = {Program.IDENTITY: "8080", Program.DIRECTORY: "8086,8089", Program.INJECTOR: "8443"}
"""The ports that a sidecar leaves to the program itself."""

OTHERWISE = (
    Values(trust=None),
    Values(trust=TRUST, replicas=3, spread=True),
    Values(
        trust=TRUST,
        pull_policy=PullPolicy.ALWAYS,
        pull_secrets=("registry",),
        priority_class="high",
        certificate_lifetime="1h",
        image="example.org/meshtx:2",
        trust_domain="example.org",
        cluster_networks=("10.0.0.0/8", "fd00::/8"),
        balancer_networks=("192.0.2.0/24",),
        resources=dict.fromkeys(Program, Resources({"cpu": "1"}, {})),
    ),
)


class Case(SynchronousTestCase):
    maxDiff = None

    def setUp(self) -> None:
        self.documents = documents(Values(trust=TRUST))

    def of(self, kind: str) -> dict[str, Document]:
        """Return the documents of a kind by their names."""
        return {each["metadata"]["name"]: each for each in self.documents if each["kind"] == kind}

    def templates(self) -> dict[Program, Document]:
        return {Program(name): each["spec"]["template"] for name, each in self.of("Deployment").items()}

    def containers(self) -> Iterator[tuple[Program, Document]]:
        for program, template in self.templates().items():
            for each in (*template["spec"]["initContainers"], *template["spec"]["containers"]):
                yield program, each

    def own(self, program: Program) -> Document:
        """Return a program's own container."""
        (container,) = self.templates()[program]["spec"]["containers"]
        return container

    def sidecar(self, program: Program) -> Document:
        containers = self.templates()[program]["spec"]["initContainers"]
        return next(each for each in containers if each["name"] == PROXY)


class WholeTests(Case):
    def test_the_same_values_give_the_same_documents(self) -> None:
        self.assertEqual(documents(Values(trust=TRUST)), self.documents)

    def test_whatever_the_values_the_same_names_are_deleted(self) -> None:
        everything = {(each["kind"], each["metadata"]["name"]) for each in deletions("meshtx")}
        for values in OTHERWISE:
            made = {(each["kind"], each["metadata"]["name"]) for each in documents(values)}
            left_out = {("Secret", ISSUER_SECRET), ("ConfigMap", TRUST_CONFIG_MAP)} if values.trust is None else set()
            self.assertEqual(everything - made, left_out)
            self.assertEqual(made - everything, set())

    def test_a_deletion_names_an_object_and_says_nothing_else(self) -> None:
        self.assertEqual(deletions("mesh")[-1], {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mesh"}})
        self.assertEqual({key for each in deletions("mesh") for key in each}, {"apiVersion", "kind", "metadata"})

    def test_the_namespace_comes_first_and_the_webhook_last(self) -> None:
        """Without the first nothing is accepted; with the last, pods wait for the injector."""
        kinds = [each["kind"] for each in self.documents]
        self.assertEqual((kinds[0], kinds[-1]), ("Namespace", "MutatingWebhookConfiguration"))

    def test_everything_has_the_labels_that_kubernetes_recommends(self) -> None:
        recommended = {"name", "instance", "version", "component", "part-of", "managed-by"}
        for each in [*self.documents, *self.templates().values()]:
            labels = each["metadata"]["labels"]
            found = {key.removeprefix("app.kubernetes.io/") for key, value in labels.items() if value}
            self.assertLessEqual(recommended, found, each)

    def test_selectors_are_those_of_the_first_version(self) -> None:
        """The API server lets nobody change a Deployment's."""
        for name, deployment in self.of("Deployment").items():
            self.assertEqual(deployment["spec"]["selector"], {"matchLabels": {"app.kubernetes.io/name": name}})

    def test_another_namespace_is_named_everywhere(self) -> None:
        whole = str(documents(Values(trust=TRUST, namespace="elsewhere")))
        self.assertNotIn("'namespace': 'meshtx'", whole)
        self.assertNotIn("meshtx.svc", whole)
        self.assertIn("meshtx-identity.elsewhere.serviceaccount.identity.elsewhere.cluster.local", whole)

    def test_nothing_is_empty(self) -> None:
        """The server drops what is empty, and each `kubectl apply` would see a change."""

        def empty(value: Any, path: str) -> Iterator[str]:
            if value in ({}, [], None, "") and not path.endswith((".apiGroups.0", ".objectSelector")):
                yield path
            parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            for key, part in parts:
                yield from empty(part, f"{path}.{key}")

        for values in (Values(trust=TRUST), *OTHERWISE):
            for each in documents(values):
                self.assertEqual(list(empty(each, each["metadata"]["name"])), [])

    def test_no_key_is_shown_by_accident(self) -> None:
        self.assertNotIn("THE KEY", repr(Values(trust=TRUST)))

    def test_the_issuers_is_the_only_secret(self) -> None:
        self.assertEqual(list(self.of("Secret")), [ISSUER_SECRET])

    def test_whom_api_servers_believe_is_left_to_the_programs(self) -> None:
        """Applying the manifests again would take it away."""
        self.assertNotIn("caBundle", str(self.documents))

    def test_what_keeps_others_waiting_is_deleted_first(self) -> None:
        """Pods wait for the webhook, the end of each namespace for the discovery of every API."""
        kinds = [each["kind"] for each in deletions("meshtx")]
        self.assertEqual(kinds[:2], ["MutatingWebhookConfiguration", "APIService"])

    def test_nobody_may_tap_by_the_installation_alone(self) -> None:
        bound = {each["roleRef"]["name"] for each in self.of("ClusterRoleBinding").values()}
        self.assertIn(TAPPERS, self.of("ClusterRole"))
        self.assertNotIn(TAPPERS, bound)
        labels = [key for each in self.of("ClusterRole").values() for key in each["metadata"]["labels"]]
        self.assertEqual([key for key in labels if "aggregate" in key], [])


class RightsTests(Case):
    def rules(self) -> Iterator[tuple[str, str, Document]]:
        """Yield the account, its namespace or none, and a rule that it has."""
        for prefix in ("Cluster", ""):
            held = self.of(f"{prefix}Role")
            for name, binding in self.of(f"{prefix}RoleBinding").items():
                self.assertEqual((binding["roleRef"]["name"], binding["roleRef"]["kind"]), (name, f"{prefix}Role"))
                (subject,) = binding["subjects"]
                for rule in held[name]["rules"]:
                    yield subject["name"], binding["metadata"].get("namespace", ""), rule

    def test_no_role_has_any_verb_on_secrets(self) -> None:
        """Those that nobody is bound to neither."""
        for values in (Values(trust=TRUST), *OTHERWISE):
            roles = [each for each in documents(values) if each["kind"] in {"Role", "ClusterRole"}]
            self.assertGreater(len(roles), len(Program))
            for role in roles:
                for resource in (each for rule in role["rules"] for each in rule["resources"]):
                    self.assertNotIn(resource.partition("/")[0], {"secrets", "*"}, role["metadata"]["name"])

    def test_every_right_is_one_that_its_program_asks_for(self) -> None:
        for program in Program:
            held = {
                (verb, rule["resources"][0], rule["apiGroups"][0], namespace, (rule.get("resourceNames") or [""])[0])
                for account, namespace, rule in self.rules()
                for verb in rule["verbs"]
                if account == program
            }
            asked = {(each.verb, each.resource, each.group, each.namespace, each.name) for each in needed(program)}
            self.assertEqual(held, asked, program)

    def test_no_right_is_a_wildcard(self) -> None:
        for _, _, rule in self.rules():
            self.assertNotIn("*", [*rule["apiGroups"], *rule["resources"], *rule["verbs"]])

    def test_no_right_makes_others(self) -> None:
        """Making pods reads every Secret of their namespace; these verbs and kinds widen one's own rights."""
        for _, _, rule in self.rules():
            self.assertEqual(set(rule["verbs"]) & {"bind", "escalate", "impersonate"}, set())
            if set(rule["resources"]) & {"pods", "roles", "clusterroles", "rolebindings", "clusterrolebindings"}:
                self.assertEqual(set(rule["verbs"]) - {"get", "list", "watch"}, set())

    def test_no_token_of_the_api_is_mounted_by_itself(self) -> None:
        for account in self.of("ServiceAccount").values():
            self.assertIs(account["automountServiceAccountToken"], False)
        for template in self.templates().values():
            self.assertIs(template["spec"]["automountServiceAccountToken"], False)

    def test_only_the_programs_themselves_have_a_token_of_the_api(self) -> None:
        holders = {
            each["name"]
            for _, each in self.containers()
            for mount in each["volumeMounts"]
            if mount["name"] == "kube-api-access"
        }
        self.assertEqual(holders, {"identity", "directory", "injector"})

    def test_only_identity_has_the_issuers_key(self) -> None:
        volumes = {
            (program, volume["name"])
            for program, template in self.templates().items()
            for volume in template["spec"]["volumes"]
            if "secret" in volume
        }
        self.assertEqual(volumes, {(Program.IDENTITY, "issuer")})
        holders = [
            each["name"] for _, each in self.containers() for mount in each["volumeMounts"] if mount["name"] == "issuer"
        ]
        self.assertEqual(holders, ["identity"])


class ProgramTests(Case):
    def test_every_variable_is_a_setting_of_its_program(self) -> None:
        for program, container in self.containers():
            config = CONFIGS.get(container["command"][-1])
            if config is None:  # the redirect's
                continue
            known = {each.variable: each for each in settings(config)}
            for variable in container["env"]:
                if not variable["name"].startswith("MESHTX_POD_"):
                    self.assertIn(variable["name"], known, program)
                if "value" in variable and "$(" not in variable["value"]:
                    known[variable["name"]].kind.parse(variable["value"])

    def test_no_container_has_more_rights_than_it_needs(self) -> None:
        for program, container in self.containers():
            held = container["securityContext"]
            added = held["capabilities"].get("add", [])
            self.assertEqual(added, ["NET_ADMIN"] if container["name"] == INIT else [], program)
            self.assertEqual(held["capabilities"]["drop"], ["ALL"])
            self.assertEqual((held["allowPrivilegeEscalation"], held["readOnlyRootFilesystem"]), (False, True))
        for template in self.templates().values():
            pod = template["spec"]["securityContext"]
            self.assertEqual((pod["runAsNonRoot"], pod["seccompProfile"]), (True, {"type": "RuntimeDefault"}))
            self.assertNotEqual(pod["runAsUser"], 2102)  # the redirect lets that user's connections pass

    def test_every_container_says_what_it_uses(self) -> None:
        for program, container in self.containers():
            self.assertEqual(container["resources"].keys(), {"requests", "limits"}, program)

    def test_a_service_leads_to_a_port_of_its_pods(self) -> None:
        for name, service in self.of("Service").items():
            template = self.templates()[Program(name)]
            self.assertLessEqual(service["spec"]["selector"].items(), template["metadata"]["labels"].items())
            ports = {port["name"] for port in self.own(Program(name))["ports"]}
            for port in service["spec"]["ports"]:
                self.assertIn(port["targetPort"], ports)

    def test_a_policy_lets_in_to_every_port_that_is_served(self) -> None:
        for name, policy in self.of("NetworkPolicy").items():
            (ingress,) = policy["spec"]["ingress"]
            template = self.templates()[Program(name)]
            self.assertLessEqual(
                policy["spec"]["podSelector"]["matchLabels"].items(), template["metadata"]["labels"].items()
            )
            served = {
                port["containerPort"]
                for port in (*self.own(Program(name))["ports"], *self.sidecar(Program(name))["ports"])
            }
            self.assertLessEqual(served, {port["port"] for port in ingress["ports"]})

    def test_nodes_can_be_emptied(self) -> None:
        for name, budget in self.of("PodDisruptionBudget").items():
            self.assertEqual(budget["spec"]["maxUnavailable"], 1)
            template = self.templates()[Program(name)]
            self.assertLessEqual(
                budget["spec"]["selector"]["matchLabels"].items(), template["metadata"]["labels"].items()
            )

    def test_replicas_that_are_spread_share_no_node_and_make_room_for_each_other(self) -> None:
        self.documents = documents(Values(trust=TRUST, replicas=3, spread=True))
        for name, deployment in self.of("Deployment").items():
            spec = deployment["spec"]
            self.assertEqual(spec["replicas"], 3)
            self.assertEqual(spec["strategy"]["rollingUpdate"], {"maxSurge": 0, "maxUnavailable": 1})
            (term,) = spec["template"]["spec"]["affinity"]["podAntiAffinity"][
                "requiredDuringSchedulingIgnoredDuringExecution"
            ]
            self.assertEqual(term["topologyKey"], "kubernetes.io/hostname")
            self.assertEqual(term["labelSelector"]["matchLabels"], {"app.kubernetes.io/name": name})

    def test_a_volume_has_a_name_of_its_own(self) -> None:
        for program, template in self.templates().items():
            names = [volume["name"] for volume in template["spec"]["volumes"]]
            self.assertEqual(len(names), len(set(names)), program)


class MeshedTests(Case):
    def test_every_pod_of_the_control_plane_is_meshed(self) -> None:
        for template in self.templates().values():
            self.assertEqual([each["name"] for each in template["spec"]["initContainers"]], [INIT, PROXY])
            self.assertEqual(template["metadata"]["labels"]["meshtx.io/control-plane-ns"], "meshtx")

    def test_no_program_waits_for_the_sidecar_that_waits_for_it(self) -> None:
        for program in Program:
            self.assertEqual(self.sidecar(program).keys() & {"lifecycle", "readinessProbe"}, set(), program)

    def test_none_is_killed_for_starting_slowly(self) -> None:
        for program in Program:
            for container in (self.own(program), self.sidecar(program)):
                patience = container["startupProbe"]
                self.assertGreaterEqual(patience["periodSeconds"] * patience["failureThreshold"], 300, program)
                pages = {
                    container[f"{each}Probe"]["httpGet"]["path"].rpartition("/")[2] for each in ("startup", "liveness")
                }
                self.assertTrue(pages == {"live"} or pages == {"startup", "liveness"}, pages)

    def test_what_has_tls_of_its_own_passes_the_sidecar_by(self) -> None:
        for program, ports in SERVED.items():
            annotations = self.templates()[program]["metadata"]["annotations"]
            self.assertEqual(annotations["config.meshtx.io/skip-inbound-ports"], ports)
            self.assertEqual(annotations["config.meshtx.io/skip-outbound-ports"], "443,6443,8080,8086,4190")

    def test_a_sidecar_asks_the_program_beside_it(self) -> None:
        """A Service leads to pods that are ready, and this one is not before its sidecar has asked."""
        addresses = {
            program: tuple(
                each["value"].replace("meshtx.svc.cluster.local", "…")
                for each in self.sidecar(program)["env"]
                if each["name"] in {"MESHTX_PROXY_IDENTITY_ADDRESS", "MESHTX_PROXY_DIRECTORY_ADDRESS"}
            )
            for program in Program
        }
        self.assertEqual(
            addresses,
            {
                Program.IDENTITY: ("127.0.0.1:8080", "meshtx-directory.…:8086"),
                Program.DIRECTORY: ("meshtx-identity.…:8080", "127.0.0.1:8086"),
                Program.INJECTOR: ("meshtx-identity.…:8080", "meshtx-directory.…:8086"),
            },
        )

    def test_what_sidecars_are_given_its_own_are_given_too(self) -> None:
        chosen = Sidecar(
            "warn", SidecarResources("1", None, "1Gi", "2Gi"), (MeshScope().name("metrics", "prometheus"),)
        )
        self.documents = documents(Values(trust=TRUST, family=Family.IPV6, sidecar=chosen))
        for program in Program:
            sidecar = self.sidecar(program)
            variables = {each["name"]: each.get("value") for each in sidecar["env"]}
            self.assertEqual(sidecar["resources"]["limits"], {"memory": "2Gi"})
            self.assertIn("prometheus.metrics", variables["MESHTX_PROXY_METRICS_IDENTITY"] or "")
            self.assertEqual(variables["MESHTX_PROXY_ADMIN_LISTEN"], "[::]:4191")
            self.assertIn("--logger=meshtx.observe.log_levels.warn", sidecar["command"])

    def test_new_anchors_start_the_pods_anew(self) -> None:
        """Their sidecars have the anchors in their environment, which stays as it was at their start."""
        before = self.templates()
        self.documents = documents(Values(trust=Trust("OTHERS\n", "07432", "ISSUER\n", "THE KEY\n")))
        for program, template in self.templates().items():
            self.assertNotEqual(template, before[program])
