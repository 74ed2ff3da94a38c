"""The observers of HTTP, on conversations of real clients with real servers.

The conversations are short and several, for many cuts of each are tried.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from functools import cache, partial
from typing import ClassVar

import grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire.http1 import Http1Observer
from meshtx.wire.http2 import Http2Observer
from meshtx.wire.http_events import Event, RequestHead, ResponseEnd, ResponseHead
from meshtx.wire.sniff import Detection, detect_h2, detect_http1
from tests.effort import examples
from tests.wire.exchanges import (
    Exchange,
    Observer,
    Said,
    differing,
    joined,
    observe,
    request_head,
    response_head,
    some_cuts,
)
from tests.wire.recording import Recorder

_OF_GRPC = (("content-type", "application/grpc"),)
_AGENT = (("user-agent", "h2"),)
_PLAIN = (("content-type", "text/plain"),)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/chunks":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
        else:
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello" if self.command == "GET" else b"")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"until the end")

    def log_message(self, *args: object) -> None:
        pass


@cache
def record_http1(*requests: tuple[str, str, bytes | None]) -> Exchange:
    """Let http.client ask http.server for these, each a method, a path and a body, on one connection."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    recorder = Recorder(server.server_port)
    client = http.client.HTTPConnection("127.0.0.1", recorder.port)
    for method, path, body in requests:
        client.request(method, path, body)
        client.getresponse().read()
    client.close()
    said = recorder.wait()
    server.shutdown()
    server.server_close()
    return said


_BRIEF = (("grpc.compression_enabled_algorithms_bitset", 1), ("grpc.http2.bdp_probe", 0))
"""No list of codings, no PINGs."""


@cache
def record_grpc(talk: Callable[[grpc.Channel], None]) -> Exchange:
    """Let grpcio's client talk to grpcio's server."""

    def echo(request: bytes, context: grpc.ServicerContext) -> bytes:
        if not request:
            context.abort(grpc.StatusCode.NOT_FOUND, "none")
        return request

    def count(request: bytes, context: grpc.ServicerContext):
        yield from (b"a", b"bc")

    handlers = grpc.method_handlers_generic_handler(
        "web.Votes",
        {"Echo": grpc.unary_unary_rpc_method_handler(echo), "Count": grpc.unary_stream_rpc_method_handler(count)},
    )
    server = grpc.server(futures.ThreadPoolExecutor(1), [handlers], options=_BRIEF)
    recorder = Recorder(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{recorder.port}", options=_BRIEF) as channel:
        talk(channel)
    said = recorder.wait()
    server.stop(None).wait(20)
    return said


def call_twice(channel: grpc.Channel) -> None:
    """Call once with an answer, once with an error."""
    echo = channel.unary_unary("/web.Votes/Echo")
    echo.future(b"hi").result(timeout=20)  # this timeout is not on the wire
    with contextlib.suppress(grpc.RpcError):
        echo.future(b"").result(timeout=20)


def call_stream(channel: grpc.Channel) -> None:
    """Call for a stream of answers."""
    list(channel.unary_stream("/web.Votes/Count")(b"", timeout=20))


class _Talk:
    """The h2 library on both ends."""

    def __init__(self) -> None:
        self.client = H2Connection(H2Configuration(client_side=True))
        self.server = H2Connection(H2Configuration(client_side=False))
        self.said: list[Said] = []
        self.client.initiate_connection()
        self.server.initiate_connection()
        self.flush()

    def ask(self, stream: int, path: str) -> None:
        pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "web"), (":path", path)]
        self.client.send_headers(stream, [*pseudo, ("user-agent", "h2")])
        self.client.send_data(stream, b"request", end_stream=True)

    def answer(self, stream: int) -> None:
        """Send a head, and a part of a body with padding."""
        head = [(":status", "200"), ("content-type", "text/plain"), ("x-number", str(stream))]
        self.server.send_headers(stream, head)
        self.server.send_data(stream, b"answer", pad_length=9)

    def flush(self) -> None:
        for side, sender, receiver in (("C", self.client, self.server), ("S", self.server, self.client)) * 2:
            if data := sender.data_to_send():
                self.said.append((side, data))
                receiver.receive_data(data)


@cache
def record_h2_interleaved() -> Exchange:
    """Answer two requests in the other order, in padded frames."""
    talk = _Talk()
    talk.ask(1, "/a")
    talk.ask(3, "/b")
    talk.flush()
    talk.answer(3)
    talk.answer(1)
    for stream in (3, 1):
        talk.server.send_data(stream, b"", end_stream=True)
    talk.flush()
    return talk.said


@cache
def record_h2_resets() -> Exchange:
    """Let the client reset one stream in mid-answer, and the server another."""
    talk = _Talk()
    talk.ask(1, "/a")
    talk.ask(3, "/a")
    talk.flush()
    talk.answer(1)
    talk.flush()
    talk.client.reset_stream(1, 8)
    talk.flush()
    talk.server.reset_stream(3, 7)
    talk.server.close_connection()
    talk.flush()
    return talk.said


