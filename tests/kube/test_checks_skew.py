"""The checks of versions: releases next to each other, further apart, and a proxy before its control plane."""

from __future__ import annotations

from dataclasses import replace

from meshtx.kube.checks.outcomes import Failed, Passed, Warned
from meshtx.kube.checks.skew import is_newer, work_together
from meshtx.kube.checks.snapshot import Found, Snapshot
from tests.kube.snapshots import CheckedCase, healthy, meshed_pod, outcomes

PROGRAMS = ("meshtx-directory", "meshtx-identity", "meshtx-injector")


def mesh(*proxies: str, command: str = "1.5.0", programs: str = "1.5.0", **others: str) -> Snapshot:
    """Return one whose proxies, command and programs are of these versions.

    :param others: programs of another one, by the last part of their names.
    """
    snapshot = replace(healthy(), version=command)
    for name in PROGRAMS:
        version = others.get(name.removeprefix("meshtx-"), programs)
        snapshot.object("Deployment", name)["metadata"]["labels"]["app.kubernetes.io/version"] = version
    pods = [meshed_pod(f"web-{number}") for number in range(len(proxies))]
    for pod, version in zip(pods, proxies, strict=True):
        pod["metadata"]["annotations"]["meshtx.io/proxy-version"] = version
    return replace(snapshot, pods=Found(pods))


class ReleasesTests(CheckedCase):
    def test_a_release_works_with_the_next_and_not_past_it(self) -> None:
        together = [("1.5.0", "1.5.9"), ("1.5.0", "1.4.2"), ("1.9.0", "1.10.0"), ("1.5.0", "1.6.0rc1", "1.5.1"), ()]
        apart = [("1.5.0", "1.3.9"), ("1.4.0", "1.5.0", "1.6.0"), ("1.5.0", "2.5.0"), ("0.9.0", "1.0.0")]
        self.assertEqual([each for each in together if not work_together(each)], [])
        self.assertEqual([each for each in apart if work_together(each)], [])

    def test_nothing_is_said_of_what_is_no_version(self) -> None:
        self.assertTrue(work_together(("unknown", "1.5.0", "")))
        self.assertFalse(is_newer("unknown", ("1.5.0",)))
        self.assertFalse(is_newer("1.5.0", ("unknown",)))


class ControlPlaneTests(CheckedCase):
    def test_the_release_beside_the_commands_is_worth_a_look(self) -> None:
        for version in ("1.4.0", "1.6.0", "1.5.1"):
            name, warned = self.only(mesh(version, programs=version))
            self.assertEqual((name, type(warned), len(warned.objects)), ("control-plane-version", Warned, 3))

    def test_one_further_away_fails(self) -> None:
        for version in ("1.3.0", "1.7.0", "2.5.0"):
            name, failed = self.only(mesh(version, programs=version))
            self.assertEqual((name, type(failed), len(failed.objects)), ("control-plane-version", Failed, 3))

    def test_programs_that_are_too_far_from_each_other_fail(self) -> None:
        found = outcomes(mesh(identity="1.4.0", directory="1.6.0"))["control-plane-version"]
        self.assertIsInstance(found, Failed)


class ProxiesTests(CheckedCase):
    def test_those_of_the_control_planes_version_pass(self) -> None:
        self.assertEqual({type(each) for each in outcomes(mesh("1.5.0", "1.5.0")).values()}, {Passed})

    def test_those_of_the_release_before_are_to_be_restarted(self) -> None:
        name, warned = self.only(mesh("1.5.0", "1.4.7"))
        self.assertEqual((name, type(warned), warned.objects), ("proxies-version", Warned, ("emojivoto/web-1: 1.4.7",)))
        self.assertIn("rollout restart", warned.hint)

    def test_one_that_is_newer_than_its_control_plane_is_told_apart(self) -> None:
        name, warned = self.only(mesh("1.5.0", "1.6.0"))
        self.assertEqual((name, type(warned), warned.objects), ("proxies-version", Warned, ("emojivoto/web-1: 1.6.0",)))
        self.assertIn("newer than the control plane, 1.5.0", warned.problem)
        self.assertIn("the control plane comes first", warned.hint)

    def test_one_newer_than_a_single_program_is_as_well(self) -> None:
        found = outcomes(mesh("1.5.0", identity="1.4.0"))["proxies-version"]
        assert isinstance(found, Warned), found
        self.assertIn("newer than the control plane, 1.4.0, 1.5.0", found.problem)

    def test_those_that_are_too_far_from_it_or_from_each_other_fail(self) -> None:
        for proxies in (("1.3.9", "1.5.0"), ("1.7.0",), ("2.5.0",), ("1.4.0", "1.6.0")):
            name, failed = self.only(mesh(*proxies))
            self.assertEqual((name, type(failed)), ("proxies-version", Failed))
