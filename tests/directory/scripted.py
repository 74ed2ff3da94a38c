"""A directory's service as a test scripts it: our own server, joined to our own client by memory; the clock stands."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from meshtx.net.contexts import Contexts
from meshtx.net.tls import Session
from meshtx.pki.name import Name
from meshtx.rpc.call import Call
from meshtx.rpc.client import RpcClient
from meshtx.rpc.connect import Connection
from meshtx.rpc.messages import directory_pb2 as pb
from meshtx.rpc.methods import DIRECTORY_FIND, DIRECTORY_FOLLOW, DIRECTORY_FORGET
from meshtx.rpc.server import RpcServer
from meshtx.rpc.status import RpcError, Status
from meshtx.wire.address import Address
from tests.directory.told import table
from tests.rpc.memory import MemoryTransport

LOCAL = Address.parse("10.1.0.9:40000")


class Stream:
    """A sidecar that follows."""

    def __init__(self, request: pb.FollowRequest, call: Call, wire: Wire) -> None:
        self.own_ips = list(request.own_ips)
        self.known = [text(each) for each in request.known]
        self.over: Deferred[None] = Deferred()
        self._call = call
        self._wire = wire

    def send(self, *messages: pb.Table | pb.Answer | pb.Update) -> None:
        for message in messages:
            match message:
                case pb.Table():
                    self._call.send(pb.Update(table=message))
                case pb.Answer():
                    self._call.send(pb.Update(answer=message))
                case pb.Update():
                    self._call.send(message)
        self._wire.flush()

    def end(self, error: RpcError | None = None) -> None:
        if error is None:
            self.over.callback(None)
        else:
            self.over.errback(error)
        self._wire.flush()

    def cut(self) -> None:
        """Lose the connection."""
        self._wire.lose(ConnectionLost())

    @property
    def lost(self) -> bool:
        return self._wire.lost


class Wire:
    """A connection between our two sides."""

    def __init__(self, service: Service) -> None:
        self.lost = False
        self.client = RpcClient(service.clock, authority="directory")
        server: Any = service.server.protocol(Session(service.peer, "", None, None))
        self._ends: list[tuple[Any, MemoryTransport]] = []
        service.wires.append(self)
        for protocol in (server, self.client):
            transport = MemoryTransport()
            protocol.makeConnection(transport)
            self._ends.append((protocol, transport))
        self.flush()

    def flush(self) -> None:
        """Move bytes until both sides are silent; end the connection if one of them wants it."""
        while self.step(from_client=True) or self.step(from_client=False):
            pass

    def step(self, *, from_client: bool) -> bool:
        """Move what one side has said; return whether it had said something."""
        (_, ours), (theirs, _) = self._ends[::-1] if from_client else self._ends
        data = b"" if self.lost else bytes(ours.written)
        ours.written.clear()
        if data:
            theirs.dataReceived(data)
        for _, transport in self._ends:
            if transport.aborted:
                self.lose(ConnectionAborted())
            elif transport.disconnecting and not any(each.written for _, each in self._ends):
                self.lose(ConnectionDone())
        return bool(data)

    def lose(self, why: Exception) -> None:
        if not self.lost:
            self.lost = True
            for protocol, _ in self._ends:
                protocol.connectionLost(Failure(why))


class Service:
    """The service.

    :ivar tables: what new streams get first; with none they wait.
    :ivar answers: by address; others are answered by hand.
    :ivar refuses: what connecting raises.
    :ivar peer: who the sidecar proves to be.
    :ivar slow: bytes move only when they are told to.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.replace()
        self.wires: list[Wire] = []
        self.tables = [table(str(number)) for number in range(1, 10)]
        self.answers: dict[str, pb.Answer | RpcError] = {}
        self.refuses: Exception | None = None
        self.peer: Name | None = None
        self.slow = False
        self.silent: Deferred[Connection] | None = None
        self.contexts: list[Contexts] = []
        self.streams: list[Stream] = []
        self.asked: list[tuple[str, str]] = []
        self.forgotten: list[tuple[str, list[str]]] = []
        self.forget_error: RpcError | None = None
        self._waiting: dict[str, Deferred[pb.Answer]] = {}

    def replace(self) -> None:
        """Have another server from now on."""
        handlers = {DIRECTORY_FOLLOW: self._follow, DIRECTORY_FIND: self._find, DIRECTORY_FORGET: self._forget}
        self.server = RpcServer(handlers, self.clock)

    def connect(self, contexts: Contexts) -> Deferred[Connection]:
        self.contexts.append(contexts)
        if self.silent is not None:
            return self.silent
        if self.refuses is not None:
            raised: Deferred[Connection] = Deferred()
            raised.errback(self.refuses)
            return raised
        wire = Wire(self)
        if not self.slow:
            self.clock.callLater(0, wire.flush)  # once there is a call on it
        return succeed(Connection(wire.client, LOCAL))

    def flush(self) -> None:
        for wire in list(self.wires):
            wire.flush()

    async def _follow(self, request: pb.FollowRequest, call: Call) -> None:
        stream = Stream(request, call, self.wires[-1])
        self.streams.append(stream)
        if self.tables:
            call.send(pb.Update(table=self.tables.pop(0)))
        await stream.over

    async def _find(self, request: pb.FindRequest, _call: Call) -> pb.Answer:
        address = text(request.address)
        self.asked.append((request.session, address))
        answer = self.answers.get(address)
        if isinstance(answer, RpcError):
            raise answer
        if answer is not None:
            return answer
        waiting = self._waiting[address] = Deferred()
        return await waiting

    def reply(self, address: str, answer: pb.Answer | RpcError) -> None:
        """Answer a question that waits."""
        waiting = self._waiting.pop(address)
        if isinstance(answer, RpcError):
            waiting.errback(answer)
        else:
            waiting.callback(answer)
        self.flush()

    async def _forget(self, request: pb.ForgetRequest, _call: Call) -> pb.Forgotten:
        self.forgotten.append((request.session, [text(each) for each in request.addresses]))
        if self.forget_error is not None:
            raise self.forget_error
        return pb.Forgotten()


def text(endpoint: pb.Endpoint) -> str:
    return str(Address.of(".".join(map(str, endpoint.ip)), endpoint.port))


UNKNOWN = RpcError(Status.FAILED_PRECONDITION, "no such session")
