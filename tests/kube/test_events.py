"""What is written for an event, for one that is told again, and what becomes of trouble."""

from __future__ import annotations

from typing import Any

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.api import ApiForbidden, ApiRefused
from meshtx.kube.events import MAX_KEPT, MOST, QUIET, WINDOW, EventRecorder, Involved, Type
from tests.kube.answering_api import AnsweringApi

DEPLOYMENT = Involved("apps/v1", "Deployment", "meshtx", "meshtx-identity")
PATH = "/api/v1/namespaces/meshtx/events"
MADE = {"metadata": {"name": "meshtx-identity.abc"}}


class EventsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1_800_000_000.0
        self.api = AnsweringApi()
        self.recorder = EventRecorder(self.api, "meshtx-identity", lambda: self.now)  # type: ignore[arg-type]  # a stand-in
        self.recorder.startService()

    def tell(self, *answers: Any, message: str = "it has expired") -> list[str]:
        """Tell of the same thing; return what is logged."""
        self.api.answers = list(answers)
        with capturedLogs() as events:
            self.recorder.tell(DEPLOYMENT, "IssuerExpired", message, Type.WARNING)
        return [formatEvent(event) for event in events]

    def asked(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path, _ in self.api.asked]

    def test_an_event(self) -> None:
        self.tell(MADE)
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": "meshtx-identity.", "namespace": "meshtx"},
            "involvedObject": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "namespace": "meshtx",
                "name": "meshtx-identity",
            },
            "reason": "IssuerExpired",
            "message": "it has expired",
            "type": "Warning",
            "source": {"component": "meshtx-identity"},
            "reportingComponent": "meshtx-identity",
            "firstTimestamp": "2027-01-15T08:00:00Z",
            "lastTimestamp": "2027-01-15T08:00:00Z",
            "count": 1,
        }
        self.assertEqual(self.api.asked, [("POST", PATH, event)])

    def test_the_same_is_counted_and_written_once_in_five_minutes(self) -> None:
        self.tell(MADE)
        self.now += QUIET - 1
        self.tell()
        self.assertEqual(len(self.api.asked), 1)
        self.now += 1
        self.tell({})
        change = {"count": 3, "lastTimestamp": "2027-01-15T08:05:00Z"}
        self.assertEqual(self.api.asked[1:], [("PATCH", f"{PATH}/meshtx-identity.abc", change)])

    def test_another_is_another_event(self) -> None:
        self.tell(MADE)
        self.tell(MADE, message="it was rejected")
        self.assertEqual(self.asked(), [("POST", PATH)] * 2)

    def test_one_that_the_cluster_has_forgotten_is_written_anew(self) -> None:
        self.tell(MADE)
        self.now += 7200
        self.tell(ApiRefused("PATCH: 404", 404, "NotFound", ""), MADE)
        self.assertEqual(self.asked(), [("POST", PATH), ("PATCH", f"{PATH}/meshtx-identity.abc"), ("POST", PATH)])

    def test_trouble_is_a_line_in_the_log_and_tried_again_with_the_next(self) -> None:
        said = self.tell(ApiForbidden("POST: 403 Forbidden events is forbidden", 403))
        self.assertEqual(said, ["event IssuerExpired was not written: POST: 403 Forbidden events is forbidden"])
        self.now += QUIET
        self.assertEqual(self.tell(MADE), [])
        self.now += QUIET
        said = self.tell(ApiRefused("PATCH: 422", 422))
        self.assertEqual(said, ["event IssuerExpired was not written: PATCH: 422"])

    def test_a_defect_is_logged(self) -> None:
        self.tell(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_is_remembered_is_bounded(self) -> None:
        for number in range(MAX_KEPT + 50):
            self.tell(MADE, message=str(number))
        self.assertEqual([said.message for said in self.recorder._kept], [*map(str, range(50, MAX_KEPT + 50))])

    def test_the_one_goes_that_was_written_anew_longest_ago(self) -> None:
        for number in range(MAX_KEPT):
            self.tell(MADE, message=str(number))
        self.now += 7200
        self.tell(ApiRefused("PATCH: 404", 404, "NotFound", ""), MADE, message="0")
        self.tell(MADE, message="another")
        kept = [said.message for said in self.recorder._kept]
        self.assertEqual((kept[0], kept[-2:]), ("2", ["0", "another"]))

    def test_so_is_what_is_written_in_a_minute(self) -> None:
        for number in range(MOST + 7):
            self.tell(MADE, message=str(number))
        self.assertEqual(len(self.api.asked), MOST)
        self.now += WINDOW
        said = self.tell(MADE, message="another")
        self.assertEqual(said, ["7 events were not written: there were too many"])
        self.assertEqual(len(self.api.asked), MOST + 1)

    def test_a_long_message_is_cut(self) -> None:
        self.tell(MADE, message="x" * 5000)
        self.assertEqual(len(self.api.asked[0][2]["message"]), 1024)

    def test_what_is_being_written_when_the_program_stops_is_left(self) -> None:
        self.tell()
        [writing] = self.recorder._writing
        self.assertNoResult(writing)
        self.recorder.stopService()
        self.assertIsNone(self.successResultOf(writing))
        self.assertEqual(self.recorder._writing, set())
