"""Connections, names and a detector to test with."""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from meshtx.interfaces import Detection, IDetector, IObserver
from meshtx.observe.flow import Direction, Flow, Mtls, NoTls, NoTlsReason, Request, Response, ResponseEnd, Seen
from meshtx.observe.metrics import Metrics
from meshtx.observe.tap import Lost, TapEvent
from meshtx.observe.tap_messages import Encoder
from meshtx.pki.name import MeshScope
from meshtx.rpc.messages import tap_pb2
from meshtx.wire.address import Address

WEB = MeshScope().name("emojivoto", "web")
EMOJI = MeshScope().name("emojivoto", "emoji")

CLIENT = Address.parse("10.1.0.4:48210")
SERVER = Address.parse("10.1.0.2:80")

MTLS = Mtls(WEB, "meshtx/1")
PLAIN = NoTls(NoTlsReason.NO_TLS_FROM_REMOTE)


def a_flow(
    direction: Direction = Direction.IN, security: Mtls | NoTls | None = MTLS, *, dst: Address = SERVER, number: int = 0
) -> Flow:
    return Flow(number, direction, CLIENT, dst, 1000.0, security)


def a_request(number: int = 0, method: str = "GET", path: str = "/api/list", authority: str = "web:80") -> Request:
    return Request(number, "line", method, authority, path, (("host", authority),))


def event_message(event: TapEvent | Lost, *, headers: bool) -> tap_pb2.TapEvent:
    """Return what a tap is sent, after its way over the wire."""
    return tap_pb2.TapEvent.FromString(Encoder().encode(event, headers=headers))


def series(metrics: Metrics, start: str) -> list[str]:
    """The exposed lines that start so, without comments."""
    lines = metrics.exposition().decode().splitlines()
    return [line for line in lines if line.startswith(start)]


@implementer(IObserver)
class LineObserver:
    """Sees a request in ``?PATH`` and its answer in ``!STATUS``; ``x`` makes it give up, ``boom`` raise."""

    def __init__(self) -> None:
        self.detached = False
        self.client = b""
        self.server = b""
        self.orderly: bool | None = None
        self._asked = 0
        self._answered = 0

    def client_data(self, data: bytes) -> list[Seen]:
        self.client += data
        if b"boom" in data:
            raise ZeroDivisionError("boom")
        self.detached = b"x" in data
        paths = data.decode("latin-1").split("?")[1:]
        start, self._asked = self._asked, self._asked + len(paths)
        return [a_request(start + offset, path=path) for offset, path in enumerate(paths)]

    def server_data(self, data: bytes) -> list[Seen]:
        self.server += data
        seen: list[Seen] = []
        for text in data.decode("latin-1").split("!")[1:]:
            seen += [Response(self._answered, int(text)), ResponseEnd(self._answered, len(text))]
            self._answered += 1
        return seen

    def ended(self, orderly: bool) -> list[Seen]:
        self.orderly = orderly
        return [ResponseEnd(number, 0, reset=-1) for number in range(self._answered, self._asked)]


@implementer(IDetector)
class LineDetector:
    """Says what it is told to say of the first bytes; by default YES to what starts with ``?``."""

    name = "line"

    def __init__(self, judge: Callable[[bytes], Detection] | None = None) -> None:
        self.asked: list[bytes] = []
        self.made: list[LineObserver] = []
        self._judge = judge or (lambda first: Detection.YES if first.startswith(b"?") else Detection.NO)

    def detect(self, first: bytes) -> Detection:
        self.asked.append(first)
        return self._judge(first)

    def observer(self, flow: Flow) -> LineObserver:
        self.made.append(LineObserver())
        return self.made[-1]
