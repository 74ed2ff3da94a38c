"""``meshtx install`` and ``meshtx uninstall``, from the words to the documents."""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from cryptography.hazmat.primitives.serialization import Encoding

from meshtx import __version__
from meshtx.cli import documents
from meshtx.identity import ca_folder
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.issuer import Issuer, make_root
from meshtx.pki.name import MeshScope
from tests.cli.test_main import Case


class InstallCase(Case):
    maxDiff = None

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def printed(self, *arguments: str) -> str:
        status, out, err = self.run_line("install", *arguments)
        self.assertEqual(status, 0, err)
        return out

    def objects(self, *arguments: str) -> dict[tuple[str, str], dict[str, Any]]:
        found = yaml.safe_load_all(self.printed(*arguments))
        return {(each["kind"], each["metadata"]["name"]): each for each in found}

    def refused(self, *arguments: str) -> str:
        """Return the one line of a command line that was wrong; nothing may be printed that could be applied."""
        status, out, err = self.run_line("install", *arguments)
        self.assertEqual((status, out, err.count("\n")), (2, "", 1), err)
        return err.removeprefix("meshtx: ").removesuffix("\n")

    def write(self, name: str, text: str) -> Path:
        self.folder.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)
        return self.folder / name


class IssuerTests(InstallCase):
    def issuer(self, *arguments: str) -> tuple[Issuer, TrustBundle]:
        """Return the issuer that identity would find."""
        found = self.objects(*arguments)
        files = {key: b64decode(text) for key, text in found["Secret", "meshtx-identity-issuer"]["data"].items()}
        anchors = found["ConfigMap", "meshtx-trust-roots"]["data"]["ca-bundle.crt"]
        self.assertEqual(files["ca.crt"].decode(), anchors)
        trust = TrustBundle.from_pem(anchors)
        return Issuer.from_pem(files["tls.crt"], files["tls.key"], trust, datetime.now(UTC)), trust

    def test_an_issuer_is_made_on_the_spot_each_time_another(self) -> None:
        (first, trust), (second, _) = self.issuer(), self.issuer()
        self.assertNotEqual(first.certificate, second.certificate)
        self.assertEqual(trust.anchors[0].subject.rfc4514_string(), "CN=root.meshtx.cluster.local")

    def test_that_its_anchors_key_is_kept_nowhere_is_said_aside(self) -> None:
        _, out, err = self.run_line("install")
        self.assertIn("a new trust anchor, whose key is kept nowhere: name --ca-folder", err)
        self.assertNotIn("PRIVATE KEY", out)  # the issuer's is in base64 alone, the anchor's nowhere

    def test_a_folder_is_made_once_and_read_from_then_on(self) -> None:
        first = self.printed(f"--ca-folder={self.folder}")
        self.assertEqual(self.printed(f"--ca-folder={self.folder}"), first)
        _, trust = self.issuer(f"--ca-folder={self.folder}")
        self.assertEqual((self.folder / "ca-bundle.crt").read_bytes(), trust.to_pem())

    def test_an_empty_folder_is_as_good_as_none_and_anything_else_is_refused(self) -> None:
        self.folder.mkdir()
        self.issuer(f"--ca-folder={self.folder}")
        other = self.write("file", "text")
        self.assertIn(f"{other.absolute()}/issuer/tls.crt: not a directory", self.refused(f"--ca-folder={other}"))

    def test_the_next_issuer_of_the_folder_is_printed(self) -> None:
        before, _ = self.issuer(f"--ca-folder={self.folder}")
        ca_folder.issuer(self.folder, datetime.now(UTC))
        after, _ = self.issuer(f"--ca-folder={self.folder}")
        self.assertNotEqual(before.certificate, after.certificate)

    def test_an_issuer_can_be_given_in_files(self) -> None:
        made = ca_folder.init(self.folder, MeshScope(), datetime.now(UTC))
        given = (
            f"--issuer-certificate={made.issuer}/tls.crt",
            f"--issuer-key={made.issuer}/tls.key",
            f"--trust-anchors={self.folder}/ca-bundle.crt",
        )
        self.assertEqual(self.printed(*given), self.printed(f"--ca-folder={self.folder}"))
        self.assertEqual(self.refused(*given[:2]), "trust_anchors: not set; a given issuer needs it")

    def test_an_anchor_is_replaced_in_the_three_steps_of_the_manual(self) -> None:
        """docs/kubernetes.md: both are believed while either is in use, and each new set starts the pods anew."""
        old, new = (ca_folder.init(self.folder / name, MeshScope(), datetime.now(UTC)) for name in ("old", "new"))
        both = self.write("both.crt", "".join((each.folder / "ca-bundle.crt").read_text() for each in (old, new)))
        steps = [
            *(
                (
                    f"--issuer-certificate={each.issuer}/tls.crt",
                    f"--issuer-key={each.issuer}/tls.key",
                    f"--trust-anchors={both}",
                )
                for each in (old, new)
            ),
            (f"--ca-folder={new.folder}",),
        ]
        (first, two), (second, still_two), (third, one) = (self.issuer(*step) for step in steps)
        self.assertEqual((len(two.anchors), still_two, len(one.anchors)), (2, two, 1))
        self.assertNotEqual(first.certificate, second.certificate)
        self.assertEqual(second.certificate, third.certificate)
        templates = [self.objects(*step)["Deployment", "meshtx-directory"]["spec"]["template"] for step in steps]
        self.assertEqual((templates[0] == templates[1], templates[1] == templates[2]), (True, False))

    def test_an_issuer_that_identity_would_refuse_is_not_printed(self) -> None:
        ca_folder.init(self.folder, MeshScope(), datetime.now(UTC) - timedelta(days=100))
        said = self.refused(f"--ca-folder={self.folder}")
        self.assertTrue(said.startswith("issuer: "), said)
        self.assertTrue(said.endswith(f"make the next one with 'meshtx ca issuer {self.folder.absolute()}'"), said)

    def test_more_anchors_than_a_pod_can_be_given_are_refused(self) -> None:
        ca_folder.init(self.folder, MeshScope(), datetime.now(UTC))
        now = datetime.now(UTC)
        others = (make_root(MeshScope(), now)[1].public_bytes(Encoding.PEM) for _ in range(300))
        bundle = self.folder / "ca-bundle.crt"
        bundle.write_bytes(bundle.read_bytes() + b"".join(others))
        self.assertEqual(
            self.refused(f"--ca-folder={self.folder}"),
            f"{bundle.absolute()}: more than the 120 KiB that a pod can be given; leave anchors out",
        )

    def test_an_issuer_can_be_left_as_it_is_in_the_cluster(self) -> None:
        status, out, err = self.run_line("install", "--keep-issuer")
        self.assertEqual((status, err), (0, ""))
        self.assertNotIn("kubernetes.io/tls", out)
        self.assertEqual(
            self.refused("--keep-issuer", f"--ca-folder={self.folder}"),
            "ca_folder: keep_issuer does not read it; remove it",
        )


