"""``meshtx inject``: a label where it belongs, and not one byte elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from meshtx.cli.inject import command
from tests.cli.test_main import Case

DEPLOYMENT = """\
# The shop's front door.
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}   # its name
spec:
  replicas:   2
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web # to be found
        mode: '0644'
    spec:
      containers:
        - name: app
          image: "example.org/app:1"
"""

CRON = """\
apiVersion: batch/v1
kind: CronJob
metadata:
  name: tidy
spec:
  schedule: "@daily"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: app, image: example.org/app}]
"""

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"

OTHER = """\
apiVersion: example.org/v1
kind: Deployment     # not the API's
metadata:
    name:   odd
spec: !Custom {template: {}}
"""

NO_FILE = "no such file or directory; name a file of manifests in UTF-8"

LABEL = "meshtx.io/inject: enabled"


class InjectCase(Case):
    def inject(self, text: str, *options: str) -> tuple[int, str, str]:
        file = Path(self.mktemp())
        file.write_bytes(text.encode())
        self.file = str(file)
        return self.run_line("inject", *options, str(file))

    def injected(self, text: str, *options: str) -> str:
        """Return what is printed."""
        status, out, err = self.inject(text, *options)
        self.assertEqual(status, 0, err)
        return out

    def added(self, text: str) -> list[str]:
        """Return the lines that are new; all others are as they were."""
        before, after = text.splitlines(keepends=True), self.injected(text).splitlines(keepends=True)
        new = []
        for line in after:
            if before and line == before[0]:
                before.pop(0)
            else:
                new.append(line)
        self.assertEqual(before, [])
        return new


class PlaceTests(InjectCase):
    def test_a_label_is_one_more_line(self) -> None:
        self.assertEqual(self.added(DEPLOYMENT), [f"        {LABEL}\n"])

    def test_what_is_missing_above_it_is_made(self) -> None:
        self.assertEqual(self.added(CRON), ["        metadata:\n", "          labels:\n", f"            {LABEL}\n"])
        without = DEPLOYMENT.replace(
            "      labels:\n        app: web # to be found\n        mode: '0644'\n", "      name: x\n"
        )
        self.assertEqual(self.added(without), ["      labels:\n", f"        {LABEL}\n"])

    def test_every_kind_that_has_pods(self) -> None:
        for version, kind in (
            ("apps/v1", "StatefulSet"),
            ("apps/v1", "DaemonSet"),
            ("apps/v1", "ReplicaSet"),
            ("batch/v1", "Job"),
            ("v1", "ReplicationController"),
        ):
            text = DEPLOYMENT.replace("kind: Deployment", f"kind: {kind}").replace("apps/v1", version)
            self.assertEqual(self.added(text), [f"        {LABEL}\n"])
        self.assertEqual(
            self.added("kind: Pod\napiVersion: v1\nmetadata:\n  name: x\nspec: {}\n"), ["  labels:\n", f"    {LABEL}\n"]
        )
        self.assertEqual(
            self.added("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: x\n"), ["  labels:\n", f"    {LABEL}\n"]
        )

    def test_json_and_flow_style_get_json(self) -> None:
        for before, after in (
            ('"labels": {"app": "web"}', '"labels": {"meshtx.io/inject": "enabled", "app": "web"}'),
            ('"labels": {}', '"labels": {"meshtx.io/inject": "enabled"}'),
            ('"labels": null', '"labels": {"meshtx.io/inject": "enabled"}'),
            ('"name": "x"', '"labels": {"meshtx.io/inject": "enabled"}, "name": "x"'),
        ):
            text = '{"apiVersion": "v1", "kind": "Pod", "metadata": {%s}, "spec": {}}\n'
            self.assertEqual(self.injected(text % before), text % after)

    def test_empty_values_are_filled(self) -> None:
        for empty in ("", " ~", " null", " {}"):
            text = f"apiVersion: v1\nkind: Pod\nmetadata:{empty}\nspec: {{}}\n"
            labels = yaml.safe_load(self.injected(text))["metadata"]["labels"]
            self.assertEqual(labels, {"meshtx.io/inject": "enabled"})

    def test_lists_and_several_documents(self) -> None:
        items = "\n".join(f"  {line}" if line else line for line in CRON.splitlines())
        text = f"---\n{DEPLOYMENT}---\n{OTHER}...\n---\napiVersion: v1\nkind: List\nitems:\n- {items[2:]}\n--- # end\n"
        self.assertEqual([line.strip() for line in self.added(text)], [LABEL, "metadata:", "labels:", LABEL])

    def test_what_it_does_not_know_stays_to_the_byte(self) -> None:
        for text in (OTHER, "# nothing\n", "", "a: [1,   2]\r\n", "- x\n", "\ufeffa: ü\n", OTHER + "---\nkind: [a]\n"):
            self.assertEqual(self.injected(text), text)

    def test_lines_may_end_as_on_windows(self) -> None:
        text = CRON.replace("\n", "\r\n")
        self.assertEqual(self.injected(text).replace("\r\n", "\n"), self.injected(CRON))
        self.assertNotIn("\n", self.injected(text).replace("\r\n", ""))

    def test_twice_is_once(self) -> None:
        once = self.injected(DEPLOYMENT + "---\n" + CRON)
        self.assertEqual(self.injected(once), once)

    def test_disable_marks_the_other_way(self) -> None:
        enabled = self.injected(DEPLOYMENT)
        self.assertEqual(self.injected(enabled, "--disable"), enabled.replace(LABEL, 'meshtx.io/inject: "disabled"'))

    def test_standard_input(self) -> None:
        result = CliRunner().invoke(command, ["-"], input=CRON)
        self.assertEqual((result.exit_code, result.stdout), (0, self.injected(CRON)))


TEXTS = st.text(st.sampled_from("ab: #'\"{}[]&*!|>-?\n\t~ü"), max_size=6)
VALUES = st.recursive(
    TEXTS | st.none() | st.booleans() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
LABELS = st.none() | st.dictionaries(TEXTS, TEXTS, max_size=3)
WORKLOADS = st.fixed_dictionaries(
    {"apiVersion": st.just("apps/v1"), "kind": st.just("Deployment"), "extra": VALUES},
    optional={
        "spec": st.fixed_dictionaries(
            {"extra": VALUES},
            optional={
                "template": st.fixed_dictionaries(
                    {"extra": VALUES},
                    optional={"metadata": st.fixed_dictionaries({"extra": VALUES}, optional={"labels": LABELS})},
                )
            },
        )
    },
)


class SpellingTests(InjectCase):
    def test_an_explicit_key(self) -> None:
        text = DEPLOYMENT.replace("        app: web # to be found\n", "        ? app\n        : web\n")
        self.assertEqual(self.added(text), [f"        {LABEL}\n"])

    @settings(deadline=None, max_examples=60)
    @given(st.lists(WORKLOADS, max_size=3), st.sampled_from([None, True, False]), st.integers(2, 6), st.booleans())
    def test_whatever_is_written_and_however_it_means_the_same_with_a_label(
        self, workloads: list[dict[str, Any]], flow: bool | None, indent: int, explicit: bool
    ) -> None:
        text = yaml.safe_dump_all(
            workloads, default_flow_style=flow, indent=indent, explicit_start=explicit, allow_unicode=True, width=20
        )
        expected = list(yaml.safe_load_all(text))  # the dumper folds some texts so that they are others
        for workload in expected:
            part = workload
            for key in ("spec", "template", "metadata", "labels"):
                part[key] = part.get(key) or {}
                part = part[key]
            part["meshtx.io/inject"] = "enabled"
        self.assertEqual(list(yaml.safe_load_all(self.injected(text))), expected)


class SaidTests(InjectCase):
    def test_each_one_is_told_on_standard_error(self) -> None:
        _, _, err = self.inject(DEPLOYMENT + "---\n" + OTHER + "---\n" + CRON)
        self.assertEqual(err, "deployment/web: enabled\ncronjob/tidy: enabled\n")

    def test_what_cannot_be_meshed_is_left_and_told(self) -> None:
        text = DEPLOYMENT.replace("    spec:\n", "    spec:\n      hostNetwork: true\n")
        self.assertEqual(
            self.inject(text),
            (0, text, "deployment/web: left as it is: hostNetwork: it shares the network of its node\n"),
        )
        text = DEPLOYMENT.replace("app: web #", "meshtx.io/inject: disabled\n        app: web #")
        self.assertEqual(self.inject(text)[1], text)

    def test_annotations_that_nobody_knows_are_told(self) -> None:
        text = DEPLOYMENT.replace("      labels:", "      annotations:\n        config.meshtx.io/x: y\n      labels:")
        self.assertIn("deployment/web: config.meshtx.io/x: unknown annotation;", self.inject(text)[2])

    def test_what_the_cluster_would_refuse_is_an_error(self) -> None:
        text = DEPLOYMENT.replace("    spec:\n", "    spec:\n      securityContext: {runAsUser: 2102}\n")
        status, out, err = self.inject(text)
        self.assertEqual((status, out), (2, ""))
        self.assertIn("deployment/web: container 'app' runs as user 2102", err)

    def test_an_alias_is_not_changed_behind_its_back(self) -> None:
        """Else a Deployment's selector would get the label, too, and it cannot be changed."""
        anchored = DEPLOYMENT.replace("matchLabels:\n", "matchLabels: &app\n")
        labels = "      labels:\n        app: web # to be found\n        mode: '0644'\n"
        for text in (
            anchored.replace(labels, "      labels: *app\n"),
            "x: &m\n  labels: {a: b}\n---\n" + DEPLOYMENT.replace(labels, "      <<: {labels: {a: b}}\n"),
        ):
            status, out, err = self.inject(text)
            self.assertEqual((status, out), (2, ""))
            self.assertIn("alias", err)

    def test_mistakes_are_one_line(self) -> None:
        for text, words in (
            ("a: [", "write YAML or JSON"),
            ("apiVersion: v1\nkind: Pod\nmetadata: [a]\n", "of another type than the API's"),
            ("apiVersion: v1\nkind: Namespace\nmetadata: {labels: []}\n", "line 3: no mapping"),
            (f"{POD}x: &a [*a]\n", "line 4: an alias of what it is a part of"),
            ("&l\napiVersion: v1\nkind: List\nitems: [*l]\n", "an alias of what it is a part of"),
            (
                POD + "".join(f"a{n + 1}: &a{n + 1} [{f'*a{n}, *a{n}' if n else 1}]\n" for n in range(40)),
                "stand for more",
            ),
        ):
            status, out, err = self.inject(text)
            self.assertEqual((status, out, err.count("\n")), (2, "", 1))
            self.assertIn(words, err)
        file = Path(self.mktemp())
        status, _, err = self.run_line("inject", str(file))
        self.assertEqual((status, err), (2, f"meshtx: {file}: {NO_FILE}\n"))
        file.write_bytes(b"\xff\xfe")
        self.assertEqual(self.run_line("inject", str(file))[0], 2)

    def test_what_kubernetes_does_not_read_is_not_marked(self) -> None:
        for text in ("x: !!python/name:os.system", "? [a]\n: b", "x: 2001-99-99", f"x: {'[' * 300}{']' * 300}"):
            status, out, err = self.inject(f"{POD}{text}\n")
            self.assertEqual((status, out), (2, ""))
            self.assertIn("not YAML's own, or is too deep", err)

    def test_without_the_extra_it_says_what_to_install(self) -> None:
        with patch.dict(sys.modules, {"yaml": None}):
            status, _, err = self.inject(DEPLOYMENT)
        self.assertEqual(
            (status, err), (2, "meshtx: yaml: PyYAML is not installed; pip install 'meshtx[kubernetes]'\n")
        )
