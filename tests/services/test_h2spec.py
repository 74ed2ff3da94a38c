"""h2spec, which tests servers for conformance to RFC 9113 and RFC 7541, against the port that issues certificates."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast
from unittest import SkipTest
from xml.etree import ElementTree

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue

from tests.go_programs import GoPrograms, NoPrograms
from tests.services.identity_case import IdentityCase

H2SPEC = GoPrograms(
    "h2spec", Path(__file__).parent / "h2spec", "h2spec", {"h2spec": "github.com/summerwind/h2spec/cmd/h2spec"}
)
TESTS = 145
"""In the version that go.mod names."""


class Conformance(IdentityCase):
    timeout = 900  # it may have to be built first, beside Kubernetes

    async def test_everything_passes_and_nothing_is_skipped(self) -> None:
        try:
            program = await deferToThread(H2SPEC.folder) / "h2spec"
        except NoPrograms as error:
            if os.environ.get("MESHTX_KUBE") == "required":
                raise
            raise SkipTest(str(error)) from None
        self.start()
        report = Path(self.mktemp())
        output, errors, _status = await self.run_program(
            str(program), "-h", "127.0.0.1", "-p", str(self.port), "-t", "-k", "-o", "10", "-j", str(report)
        )
        cases = parse(report, (output + errors).decode())
        self.assertEqual(len(cases), TESTS)
        self.assertEqual({case: found for case, found in cases.items() if found}, {})

    def run_program(self, *argv: str) -> Deferred[tuple[bytes, bytes, int]]:
        """Return what it says on stdout and stderr, and its status."""
        done = getProcessOutputAndValue(argv[0], argv[1:], os.environ, reactor=reactor)
        return cast("Deferred[tuple[bytes, bytes, int]]", done)


def parse(report: Path, output: str) -> dict[tuple[str | None, str | None], list[str]]:
    """Return what is noted at each test, which is named by its section and its sentence: nothing where it passed."""
    assert report.exists(), f"h2spec wrote no report: {output}"
    cases = ElementTree.parse(report).iter("testcase")
    return {
        (case.get("package"), case.get("classname")): [f"{each.tag}: {each.text}" for each in case] for case in cases
    }