class ValuesTests(InstallCase):
    def test_values_stand_in_a_file_and_flags_win(self) -> None:
        values = self.write("values.toml", 'image = "example.org/a:1"\nreplicas = 2\nimage_pull_secrets = ["x", "y"]\n')
        found = self.objects(f"--values={values}", "--image=example.org/b:2")
        spec = found["Deployment", "meshtx-directory"]["spec"]
        self.assertEqual(spec["replicas"], 2)
        pod = spec["template"]["spec"]
        self.assertEqual({each["image"] for each in (*pod["containers"], *pod["initContainers"])}, {"example.org/b:2"})
        self.assertEqual(pod["imagePullSecrets"], [{"name": "x"}, {"name": "y"}])

    def test_an_unknown_key_is_an_error_that_names_the_nearest(self) -> None:
        values = self.write("values.toml", "replica = 2\n")
        self.assertEqual(
            self.refused(f"--values={values}"), f"{values}: replica: unknown key; did you mean 'replicas'?"
        )

    def test_what_is_not_in_its_form_is_an_error_that_shows_the_form(self) -> None:
        form = "write RESOURCE=QUANTITY[,...], such as cpu=100m,memory=64Mi"
        for given, said in (
            ("--image=My Image", "--image: 'My Image' is no image; write IMAGE, such as meshtx"),
            ("--replicas=0", "--replicas: '0' is less than 1; write NUMBER, such as 1000"),
            ("--replicas=abc", "--replicas: 'abc' is no whole number; write NUMBER, such as 1000"),
            ("--replicas=", "--replicas: '' is no whole number; write NUMBER, such as 1000"),
            ("--replicas=1.5", "--replicas: '1.5' is no whole number; write NUMBER, such as 1000"),
            ("--namespace=", "--namespace: the value is empty; write NAMESPACE, such as meshtx"),
            ("--trust-domain=", "--trust-domain: the value is empty; write DOMAIN, such as cluster.local"),
            (
                "--priority-class=a..b",
                "--priority-class: 'a..b' is no object name; write OBJECT-NAME, such as meshtx",
            ),
            ("--replicas=9", "replicas: more than 8 of a program; 3 survive the loss of a node"),
            (
                "--identity-requests=cpus=1",
                f"--identity-requests: unknown resource 'cpus'; did you mean 'cpu'?; {form}",
            ),
            (
                "--identity-limits=memory=much",
                f"--identity-limits: 'much' is no quantity, such as 100m or 64Mi; {form}",
            ),
        ):
            self.assertEqual(self.refused(given), said)
        self.assertIn("control namespace 'My_Mesh' is not a DNS label", self.refused("--namespace=My_Mesh"))
        self.assertEqual(
            self.refused("--ha", "--replicas=1"), "replicas: 1 is not what --ha means; remove it: --ha has 3"
        )

    def test_what_the_cluster_would_refuse_later_is_refused_here(self) -> None:
        for given, said in (
            ("--identity-limits=memory=32Mi", "identity_limits: memory 32Mi is less than the 64Mi asked for; raise it"),
            (
                "--proxy-cpu-request=2",
                "proxy_cpu_limit, proxy_memory_limit: cpu 1 is less than the 2 asked for; raise it",
            ),
            (
                "--certificate-lifetime=1s",
                "certificate_lifetime: shorter than 15 s; give certificates more time",
            ),
        ):
            self.assertEqual(self.refused(given), said)

    def test_a_lifetime_of_months_is_written_as_the_program_reads_it(self) -> None:
        for given, written in (("30d", "2592000s"), ("90.5s", "90.5s")):
            found = self.objects("--keep-issuer", f"--certificate-lifetime={given}")
            variables = self.variables(found["Deployment", "meshtx-identity"])
            self.assertEqual(variables["MESHTX_IDENTITY_LIFETIME"], written)

    def test_a_value_reaches_its_document(self) -> None:
        found = self.objects(
            "--ha",
            "--namespace=mesh",
            "--trust-domain=example.org",
            "--priority-class=high",
            "--image-pull-policy=Always",
            "--certificate-lifetime=90m",
            "--cluster-domain=k8s.example",
            "--cluster-networks=10.0.0.0/8,fd00::/8",
            "--balancer-networks=192.0.2.0/24",
            "--ip-family=ipv6",
            "--proxy-log-level=warn",
            "--proxy-cpu-request=1",
            "--proxy-cpu-limit=none",
            "--proxy-memory-request=1Gi",
            "--proxy-memory-limit=2Gi",
            "--metrics-identity=prometheus.metrics.serviceaccount.identity.mesh.example.org",
            "--adopt-linkerd-annotations",
            "--admin-plaintext-metrics",
            "--identity-requests=cpu=1,memory=1Gi",
            "--identity-limits=",
        )
        deployment = found["Deployment", "meshtx-identity"]
        self.assertEqual((deployment["metadata"]["namespace"], deployment["spec"]["replicas"]), ("mesh", 3))
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        variables = self.variables(deployment)
        self.assertEqual((pod["priorityClassName"], container["imagePullPolicy"]), ("high", "Always"))
        self.assertEqual(variables["MESHTX_IDENTITY_LIFETIME"], "5400s")
        self.assertEqual(variables["MESHTX_IDENTITY_TRUST_DOMAIN"], "example.org")
        self.assertEqual(container["resources"], {"requests": {"cpu": "1", "memory": "1Gi"}})
        variables = self.variables(found["Deployment", "meshtx-directory"])
        self.assertEqual(
            [
                variables[f"MESHTX_DIRECTORY_{key}"]
                for key in ("CLUSTER_DOMAIN", "CLUSTER_NETWORKS", "BALANCER_NETWORKS")
            ],
            ["k8s.example", "10.0.0.0/8,fd00::/8", "192.0.2.0/24"],
        )
        self.assertEqual(variables["MESHTX_DIRECTORY_ADMIN_LISTEN"], "[::]:9990")
        self.assertEqual(variables["MESHTX_DIRECTORY_ADMIN_PLAINTEXT_METRICS"], "true")
        variables = self.variables(found["Deployment", "meshtx-injector"])
        expected = {
            "IMAGE": f"meshtx:{__version__}",
            "IMAGE_PULL_POLICY": "Always",
            "IP_FAMILY": "ipv6",
            "IDENTITY_ADDRESS": "meshtx-identity.mesh.svc.k8s.example:8080",
            "PROXY_LOG_LEVEL": "warn",
            "PROXY_CPU_REQUEST": "1",
            "PROXY_CPU_LIMIT": "none",
            "PROXY_MEMORY_REQUEST": "1Gi",
            "PROXY_MEMORY_LIMIT": "2Gi",
            "ADOPT_LINKERD_ANNOTATIONS": "true",
            "METRICS_IDENTITY": "prometheus.metrics.serviceaccount.identity.mesh.example.org",
        }
        self.assertEqual({key: variables[f"MESHTX_INJECTOR_{key}"] for key in expected}, expected)

    def variables(self, deployment: dict[str, Any]) -> dict[str, str]:
        """Return the settings of a Deployment's program."""
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        return {each["name"]: each["value"] for each in container["env"]}

    def test_without_its_extra_the_command_names_it(self) -> None:
        documents._dumper.cache_clear()
        with patch.dict(sys.modules, {"yaml": None}):
            self.assertEqual(
                self.refused(f"--ca-folder={self.folder}"),
                "yaml: PyYAML is not installed; pip install 'meshtx[kubernetes]'",
            )
        self.assertFalse(self.folder.exists())

    def test_an_image_is_a_reference_of_the_registries(self) -> None:
        digest = f"@sha256:{64 * 'a'}"
        for image in (
            "meshtx",
            "a/b__c/d-e:v1.0_x",
            "localhost:5000/meshtx:1",
            "Reg.example/m",
            f"[::1]:5000/m{digest}",
        ):
            self.printed("--keep-issuer", f"--image={image}")
        for image in ("a//b", "a/", "/a", "a:b:c", "a:", "-a", "a b", "a@sha256:1", "a:é", "a" + digest + "0"):
            self.assertEqual(
                self.refused("--keep-issuer", f"--image={image}"),
                f"--image: {image!r} is no image; write IMAGE, such as meshtx",
            )

    def test_the_clusters_domain_is_one_wherever_it_stands(self) -> None:
        for text in ("a b", "x..y", "-", "", "Cluster.local", "cluster.local.", "a_b", "a\n"):
            said = (
                f"{text!r} is no DNS name: labels of lower-case letters, digits and '-', joined by dots;"
                " write DOMAIN, such as cluster.local"
            )
            self.assertEqual(self.refused("--keep-issuer", f"--cluster-domain={text}"), f"--cluster-domain: {said}")
            values = self.write("values.toml", f"cluster_domain = {json.dumps(text)}\n")
            self.assertEqual(self.refused("--keep-issuer", f"--values={values}"), f"{values}: cluster_domain: {said}")

    def test_what_makes_names_too_long_is_refused(self) -> None:
        domain = "a." * 110 + "a"
        self.assertEqual(
            self.refused("--keep-issuer", f"--cluster-domain={domain}.{30 * 'b'}"),
            "cluster_domain: the names of Services would have 280 octets, at most 253;"
            " write the domain of the cluster's DNS",
        )
        self.assertEqual(
            self.refused("--keep-issuer", f"--cluster-domain={domain}.{40 * 'b'}"),
            "--cluster-domain: a DNS name of 262 octets, at most 253; write DOMAIN, such as cluster.local",
        )
        said = self.refused("--keep-issuer", f"--trust-domain={domain}")
        self.assertTrue(said.startswith("namespace, trust_domain: meshtx-identity.meshtx."), said)
        self.assertTrue(said.endswith(" octets, at most 253; write DNS labels"), said)

    def test_certificates_that_outlive_their_issuer_are_refused(self) -> None:
        """Identity would make them shorter, and nobody would be told."""
        made = ca_folder.init(self.folder, MeshScope(), datetime.now(UTC))
        until = f"{made.issuer_not_after:%Y-%m-%dT%H:%M:%SZ}"
        values = self.write("values.toml", 'certificate_lifetime = "91d"\n')
        for given in ("--certificate-lifetime=2000d", f"--values={values}"):
            self.assertEqual(
                self.refused(f"--ca-folder={self.folder}", given),
                f"certificate_lifetime: longer than the issuer, which is valid until {until};"
                " shorten it, or name an issuer that is valid longer",
            )
        self.printed(f"--ca-folder={self.folder}", "--certificate-lifetime=89d")

    def test_a_resource_and_a_secret_are_given_once(self) -> None:
        self.assertEqual(
            self.refused("--keep-issuer", "--image-pull-secrets=a", "--image-pull-secrets=b,a"),
            "image_pull_secrets: a is given 2 times; give each secret once",
        )
        self.assertEqual(
            self.refused("--keep-issuer", "--injector-requests=cpu=1,cpu=2"),
            "injector_requests: cpu is given 2 times; give each resource once",
        )


