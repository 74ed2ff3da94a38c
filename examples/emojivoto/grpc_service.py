"""How the example's gRPC services are served: grpcio, plaintext, nothing of any mesh."""

import argparse
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from command_line import place, run
from counts import Counts
from google.protobuf.message import Message

Method = tuple[Callable[[Message], Message], type[Message]]
"""The function that answers, and the type of its request."""


def serve(service: str, methods: Mapping[str, Method], doc: str) -> None:
    """Serve one gRPC service until SIGTERM or SIGINT.

    :param service: its full name, e.g. ``emojivoto.v1.EmojiService``.
    """
    run(lambda: _serve(service, methods, doc))


def _serve(service: str, methods: Mapping[str, Method], doc: str) -> None:
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--listen", type=place, default="0.0.0.0:8080", metavar="ADDRESS:PORT")
    parser.add_argument("--counts", type=Path, metavar="FILE", help="keep the number of requests served in this file")
    parser.add_argument(
        "--connection-age",
        type=float,
        metavar="SECONDS",
        help="have clients connect anew after so long, and so come to other servers (default: never)",
    )
    options = parser.parse_args()
    counts = Counts(options.counts)
    server = grpc.server(ThreadPoolExecutor(8), options=_aged(options.connection_age))
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                service, {name: _handler(f"/{service}/{name}", method, counts) for name, method in methods.items()}
            )
        ]
    )
    server.add_insecure_port(options.listen)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    server.start()
    counts.begin()
    stopped.wait()
    server.stop(grace=1).wait()


def _aged(seconds: float | None) -> list[tuple[str, int]]:
    return [] if seconds is None else [("grpc.max_connection_age_ms", int(seconds * 1000))]


def _handler(path: str, method: Method, counts: Counts) -> grpc.RpcMethodHandler:
    answer, request_type = method

    def handle(request: Message, _context: grpc.ServicerContext) -> Message:
        counts.add(f"POST {path}")
        return answer(request)

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=request_type.FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )
