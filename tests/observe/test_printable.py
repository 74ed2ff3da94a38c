from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.observe.printable import field, printable, quoted


class PrintableTests(SynchronousTestCase):
    def test_what_is_visible_stays(self) -> None:
        self.assertEqual(printable("/api/list?q=ä 1"), "/api/list?q=ä 1")

    def test_escape_sequences_of_a_terminal_are_shown_and_not_obeyed(self) -> None:
        self.assertEqual(printable("/\x1b[2J\r\n\x9b\x7f"), r"/\x1b[2J\x0d\x0a\x9b\x7f")

    def test_what_turns_or_hides_text_is_shown(self) -> None:
        self.assertEqual(printable("\u202e\u200b\U000e0041\ud800"), r"\u202e\u200b\U000e0041\ud800")

    def test_nothing_can_pretend_to_be_an_escape(self) -> None:
        self.assertEqual(printable(r"\x1b"), r"\\x1b")

    def test_a_blank_cannot_forge_a_field(self) -> None:
        self.assertEqual(field("/ tls=true"), r"/\x20tls=true")

    def test_a_quotation_mark_does_not_end_a_quotation(self) -> None:
        self.assertEqual(quoted('a "b" \\'), r'"a \"b\" \\"')

    @given(st.text())
    def test_any_text_becomes_printable(self, text: str) -> None:
        self.assertTrue(printable(text).isprintable())
        self.assertNotIn(" ", field(text))

    @given(st.text(), st.text())
    def test_different_texts_stay_different(self, one: str, other: str) -> None:
        self.assertEqual(printable(one) == printable(other), one == other)
