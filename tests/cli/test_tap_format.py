"""How the lines of ``meshtx tap`` look on a terminal and elsewhere."""

from __future__ import annotations

import json
import os
import re
import time

import click
from twisted.trial.unittest import SynchronousTestCase

from meshtx.cli.tap_format import Format, LineFormat, choose
from meshtx.observe.flow import Direction, Request, Response, ResponseEnd
from meshtx.observe.tap import Answered, Finished, FlowOpened, FlowRefused, Lost, TapEvent, What
from meshtx.pki.name import MeshScope
from meshtx.rpc.messages import tap_pb2
from tests.observe.cases import MTLS, PLAIN, a_flow, a_request, event_message

ENDS = "src=10.1.0.4:48210 dst=10.1.0.2:80"
LONG = a_request(1, path="/" + "x" * 300)
AT = 1000.5
"""Seconds since 1970 of every event."""


def message(what: What, security: object = MTLS, number: int = 3) -> tap_pb2.TapEvent:
    return event_message(TapEvent(AT, a_flow(Direction.OUT, security, number=number), what), headers=True)


def line(form: Format, what: What, security: object = MTLS, number: int = 3) -> str:
    return form(message(what, security, number), "web-1", MeshScope())


class PlainTests(SynchronousTestCase):
    """Not on a terminal."""

    def test_by_default_it_is_linkerds_form(self) -> None:
        form = choose("text", color=False, timestamps=None, columns=None)
        self.assertEqual(
            line(form, Answered(Response(1, 200), 0.00215)),
            f"rsp id=3:1 proxy=out {ENDS} tls=true :status=200 latency=2150µs",
        )
        self.assertTrue(line(form, LONG).endswith("x" * 300))

    def test_wide_lines_begin_with_the_time_and_write_the_own_meshs_names_short(self) -> None:
        form = choose("wide", color=False, timestamps=None, columns=None)
        self.assertEqual(
            line(form, FlowOpened()),
            f"1970-01-01T00:16:40.500Z tcp id=3 proxy=out {ENDS} tls=true peer=web.emojivoto known=direct target=web-1",
        )

    def test_timestamps_are_as_asked_for(self) -> None:
        for output, timestamps, start in (("text", True, "1970-01-01T00:16:40.500Z tcp"), ("wide", False, "tcp")):
            form = choose(output, color=False, timestamps=timestamps, columns=None)
            self.assertTrue(line(form, FlowOpened()).startswith(start))

    def test_events_without_a_time_get_that_of_their_arrival(self) -> None:
        form = LineFormat(timestamps=True, now=lambda: 2000.25)
        self.assertEqual(form(event_message(Lost(7), headers=False), "", None), "1970-01-01T00:33:20.250Z lost count=7")

    def test_a_time_that_no_calendar_has_is_no_crash(self) -> None:
        event = message(FlowOpened())
        event.time.seconds = 2**62
        for columns, start in ((None, "- tcp"), (lambda: 80, "--:--:--.--- tcp")):
            self.assertTrue(LineFormat(timestamps=True, columns=columns)(event, "", None).startswith(start))

    def test_json_is_the_same_whatever_the_looks(self) -> None:
        form = choose("json", color=True, timestamps=None, columns=lambda: 40)
        text = line(form, LONG)
        self.assertEqual(json.loads(text)["time"], "1970-01-01T00:16:40.500Z")
        self.assertNotIn("\x1b", text)


