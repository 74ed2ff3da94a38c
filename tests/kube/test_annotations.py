"""What annotations do, and what becomes of those that nobody understands."""

from __future__ import annotations

from meshtx.kube import annotations as marks
from meshtx.kube.annotations import MOST_WARNINGS, amount, is_wanted
from meshtx.kube.injection import Injected
from meshtx.kube.ports import MOST, parse_ports
from tests.kube.injected import injected_redirect
from tests.kube.injection_case import Case, a_pod, annotated


class AnnotationTests(Case):
    def test_ports_reach_the_redirect_by_number_range_and_name(self) -> None:
        pod = annotated(skip_inbound_ports="22, 8000-8099,metrics", skip_outbound_ports="53")
        pod["spec"]["containers"][0]["ports"] = [
            {"name": "metrics", "containerPort": 9100},
            {"name": "dns", "containerPort": 5300, "protocol": "UDP"},
        ]
        arguments = self.inject(pod)["spec"]["initContainers"][0]["args"]
        self.assertEqual(arguments, injected_redirect("22,8000-8099,9100", "53"))

    def test_a_port_that_is_none_stays_meshed_and_is_told(self) -> None:
        pod = annotated(skip_inbound_ports="22,metric")
        self.assertEqual(
            self.warnings(pod),
            (
                (
                    "config.meshtx.io/skip-inbound-ports: 'metric' is no port and no range of ports, nor the name of a"
                    " port of the pod; it is ignored"
                ),
            ),
        )
        outcome = self.outcome(pod)
        assert isinstance(outcome, Injected)
        self.assertEqual(outcome.pod["spec"]["initContainers"][0]["args"], injected_redirect("22"))

    def test_what_a_pod_says_beats_what_its_namespace_does_and_a_word_that_is_none_says_nothing(self) -> None:
        label = "meshtx.io/inject"
        for labels, said in (
            ({}, None),
            ({label: "enabled"}, True),
            ({label: "disabled"}, False),
            ({label: "yes"}, None),
        ):
            for namespace in ({}, {label: "enabled"}, {label: "disabled"}, {label: "yes"}):
                by_default = namespace.get(label) == "enabled"
                self.assertIs(is_wanted(labels, namespace), by_default if said is None else said)

    def test_of_many_mistakes_some_are_told_and_how_many_there_are_more(self) -> None:
        warnings = self.warnings(annotated(opaque_ports=",".join(f"port-{number}" for number in range(5000))))
        self.assertEqual((len(warnings), warnings[-1]), (MOST_WARNINGS + 1, f"and {MOST - 9} more such mistakes"))

    def test_the_nearest_word_is_looked_for_where_it_is_told(self) -> None:
        """A pod may have 100,000 annotations when the injector is asked, which would take it a quarter of a minute."""
        words: list[str] = []
        self.patch(marks, "nearest", lambda word, _: words.append(word) or "did you mean ?")
        warnings = self.warnings(annotated(**{f"unknown_{number}": "" for number in range(100)}))
        self.assertEqual((len(words), warnings[-1]), (MOST_WARNINGS, "and 90 more such mistakes"))

    def test_none_is_left_out_of_as_many_as_are_told_and_one_of_one_more(self) -> None:
        for more, last in ((0, "unknown"), (1, "and 1 more such mistakes")):
            warnings = self.warnings(annotated(**{f"unknown_{number}": "" for number in range(MOST_WARNINGS + more)}))
            self.assertEqual(len(warnings), MOST_WARNINGS + more)
            self.assertIn(last, warnings[-1])

    def test_a_list_of_as_many_entries_as_are_read_is_no_mistake(self) -> None:
        ports = ",".join(map(str, range(1, 2 * MOST, 2)))
        self.assertEqual(self.warnings(annotated(skip_inbound_ports=ports)), ())
        (warning,) = self.warnings(annotated(skip_inbound_ports=f"{ports},{2 * MOST + 1}"))
        self.assertIn("after the first", warning)

    def test_a_list_is_read_as_far_as_the_directory_reads_it(self) -> None:
        ports = ",".join(map(str, range(1, 2 * MOST + 20, 2)))
        pod = annotated(skip_inbound_ports=ports)
        (warning,) = self.warnings(pod)
        self.assertIn("ports and ranges after the first 100 are ignored", warning)
        outcome = self.outcome(pod)
        assert isinstance(outcome, Injected)
        read = ",".join(map(str, range(1, 2 * MOST, 2)))
        self.assertEqual(parse_ports(ports), parse_ports(read))
        self.assertEqual(outcome.pod["spec"]["initContainers"][0]["args"], injected_redirect(read))

    def test_the_pods_own_beat_those_of_its_namespace_which_are_copied(self) -> None:
        namespace = {
            "config.meshtx.io/skip-inbound-ports": "1",
            "config.meshtx.io/skip-outbound-ports": "2",
            "config.linkerd.io/opaque-ports": "3306",
            "config.meshtx.io/opaque-ports": "5432",
            "config.meshtx.io/unknown": "x",
            "other": "x",
        }
        pod = annotated(skip_inbound_ports="4")
        outcome = self.outcome(pod, namespace)
        assert isinstance(outcome, Injected)
        self.assertEqual(outcome.pod["spec"]["initContainers"][0]["args"], injected_redirect("4", "2"))
        copied = {
            key: value for key, value in outcome.pod["metadata"]["annotations"].items() if key.startswith("config.")
        }
        self.assertEqual(
            copied,
            {
                "config.meshtx.io/skip-inbound-ports": "4",
                "config.meshtx.io/skip-outbound-ports": "2",
                "config.meshtx.io/opaque-ports": "5432",
            },
        )

    def test_a_pods_own_policy_beats_the_names_of_its_namespaces_too(self) -> None:
        bot = "bot.shop.serviceaccount.identity.meshtx.cluster.local"
        names = "config.meshtx.io/inbound-allow"
        namespace = {"config.meshtx.io/inbound-policy": "listed", names: bot}
        for own, copied in (
            (annotated(inbound_policy="all-authenticated"), 0),
            (annotated(inbound_policy="listed"), 1),
        ):
            injected = self.inject(own, namespace)
            env = {each["name"]: each.get("value") for each in injected["spec"]["initContainers"][1]["env"]}
            policy = own["metadata"]["annotations"]["config.meshtx.io/inbound-policy"]
            self.assertEqual(env["MESHTX_PROXY_INBOUND_POLICY"], policy)
            for found in (env.get("MESHTX_PROXY_INBOUND_ALLOW"), injected["metadata"]["annotations"].get(names)):
                self.assertEqual(found, bot if copied else None)

    def test_resources_are_on_both_containers(self) -> None:
        pod = annotated(
            proxy_cpu_request="10m", proxy_cpu_limit="none", proxy_memory_request="48Mi", proxy_memory_limit="96Mi"
        )
        for container in self.inject(pod)["spec"]["initContainers"]:
            self.assertEqual(
                container["resources"],
                {"requests": {"cpu": "10m", "memory": "48Mi"}, "limits": {"memory": "96Mi"}},
            )

    def test_a_default_gives_way_to_what_an_annotation_asks_for(self) -> None:
        for settings, expected in (
            ({"proxy_memory_request": "2Gi"}, ("2Gi", "2Gi")),
            ({"proxy_memory_limit": "1Mi"}, ("1Mi", "1Mi")),
        ):
            resources = self.inject(annotated(**settings))["spec"]["initContainers"][0]["resources"]
            self.assertEqual((resources["requests"]["memory"], resources["limits"]["memory"]), expected)

    def test_a_request_may_be_as_much_as_its_limit(self) -> None:
        pod = annotated(proxy_cpu_request="1500m", proxy_cpu_limit="1.5")
        resources = self.inject(pod)["spec"]["initContainers"][0]["resources"]
        self.assertEqual((resources["requests"]["cpu"], resources["limits"]["cpu"]), ("1500m", "1.5"))

    def test_a_request_above_its_limit_is_refused_in_words(self) -> None:
        self.assertEqual(
            self.problem(annotated(proxy_cpu_request="2", proxy_cpu_limit="1500m")),
            "config.meshtx.io/proxy-cpu-request: 2 is more than config.meshtx.io/proxy-cpu-limit, 1500m; raise that",
        )

    def test_amounts(self) -> None:
        for text, value in (("100m", "0.1"), ("1.5Gi", str(1536 * 1024**2)), ("1e3", "1000"), ("2k", "2000")):
            self.assertEqual(amount(text), amount(value))
        for text in ("", "x", "1 Gi", "-1", "1mi", "0x1"):
            self.assertRaises(ValueError, amount, text)

    def test_the_log_level_is_an_option_of_twistd(self) -> None:
        command = self.inject(annotated(proxy_log_level="debug"))["spec"]["initContainers"][1]["command"]
        self.assertIn("--logger=meshtx.observe.log_levels.debug", command)

    def test_what_nobody_understands_is_told_and_the_default_used(self) -> None:
        for settings, told in (
            ({"proxy_log_level": "loud"}, "config.meshtx.io/proxy-log-level: 'loud' is none of debug, info, "),
            ({"proxy_kind": "modern"}, "config.meshtx.io/proxy-kind: 'modern' is none of native, classic; "),
            ({"proxy_cpu_limit": "much"}, "config.meshtx.io/proxy-cpu-limit: 'much' is no quantity "),
            ({"skip_inbound_port": "1"}, "config.meshtx.io/skip-inbound-port: unknown annotation; did you mean "),
        ):
            (warning,) = self.warnings(annotated(**settings))
            self.assertTrue(warning.startswith(told), warning)

    def test_a_word_for_injection_that_nobody_knows_is_told(self) -> None:
        pod = {**a_pod(), "metadata": {"labels": {"meshtx.io/inject": "enable"}}}
        self.assertEqual(
            self.warnings(pod), ("meshtx.io/inject: 'enable' is neither enabled nor disabled; it is ignored",)
        )