class _Real:
    record: ClassVar[Callable[[], Exchange]]
    observer: ClassVar[Callable[[], Observer]]
    detect: ClassVar[Callable[[bytes], Detection]]

    @property
    def said(self) -> Exchange:
        return type(self).record()

    def events(self) -> list[Event]:
        return observe(type(self).observer(), self.said)

    def test_it_is_recognised(self) -> None:
        first = b"".join(data for side, data in self.said if side == "C")[:64]
        self.assertIs(type(self).detect(first), Detection.YES)

    def test_one_and_two_cuts_give_the_same_events(self) -> None:
        self.assertIsNone(differing(type(self).observer, self.said))

    def test_byte_by_byte_gives_the_same_events(self) -> None:
        single = [(side, data[i : i + 1]) for side, data in self.said for i in range(len(data))]
        self.assertEqual(observe(type(self).observer(), single), self.events())

    def test_random_cuts_give_the_same_events(self) -> None:
        expected = self.events()

        @examples(500)
        @given(some_cuts(self.said))
        def check(way: list[Said]) -> None:
            self.assertEqual(observe(type(self).observer(), way), expected)

        check()


class _Http1(_Real):
    observer = Http1Observer
    detect = staticmethod(detect_http1)

    def authority(self) -> str:
        authority = next(event.read().authority for event in self.events() if isinstance(event, RequestHead))
        self.assertRegex(authority, r"^127\.0\.0\.1:[0-9]+$")
        return authority


class KeepAliveTests(_Http1, SynchronousTestCase):
    """The answer to HEAD has a length and no body; another request follows it."""

    record = staticmethod(partial(record_http1, ("HEAD", "/", None), ("GET", "/", None)))

    def test_it_is_reported_as_it_was(self) -> None:
        authority = self.authority()
        self.assertEqual(
            self.events(),
            [
                request_head(0, "HEAD", authority, "/"),
                ResponseHead(0, 200),
                ResponseEnd(0, 0),
                request_head(1, "GET", authority, "/"),
                ResponseHead(1, 200),
                ResponseEnd(1, 5),
            ],
        )


class BodyTests(_Http1, SynchronousTestCase):
    """One answer in chunks; then, after a request with a body, one that the connection's end ends."""

    record = staticmethod(partial(record_http1, ("GET", "/chunks", None), ("POST", "/", b"xy")))

    def test_it_is_reported_as_it_was(self) -> None:
        authority = self.authority()
        self.assertEqual(
            self.events(),
            [
                request_head(0, "GET", authority, "/chunks"),
                ResponseHead(0, 200),
                ResponseEnd(0, 7),
                request_head(1, "POST", authority, "/"),
                ResponseHead(1, 200),
                ResponseEnd(1, 13),
            ],
        )


class _Http2(_Real):
    observer = Http2Observer
    detect = staticmethod(detect_h2)


class _Grpc(_Http2):
    def assert_reported(self, paths: Sequence[str], answers: Sequence[Event]) -> None:
        asked = [(event, event.read()) for event in self.events() if isinstance(event, RequestHead)]
        self.assertEqual(
            [(event.id, text.method, text.path, dict(text.headers)["content-type"]) for event, text in asked],
            [(index, "POST", path, "application/grpc") for index, path in enumerate(paths)],
        )
        for _, text in asked:
            self.assertRegex(dict(text.headers)["user-agent"], "^grpc-python/")
        self.assertEqual([event for event in self.events() if not isinstance(event, RequestHead)], answers)


class GrpcCallTests(_Grpc, SynchronousTestCase):
    """An answer and an error."""

    record = staticmethod(partial(record_grpc, call_twice))

    def test_it_is_reported_as_it_was(self) -> None:
        self.assert_reported(
            ["/web.Votes/Echo"] * 2,
            [
                response_head(0, 200, _OF_GRPC),
                ResponseEnd(0, 7, 0),
                response_head(1, 200, _OF_GRPC),
                ResponseEnd(1, 0, 5),
            ],
        )

    def test_the_second_call_refers_to_the_dynamic_table(self) -> None:
        for words, times in ((b"/web.Votes/Echo", 1), (b"grpc-python/", 1), (b"application/grpc", 2)):
            self.assertEqual(joined(self.said).count(words), times, words)  # an answer has its content type, too


class GrpcStreamTests(_Grpc, SynchronousTestCase):
    """A stream of two messages."""

    record = staticmethod(partial(record_grpc, call_stream))

    def test_it_is_reported_as_it_was(self) -> None:
        self.assert_reported(["/web.Votes/Count"], [response_head(0, 200, _OF_GRPC), ResponseEnd(0, 13, 0)])


class H2InterleavedTests(_Http2, SynchronousTestCase):
    record = staticmethod(record_h2_interleaved)

    def test_it_is_reported_as_it_was(self) -> None:
        self.assertEqual(
            self.events(),
            [
                request_head(0, "POST", "web", "/a", _AGENT),
                request_head(1, "POST", "web", "/b", _AGENT),
                response_head(1, 200, _PLAIN),
                response_head(0, 200, _PLAIN),
                ResponseEnd(1, 6),
                ResponseEnd(0, 6),
            ],
        )


class H2ResetTests(_Http2, SynchronousTestCase):
    record = staticmethod(record_h2_resets)

    def test_it_is_reported_as_it_was(self) -> None:
        self.assertEqual(
            self.events(),
            [
                request_head(0, "POST", "web", "/a", _AGENT),
                request_head(1, "POST", "web", "/a", _AGENT),
                response_head(0, 200, _PLAIN),
                ResponseEnd(0, 6, reset=8),
                ResponseEnd(1, 0, reset=7),
            ],
        )