class TerminalTests(SynchronousTestCase):
    def setUp(self) -> None:
        before = os.environ.get("TZ")
        self.addCleanup(time.tzset)
        self.addCleanup(lambda: os.environ.pop("TZ") if before is None else os.environ.__setitem__("TZ", before))
        os.environ["TZ"] = "XXX-2"  # two hours east of Greenwich
        time.tzset()

    def form(self, output: str = "text", columns: int = 150, *, color: bool = False) -> Format:
        return choose(output, color=color, timestamps=None, columns=lambda: columns)

    def test_lines_begin_with_the_local_time_of_day_and_columns_stay_as_wide_as_they_were(self) -> None:
        form = self.form()
        self.assertEqual(
            [
                line(form, a_request(11), number=100),
                line(form, Answered(Response(1, 200), 0.00215), PLAIN),
                line(form, Finished(ResponseEnd(1, 98), 0.01, 0.000064)),
                line(form, FlowOpened()),
            ],
            [
                f"02:16:40.500 req id=100:11 proxy=out {ENDS} tls=true :method=GET :authority=web:80 :path=/api/list",
                f"02:16:40.500 rsp id=3:1    proxy=out {ENDS} tls=no_tls_from_remote :status=200 latency=2150µs",
                f"02:16:40.500 end id=3:1    proxy=out {ENDS} tls=true               duration=64µs response-length=98B",
                f"02:16:40.500 tcp id=3      proxy=out {ENDS} tls=true",
            ],
        )

    def test_an_overlong_value_widens_no_column(self) -> None:
        form = self.form(columns=500)
        event = message(FlowOpened())
        event.flow.tls = "x" * 100
        form(event, "", None)
        self.assertIn(f"tls=true{' ' * 32} :method", line(form, a_request(1)))

    def test_a_long_path_is_cut_to_the_width_and_wide_lines_never(self) -> None:
        form = self.form()
        line(form, FlowOpened(), PLAIN)  # a wider column: a line that fits would be too long beside it
        cut = line(form, LONG)
        self.assertEqual(len(cut), 150)
        self.assertTrue(cut.endswith("xx…"))
        self.assertIn("x" * 300, line(self.form("wide"), LONG))

    def test_of_what_is_cut_something_is_left_and_nothing_else_is_cut(self) -> None:
        narrow = line(self.form(columns=40), LONG)
        self.assertTrue(narrow.endswith(f"{ENDS} tls=true :method=GET :authority=web:80 :path=/xxxxxxxxxxxxxxxx…"))
        self.assertIn("reason=name_mismatch", line(self.form(columns=40), FlowRefused("name_mismatch", "d" * 99)))

    def test_wide_characters_are_counted_as_they_are_shown(self) -> None:
        cut = line(self.form(columns=150), a_request(1, path="/" + "猫" * 50))
        shown = sum(2 if each == "猫" else 1 for each in cut)
        self.assertIn(shown, (149, 150))

    def test_color_tells_good_from_odd_from_bad(self) -> None:
        form = self.form(color=True)
        for what, security, colored in (
            (FlowOpened(), MTLS, {"green": "tls=true"}),
            (FlowOpened(), PLAIN, {"yellow": "tls=no_tls_from_remote"}),
            (Answered(Response(1, 503), 0.0), MTLS, {"green": "tls=true", "red": ":status=503"}),
            (Answered(Response(1, 404), 0.0), MTLS, {"green": "tls=true", "yellow": ":status=404"}),
            (Answered(Response(1, 1000), 0.0), MTLS, {"green": "tls=true", "red": ":status=1000"}),
            (
                Finished(ResponseEnd(1, 0, grpc_status=14), 0.0, 0.0),
                MTLS,
                {"green": "tls=true", "red": "grpc-status=Unavailable"},
            ),
            (Finished(ResponseEnd(1, 0, grpc_status=0), 0.0, 0.0), MTLS, {"green": "tls=true"}),
            (Finished(ResponseEnd(1, 0, reset=8), 0.0, 0.0), MTLS, {"green": "tls=true", "red": "reset-error=8"}),
            (FlowRefused("no_rule", ""), PLAIN, {"yellow": "tls=no_tls_from_remote", "red": "reason=no_rule"}),
        ):
            text = line(form, what, security)
            for color in ("green", "yellow", "red"):
                start = re.escape(click.style("", fg=color, reset=False))
                found = dict.fromkeys(re.findall(rf"{start}([^\x1b]*)\x1b\[0m", text))
                self.assertEqual(list(found), [colored[color]] if color in colored else [], (what, color))

    def test_without_its_colors_a_line_is_the_same(self) -> None:
        plain, colored = self.form(), self.form(color=True)
        for what in (a_request(1), LONG, FlowRefused("no_rule", "for b"), FlowOpened()):
            self.assertEqual(click.unstyle(line(colored, what)), line(plain, what))

    def test_a_stranger_sends_no_escape_sequence_and_no_color(self) -> None:
        evil = Request(1, "h2", "GE\x1b[31mT", "web\r\nreq", "/\x1b[2J\x9b2J\u202e" + "y" * 300)
        plain, colored = line(self.form(), evil), line(self.form(color=True), evil)
        self.assertTrue(plain.isprintable())
        self.assertEqual(set(re.findall(r"\x1b[^m]*m", colored)), {"\x1b[2m", "\x1b[32m", "\x1b[0m"})
        self.assertEqual(click.unstyle(colored), plain)
