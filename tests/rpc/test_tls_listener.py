"""The server behind TLS, over real sockets."""

from __future__ import annotations

from google.protobuf.wrappers_pb2 import BytesValue
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError

from meshtx.net.contexts import Contexts
from meshtx.net.dial import Dialler
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.listen import listen
from meshtx.net.sockets import SocketOptions
from meshtx.net.tls import HANDSHAKE, Session, TlsProtocol
from meshtx.pki.credentials import Credentials
from meshtx.pki.name import Name
from meshtx.rpc.call import Call
from meshtx.rpc.client import RpcClient
from meshtx.rpc.server import RpcServer
from meshtx.rpc.status import RpcError, Status
from meshtx.rpc.tls_listener import TlsListener
from meshtx.wire.address import Address
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf
from tests.rpc.support import ECHO, Listening, Raw, message

CA = make_ca()
SERVER = make_leaf(CA, WEB)


class TlsListenerTests(Listening):
    def listen(self, *, require_peer: bool = True, contexts: bool = True, max_handshakes: int = 10) -> RpcServer:
        self.peers: list[Name | None] = []
        self.failures: list[TlsFailure] = []
        self.failed: Deferred[None] = Deferred()
        present = Contexts(SERVER, CA.trust) if contexts else None

        async def echo(request: BytesValue, call: Call) -> BytesValue:
            self.peers.append(call.peer)
            return request

        def failed(error: TlsError) -> None:
            self.failures.append(error.reason)
            if not self.failed.called:
                self.failed.callback(None)

        server = RpcServer({ECHO: echo}, reactor)
        factory = TlsListener(
            server,
            lambda: present,
            reactor,
            require_peer=require_peer,
            failed=failed,
            max_handshakes=max_handshakes,
        )
        port = listen(reactor, Address.parse("127.0.0.1:0"), factory, SocketOptions())
        self.port = port.getHost().port
        self.addCleanup(server.stop, 1)
        self.addCleanup(port.stopListening)
        return server

    async def connect(self, credentials: Credentials | None, alpn: tuple[str, ...] = ()) -> tuple[RpcClient, Session]:
        client = RpcClient(reactor, authority=str(WEB))
        lost: Deferred[None] = Deferred()
        ready: Deferred[Session] = Deferred()
        ended = client.ended
        client.ended = lambda reason: (ended(reason), lost.callback(None))  # type: ignore

        def established(session: Session) -> RpcClient:
            reactor.callLater(0, ready.callback, session)
            return client

        connection = Contexts(credentials, CA.trust).client(WEB, alpn)
        protocol = TlsProtocol(connection, established, ready.errback, reactor)
        await Dialler(reactor, SocketOptions(), 10).dial(Address.of("127.0.0.1", self.port), protocol)

        def close() -> Deferred[None]:
            client.close()
            return lost

        session = await ready
        self.addCleanup(close)
        return client, session

    async def test_a_handler_knows_who_calls(self) -> None:
        self.listen()
        client, session = await self.connect(make_leaf(CA, VOTING), ("h2",))
        self.assertEqual(await client.call(ECHO, message(b"hi"), 10), message(b"hi"))
        self.assertEqual((self.peers, session.alpn), ([VOTING], "h2"))

    async def test_a_client_need_not_offer_a_protocol(self) -> None:
        self.listen()
        client, session = await self.connect(make_leaf(CA, VOTING))
        self.assertEqual(await client.call(ECHO, message(b"hi"), 10), message(b"hi"))
        self.assertEqual(session.alpn, "")

    async def test_a_client_without_a_certificate_where_none_is_required(self) -> None:
        self.listen(require_peer=False)
        client, _ = await self.connect(None)
        await client.call(ECHO, message(), 10)
        self.assertEqual(self.peers, [None])

    async def test_a_client_without_a_certificate_where_one_is_required(self) -> None:
        server = self.listen()
        client, _ = await self.connect(None)
        error = await self.assertFailure(client.call(ECHO, message(), 10), RpcError)
        self.assertEqual(error.status, Status.UNAVAILABLE)
        self.assertEqual((self.peers, self.failures, server.open), ([], [TlsFailure.NO_CERTIFICATE], set()))

    async def test_without_credentials_nobody_is_served(self) -> None:
        self.listen(contexts=False)
        try:
            raw: Raw = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), Raw())
        except ConnectError:  # the reset was there before we looked
            return
        await raw.lost

    async def test_the_oldest_handshake_makes_room(self) -> None:
        self.listen(max_handshakes=2)
        first, second = [await self.raw() for _ in range(2)]
        client, _ = await self.connect(make_leaf(CA, VOTING))
        await first.lost
        await self.failed
        self.assertFalse(second.lost.called)
        await client.call(ECHO, message(), 10)
        third = await self.raw()  # the established one holds no place of a handshake
        await self.raw()
        await second.lost
        self.assertFalse(third.lost.called)

    async def test_however_many_come_there_are_so_many_handshakes(self) -> None:
        self.listen(max_handshakes=2)
        silent = [await self.raw() for _ in range(7)]
        await gatherResults([each.lost for each in silent[:-2]]).addTimeout(HANDSHAKE / 2, reactor)
        self.assertEqual([each.lost.called for each in silent[-2:]], [False, False])

    async def test_a_client_that_goes_is_forgotten(self) -> None:
        server = self.listen()
        client, _ = await self.connect(make_leaf(CA, VOTING))
        await client.call(ECHO, message(), 10)
        (connection,) = server.open
        gone: Deferred[None] = Deferred()
        ended = connection.ended
        connection.ended = lambda reason: (ended(reason), gone.callback(None))  # type: ignore
        client.shut()  # no GOAWAY, just the end
        await gone
        self.assertEqual(server.open, set())
