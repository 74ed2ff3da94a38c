from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.rpc.status import MAX_MESSAGE_TEXT, RpcError, Status, decode_text, encode_text, from_http, from_reset


class StatusTests(SynchronousTestCase):
    def test_a_status_is_read_by_its_number_and_an_unknown_one_is_unknown(self) -> None:
        self.assertEqual(
            [Status.parse(text) for text in ("0", "14", "99", "", "x", "-1")],
            [Status.OK, Status.UNAVAILABLE, *[Status.UNKNOWN] * 4],
        )

    def test_an_error_says_both(self) -> None:
        error = RpcError(Status.NOT_FOUND, "no such thing")
        self.assertEqual(
            (str(error), error.status, error.message), ("NOT_FOUND: no such thing", Status.NOT_FOUND, "no such thing")
        )

    def test_answers_of_http_have_a_status(self) -> None:
        got = {
            status: from_http(status).status
            for status in ("400", "401", "403", "404", "429", "502", "503", "504", "500", "x", "", "9" * 5000)
        }
        self.assertEqual(
            got,
            {
                "400": Status.INTERNAL,
                "401": Status.UNAUTHENTICATED,
                "403": Status.PERMISSION_DENIED,
                "404": Status.UNIMPLEMENTED,
                **dict.fromkeys(("429", "502", "503", "504"), Status.UNAVAILABLE),
                **dict.fromkeys(("500", "x", "", "9" * 5000), Status.UNKNOWN),
            },
        )

    def test_resets_have_a_status(self) -> None:
        got = [from_reset(code) for code in (0, 2, 7, 8, 11, 12, 4096)]
        self.assertEqual(
            [error.status for error in got],
            [
                Status.INTERNAL,
                Status.INTERNAL,
                Status.UNAVAILABLE,
                Status.CANCELLED,
                Status.RESOURCE_EXHAUSTED,
                Status.PERMISSION_DENIED,
                Status.INTERNAL,
            ],
        )
        self.assertEqual(got[2].message, "the server reset the stream: REFUSED_STREAM")
        self.assertEqual(got[-1].message, "the server reset the stream: 4096")


class TextTests(SynchronousTestCase):
    def test_what_is_not_printable_is_percent_encoded(self) -> None:
        self.assertEqual(encode_text("50% naïve\n~ ok"), "50%25 na%C3%AFve%0A~ ok")

    def test_what_is_not_encoded_is_read_as_it_stands(self) -> None:
        self.assertEqual(
            [decode_text(text) for text in ("100%", "%zz", "%ff", "plain")], ["100%", "%zz", "\ufffd", "plain"]
        )

    def test_it_is_cut(self) -> None:
        self.assertEqual(encode_text("x" * 10_000), "x" * MAX_MESSAGE_TEXT)

    @given(st.text(max_size=MAX_MESSAGE_TEXT))
    def test_what_is_encoded_is_read_back(self, text: str) -> None:
        encoded = encode_text(text)
        self.assertTrue(encoded.isascii() and (encoded.isprintable() or not encoded))
        self.assertEqual(decode_text(encoded), text.encode("utf-8", "replace").decode())
