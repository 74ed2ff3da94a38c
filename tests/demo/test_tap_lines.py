"""What the demo shows of a tap, and what it wants to have seen there."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshtx.demo.run import tap_problems
from meshtx.demo.tap_lines import TapLines

OPEN = "meshtx: 10.1.0.2:4190: the tap is open\n"


def line(kind: str, number: int, proxy: str = "out", path: str = "/api/list", tls: str = "true") -> str:
    what = f":method=GET :authority=web :path={path}" if kind == "req" else ":status=200 latency=1µs"
    return f"{kind} id=0:{number} proxy={proxy:3} src=10.1.0.4:40000 dst=10.1.0.2:80 tls={tls} {what}\n"


class TapLinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = Path(self.mktemp())
        self.lines = TapLines(self.file)

    def write(self, *lines: str) -> list[str]:
        """Write lines, and return those that are shown."""
        with self.file.open("a") as file:
            file.write("".join(lines))
        return [each + "\n" for each in self.lines.new()]

    def test_before_the_tap_has_written_there_is_nothing(self) -> None:
        self.assertEqual(self.lines.new(), [])

    def test_of_many_alike_the_first_two_with_all_their_lines(self) -> None:
        first, second, third = (line("req", number) for number in range(3))
        self.assertEqual(self.write(OPEN, first, second, third), [first, second])
        answers = [line(kind, number) for number in range(3) for kind in ("rsp", "end")]
        self.assertEqual(self.write(*answers), answers[:4])
        self.assertEqual(len(self.lines.all), 10)

    def test_another_path_or_side_is_another_kind(self) -> None:
        shown = [line("req", 0), line("req", 1, "in"), line("req", 2, path="/api/vote")]
        shown += [line("req", number, path="/") for number in (3, 4)]
        self.assertEqual(self.write(*shown), shown)

    def test_plaintext_does_not_use_up_the_place_of_mutual_tls(self) -> None:
        """The unmeshed client may be the faster one."""
        shown = [line("req", number, "in", tls="no_tls_from_remote") for number in range(2)]
        shown += [line("req", number, "in") for number in range(2, 4)]
        self.assertEqual(self.write(*shown), shown)

    def test_a_line_is_shown_once_and_whole(self) -> None:
        whole = line("req", 0)
        self.assertEqual(self.write(whole[:30]), [])
        self.assertEqual(self.write(whole[30:]), [whole])
        self.assertEqual(self.write(), [])


class WantedTests(SynchronousTestCase):
    grpc = ":method=POST :authority=emoji :path=/emojivoto.v1.EmojiService/ListAll "
    http = ":method=GET :authority=web :path=/api/list "

    def seen(self, tls: str = "true") -> list[str]:
        return [
            f"req id=0:0 proxy={proxy} src=10.1.0.4:1 dst=10.1.0.2:80 tls={tls} {what}".strip()
            for what in (self.http, self.grpc)
            for proxy in ("out", "in ")
        ]

    def test_both_requests_on_both_sides(self) -> None:
        self.assertEqual(tap_problems(self.seen()), [])

    def test_each_that_is_missing_is_said(self) -> None:
        for missing, request in enumerate(("GET /api/list", "POST /emojivoto.v1.EmojiService/ListAll")):
            for side, proxy in enumerate(("proxy=out", "proxy=in")):
                lines = self.seen()
                del lines[2 * missing + side]
                self.assertEqual(tap_problems(lines), [f"the tap has shown no {proxy} tls=true line of {request}"])

    def test_plaintext_and_answers_do_not_count(self) -> None:
        self.assertEqual(len(tap_problems(self.seen("no_tls_from_remote"))), 4)
        self.assertEqual(len(tap_problems([each.replace("req ", "rsp ") for each in self.seen()])), 4)

    def test_another_path_that_begins_so_does_not_count(self) -> None:
        self.assertEqual(len(tap_problems([f"{each}/more" for each in self.seen()])), 4)
