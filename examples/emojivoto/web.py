"""The web service: HTTP/1.1 for people and bots, gRPC to the emoji and voting services behind it.

GET  /               a page
GET  /api/list       the emoji, as JSON
POST /api/vote       a vote: the body is the emoji's shortcode
"""

import argparse
import json
import signal
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import emojivoto_pb2 as pb
import grpc
from command_line import place, run
from counts import Counts
from google.protobuf.message import Message

PAGE = "<!doctype html><title>emojivoto</title><h1>{list}</h1>\n"
MAX_BODY = 1024
"""Bytes of a vote."""


class Backend:
    """One gRPC service that the web service calls.

    :param target: ADDRESS:PORT to connect to.
    :param authority: the name it is called by.
    """

    def __init__(self, target: str, authority: str) -> None:
        self._channel = grpc.insecure_channel(target, options=[("grpc.default_authority", authority)])

    def call(self, path: str, request: Message, response: type[Message]) -> Message:
        """Call one method and wait for the answer, at most 5 s."""
        call = self._channel.unary_unary(path, lambda message: message.SerializeToString(), response.FromString)
        return call(request, timeout=5, wait_for_ready=True)


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one segment
    counts: Counts
    emoji: Backend
    voting: Backend

    def do_GET(self) -> None:
        """Answer the page and the list."""
        match self.path:
            case "/api/list":
                self._answer(self._list)
            case "/":
                self._answer(self._page)
            case _:
                self._send(404, "text/plain", "no such page\n")

    def do_POST(self) -> None:
        """Take a vote."""
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), MAX_BODY))
        if self.path == "/api/vote":
            self._answer(lambda: self._vote(body.decode()))
        else:
            self._send(404, "text/plain", "no such page\n")

    def _answer(self, work: Callable[[], tuple[str, str]]) -> None:
        try:
            kind, text = work()
        except grpc.RpcError as error:
            self._send(502, "text/plain", f"{error.code().name}: {error.details()}\n")
        else:
            self.counts.add(f"{self.command} {self.path}")
            self._send(200, kind, text)

    def _list(self) -> tuple[str, str]:
        return "application/json", json.dumps(self._emoji(), ensure_ascii=False)

    def _page(self) -> tuple[str, str]:
        return "text/html; charset=utf-8", PAGE.format(list=" ".join(e["unicode"] for e in self._emoji()))

    def _vote(self, shortcode: str) -> tuple[str, str]:
        request = pb.VoteRequest(shortcode=shortcode)
        answer = self.voting.call("/emojivoto.v1.VotingService/Vote", request, pb.VoteResponse)
        return "application/json", json.dumps({"votes": answer.votes})

    def _emoji(self) -> list[dict[str, str]]:
        answer = self.emoji.call("/emojivoto.v1.EmojiService/ListAll", pb.ListAllRequest(), pb.ListAllResponse)
        return [{"unicode": e.unicode, "shortcode": e.shortcode} for e in answer.list]

    def _send(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Keep quiet: the counts are the log."""


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", type=place, default="0.0.0.0:80", metavar="ADDRESS:PORT")
    parser.add_argument("--emoji", type=place, required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--voting", type=place, required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--counts", type=Path, metavar="FILE", help="keep the number of requests served in this file")
    options = parser.parse_args()
    Handler.counts = Counts(options.counts)
    Handler.emoji = Backend(options.emoji, "emoji-svc.emojivoto:8080")
    Handler.voting = Backend(options.voting, "voting-svc.emojivoto:8080")
    host, _, port = options.listen.rpartition(":")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer.daemon_threads = True
    server = ThreadingHTTPServer((host, int(port)), Handler)
    Handler.counts.begin()
    server.serve_forever()


if __name__ == "__main__":
    run(main)