class UninstallTests(InstallCase):
    def test_it_names_everything_that_install_makes_the_namespace_last(self) -> None:
        status, out, err = self.run_line("uninstall")
        self.assertEqual((status, err), (0, ""))
        named = [(each["kind"], each["metadata"]["name"]) for each in yaml.safe_load_all(out)]
        self.assertEqual(set(named), set(self.objects("--ha")))
        self.assertEqual(named[-1], ("Namespace", "meshtx"))

    def test_a_namespace_that_is_none_is_refused(self) -> None:
        status, out, err = self.run_line("uninstall", "--namespace=My_Mesh")
        self.assertEqual((status, out), (2, ""))
        self.assertIn("'My_Mesh' is not a DNS label", err)


class DocumentTests(Case):
    def test_a_text_of_several_lines_is_a_block(self) -> None:
        self.assertEqual(documents.dump([{"a": "1st\n2nd\n"}]), "---\na: |\n  1st\n  2nd\n")

    def test_a_text_that_others_take_for_a_number_is_quoted(self) -> None:
        for text in ("1e3", "0o17", "12:30:45", "2026-01-01", ".5", "-1", "0x1f"):
            self.assertEqual(documents.dump([{"a": text}]), f"---\na: '{text}'\n")

    def test_a_text_that_is_a_word_of_yaml_is_quoted(self) -> None:
        for text in ("true", "no", "null", "~", ""):
            self.assertEqual(documents.dump([{"a": text}]), f"---\na: '{text}'\n")

    def test_what_occurs_twice_is_written_twice(self) -> None:
        shared = {"b": "c"}
        self.assertEqual(documents.dump([{"a": shared, "d": shared}]), "---\na:\n  b: c\nd:\n  b: c\n")
