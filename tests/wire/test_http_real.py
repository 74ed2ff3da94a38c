"""The observers of HTTP, on conversations of real clients with real servers."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
from collections.abc import Callable
from concurrent import futures
from functools import cache
from itertools import islice
from typing import ClassVar

import grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire.http1 import Http1Observer
from meshtx.wire.http2 import Http2Observer
from meshtx.wire.http_events import Event, RequestHead, ResponseEnd, ResponseHead
from meshtx.wire.sniff import Verdict, detect_h2, detect_http1
from tests.wire.exchanges import Exchange, Observer, Said, all_cuts, differing, joined, observe, some_cuts
from tests.wire.recording import Recorder


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
def record_http1() -> Exchange:
    """Let http.client talk to http.server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    recorder = Recorder(server.server_port)
    client = http.client.HTTPConnection("127.0.0.1", recorder.port)
    for method, path, body in (("GET", "/", None), ("HEAD", "/", None), ("GET", "/chunks", None), ("POST", "/", b"xy")):
        client.request(method, path, body)
        client.getresponse().read()
    client.close()
    said = recorder.wait()
    server.shutdown()
    server.server_close()
    return said


@cache
def record_grpc() -> Exchange:
    """Let grpcio's client talk to grpcio's server."""

    def listing(request: bytes, context: grpc.ServicerContext) -> bytes:
        return request * 20

    def failing(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.NOT_FOUND, "no such emoji")
        raise AssertionError

    def counting(request: bytes, context: grpc.ServicerContext):
        yield from (b"a", b"bc")

    handlers = grpc.method_handlers_generic_handler(
        "emojivoto.v1.EmojiService",
        {
            "ListAll": grpc.unary_unary_rpc_method_handler(listing),
            "FindByShortcode": grpc.unary_unary_rpc_method_handler(failing),
            "Count": grpc.unary_stream_rpc_method_handler(counting),
        },
    )
    server = grpc.server(futures.ThreadPoolExecutor(1), [handlers])
    recorder = Recorder(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{recorder.port}") as channel:
        channel.unary_unary("/emojivoto.v1.EmojiService/ListAll")(b"ten bytes!", timeout=20)
        for _ in range(2):
            channel.unary_unary("/emojivoto.v1.EmojiService/ListAll")(b"", timeout=20)
        with contextlib.suppress(grpc.RpcError):
            channel.unary_unary("/emojivoto.v1.EmojiService/FindByShortcode")(b"", timeout=20)
        list(channel.unary_stream("/emojivoto.v1.EmojiService/Count")(b"", timeout=20))
    said = recorder.wait()
    server.stop(None).wait(20)
    return said


@cache
def record_h2() -> Exchange:
    """Let the h2 library talk to itself."""
    client = H2Connection(H2Configuration(client_side=True))
    server = H2Connection(H2Configuration(client_side=False))
    said: list[Said] = []

    def flush() -> None:
        for side, sender, receiver in (("C", client, server), ("S", server, client)) * 2:
            if data := sender.data_to_send():
                said.append((side, data))
                receiver.receive_data(data)

    client.initiate_connection()
    server.initiate_connection()
    flush()
    for stream, path in ((1, "/a"), (3, "/b"), (5, "/a")):
        pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "web"), (":path", path)]
        client.send_headers(stream, [*pseudo, ("user-agent", "h2")])
        client.send_data(stream, b"request", end_stream=True)
    flush()
    for stream in (3, 1):
        server.send_headers(stream, [(":status", "200"), ("content-type", "text/plain"), ("x-number", str(stream))])
        server.send_data(stream, b"answer", pad_length=9)
    server.send_data(3, b"", end_stream=True)
    flush()
    client.reset_stream(1, 8)
    flush()
    server.reset_stream(5, 7)
    server.close_connection()
    flush()
    return said


