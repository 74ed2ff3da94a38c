from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.rpc.headers import (
    NotGrpc,
    RequestHead,
    format_timeout,
    parse_request,
    parse_timeout,
    request_headers,
    response_headers,
    trailers,
)
from meshtx.rpc.status import RpcError, Status
from tests.rpc.memory import headers


class RequestTests(SynchronousTestCase):
    def test_what_the_client_says_the_server_understands(self) -> None:
        self.assertEqual(parse_request(request_headers("/a.B/C", "https", "b", 1.5)), RequestHead("/a.B/C", 1.5))
        self.assertEqual(parse_request(request_headers("/a.B/C", "http", "b", None)), RequestHead("/a.B/C", None))

    def test_content_types_of_grpc(self) -> None:
        for kind in (
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=utf-8",
            "Application/GRPC",
        ):
            self.assertEqual(parse_request(headers(content_type=kind)), RequestHead("/test.Echo/Echo", None))

    def test_other_content_types_and_methods_are_not_grpc(self) -> None:
        text = b"This port speaks gRPC only.\n"
        about = [("content-type", "text/plain"), ("content-length", str(len(text)))]
        for kind in ("application/grpc-web", "application/grpc+json", "application/grpcx", "text/html", ""):
            answer = NotGrpc([(":status", "415"), ("accept", "application/grpc"), *about], text)
            self.assertEqual(parse_request(headers(content_type=kind)), answer)
        for method, body in (("PUT", text), ("GET", text), ("HEAD", b"")):
            answer = NotGrpc([(":status", "405"), ("allow", "POST"), *about], body)
            self.assertEqual(parse_request(headers(method=method)), answer)

    def test_a_timeout_that_is_none_is_an_error(self) -> None:
        for timeout in ("", "1", "S", "123456789S", "1.5S", "-1S", "1s", "1 S", "१S"):
            error = parse_request(headers(grpc_timeout=timeout))
            assert isinstance(error, RpcError), timeout
            self.assertEqual((error.status, error.message), (Status.INTERNAL, "malformed grpc-timeout"))


class AnswerTests(SynchronousTestCase):
    def test_no_text_no_header(self) -> None:
        self.assertEqual(trailers(Status.OK, ""), [("grpc-status", "0")])

    def test_the_text_is_encoded(self) -> None:
        self.assertEqual(trailers(Status.ABORTED, "50%"), [("grpc-status", "10"), ("grpc-message", "50%25")])

    def test_no_compression_is_offered(self) -> None:
        self.assertEqual(dict(response_headers())["grpc-accept-encoding"], "identity")


class TimeoutTests(SynchronousTestCase):
    def test_units(self) -> None:
        for text, seconds in {
            "2H": 7200,
            "2M": 120,
            "2S": 2,
            "2m": 2e-3,
            "2u": 2e-6,
            "2n": 2e-9,
            "00000000S": 0,
        }.items():
            self.assertEqual(parse_timeout(text), seconds)

    def test_the_finest_unit_that_fits(self) -> None:
        for seconds, text in {
            0: "0n",
            -1: "0n",
            0.05: "50000000n",
            0.5: "500000u",
            10: "10000000u",
            3600: "3600000m",
            1e6: "1000000S",
            1e9: "16666667M",
            1e13: "99999999H",
        }.items():
            self.assertEqual(format_timeout(seconds), text)

    @given(st.floats(0, 3e11))
    def test_it_never_becomes_shorter_and_hardly_longer(self, seconds: float) -> None:
        told = parse_timeout(format_timeout(seconds))
        self.assertGreaterEqual(told, seconds * (1 - 1e-12))
        self.assertLessEqual(told, seconds * 1.0002 + 1e-9)