class _Real:
    record: ClassVar[Callable[[], Exchange]]
    observer: ClassVar[Callable[[], Observer]]
    detect: ClassVar[Callable[[bytes], Verdict]]

    @property
    def said(self) -> Exchange:
        return type(self).record()

    def events(self) -> list[Event]:
        return observe(type(self).observer(), self.said)

    def test_it_is_recognised(self) -> None:
        first = b"".join(data for side, data in self.said if side == "C")[:64]
        self.assertIs(type(self).detect(first), Verdict.YES)

    def test_every_one_cut_gives_the_same_events(self) -> None:
        ways = islice(all_cuts(self.said), len(joined(self.said)) - 1)  # those into two come first
        self.assertEqual(differing(type(self).observer, self.said, ways), [])

    def test_byte_by_byte_gives_the_same_events(self) -> None:
        single = [(side, data[i : i + 1]) for side, data in self.said for i in range(len(data))]
        self.assertEqual(observe(type(self).observer(), single), self.events())

    def test_random_cuts_give_the_same_events(self) -> None:
        expected = self.events()

        @settings(max_examples=200)
        @given(some_cuts(self.said))
        def check(way: list[Said]) -> None:
            self.assertEqual(observe(type(self).observer(), way), expected)

        check()


class HttpClientTests(_Real, SynchronousTestCase):
    record = staticmethod(record_http1)
    observer = Http1Observer
    detect = staticmethod(detect_http1)

    def test_it_is_reported_as_it_was(self) -> None:
        authority = next(event.authority for event in self.events() if isinstance(event, RequestHead))
        self.assertRegex(authority, r"^127\.0\.0\.1:[0-9]+$")
        self.assertEqual(
            self.events(),
            [
                RequestHead(0, "GET", authority, "/"),
                ResponseHead(0, 200),
                ResponseEnd(0, 5),
                RequestHead(1, "HEAD", authority, "/"),
                ResponseHead(1, 200),
                ResponseEnd(1, 0),
                RequestHead(2, "GET", authority, "/chunks"),
                ResponseHead(2, 200),
                ResponseEnd(2, 7),
                RequestHead(3, "POST", authority, "/"),
                ResponseHead(3, 200),
                ResponseEnd(3, 13),
            ],
        )


class GrpcTests(_Real, SynchronousTestCase):
    record = staticmethod(record_grpc)
    observer = Http2Observer
    detect = staticmethod(detect_h2)

    def test_it_is_reported_as_it_was(self) -> None:
        asked = [event for event in self.events() if isinstance(event, RequestHead)]
        self.assertEqual(
            [(event.index, event.method, event.path, dict(event.headers)["content-type"]) for event in asked],
            [
                (index, "POST", f"/emojivoto.v1.EmojiService/{name}", "application/grpc")
                for index, name in enumerate(("ListAll", "ListAll", "ListAll", "FindByShortcode", "Count"))
            ],
        )
        self.assertRegex(dict(asked[0].headers)["user-agent"], "^grpc-python/")
        kept = (("content-type", "application/grpc"),)
        self.assertEqual(
            [event for event in self.events() if not isinstance(event, RequestHead)],
            [
                ResponseHead(0, 200, kept),
                ResponseEnd(0, 205, 0),
                ResponseHead(1, 200, kept),
                ResponseEnd(1, 5, 0),
                ResponseHead(2, 200, kept),
                ResponseEnd(2, 5, 0),
                ResponseHead(3, 200, kept),
                ResponseEnd(3, 0, 5),
                ResponseHead(4, 200, kept),
                ResponseEnd(4, 13, 0),
            ],
        )


class H2LibraryTests(_Real, SynchronousTestCase):
    record = staticmethod(record_h2)
    observer = Http2Observer
    detect = staticmethod(detect_h2)

    def test_it_is_reported_as_it_was(self) -> None:
        agent = (("user-agent", "h2"),)
        kept = (("content-type", "text/plain"),)
        self.assertEqual(
            self.events(),
            [
                RequestHead(0, "POST", "web", "/a", agent),
                RequestHead(1, "POST", "web", "/b", agent),
                RequestHead(2, "POST", "web", "/a", agent),
                ResponseHead(1, 200, kept),
                ResponseHead(0, 200, kept),
                ResponseEnd(1, 6),
                ResponseEnd(0, 6, reset=8),
                ResponseEnd(2, 0, reset=7),
            ],
        )
