"""The handshake: when it ends, how it fails, and what is called."""

from __future__ import annotations

import gc
import weakref

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from meshtx.net import contexts
from meshtx.net.contexts import Contexts
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.tls import AFTER_FAILURE, HANDSHAKE, Session
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf
from tests.net.tls_wire import Half, Plain, Side, WireCase, dial, join, listen, outcomes, turns

CA = make_ca()
CLIENT = Contexts(make_leaf(CA, WEB), CA.trust)
SERVER = Contexts(make_leaf(CA, VOTING), CA.trust)


def ends(client_app: Plain | None = None, server_app: Plain | None = None, **options) -> tuple[Side, Side]:
    return (
        Side(CLIENT.client(VOTING), client_app or Half(), **options),
        Side(SERVER.server(), server_app or Half(), **options),
    )


class Raw(Protocol):
    """A peer that speaks something else, or nothing."""

    def __init__(self, first: bytes = b"") -> None:
        self.first = first
        self.data = bytearray()
        self.made: Deferred[None] = Deferred()
        self.heard: Deferred[None] = Deferred()
        self.lost: Deferred[BaseException | None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(self.first)
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if not self.heard.called:
            self.heard.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        self.lost.callback(reason.value)


class HandshakeTests(WireCase):
    async def test_both_sides_are_established_and_talk(self) -> None:
        c, s = ends()
        join(self, c, s)
        client, server = await outcomes(c, s)
        assert isinstance(client, Session)
        assert isinstance(server, Session)
        self.assertEqual((client.peer, server.peer), (VOTING, WEB))
        c.app.transport.write(b"ping")
        self.assertEqual(await s.app.has(4), b"ping")
        s.app.transport.writeSequence([b"po", b"ng"])
        self.assertEqual(await c.app.has(4), b"pong")

    async def test_bytes_written_at_once_arrive(self) -> None:
        """They may come in the same segment as the end of the handshake."""

        class Eager(Half):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.transport.write(b"x" * 100_000)

        c, s = ends(Eager(), Eager())
        join(self, c, s)
        self.assertEqual(len(await s.app.has(100_000)), 100_000)
        self.assertEqual(len(await c.app.has(100_000)), 100_000)

    async def test_it_takes_over_a_transport_with_what_was_read(self) -> None:
        class Sniffer(Protocol):
            seen = b""

            def dataReceived(self, data: bytes) -> None:
                self.seen += data
                if len(self.seen) > 1000:
                    s.tls.start_on(self.transport, self.seen)

        c, s = ends()
        dial(self, listen(self, Sniffer()), c.tls)
        self.addCleanup(lambda: c.tcp.abortConnection() or s.closed)
        await outcomes(c, s)
        c.app.transport.write(b"hello")
        self.assertEqual(await s.app.has(5), b"hello")
        c.app.transport.loseWriteConnection()
        await s.app.eof

    async def test_a_prefix_may_be_empty(self) -> None:
        class Sniffer(Protocol):
            def connectionMade(self) -> None:
                s.tls.start_on(self.transport)

        c, s = ends()
        dial(self, listen(self, Sniffer()), c.tls)
        self.addCleanup(lambda: c.tcp.abortConnection() or s.closed)
        await outcomes(c, s)

    async def test_a_silent_client_is_cut_at_the_deadline(self) -> None:
        clock, peer = Clock(), Raw(b"\x16\x03\x01")
        side = Side(SERVER.server(), Half(), clock=clock)
        dial(self, listen(self, side.tls), peer)
        await peer.made
        await turns(0.02)
        clock.advance(HANDSHAKE - 0.1)
        self.assertFalse(side.outcome.called)
        clock.advance(0.1)
        await self.assert_failed(side, TlsFailure.TIMEOUT, "no handshake within 10 s")
        self.assertIsInstance(await side.closed, ConnectionAborted)
        self.assertIsInstance(await peer.lost, ConnectionLost)
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_a_silent_server_is_cut_at_the_deadline(self) -> None:
        clock, peer = Clock(), Raw()
        side = Side(CLIENT.client(VOTING), Half(), clock=clock, timeout=2.5)
        dial(self, listen(self, peer), side.tls)
        await peer.heard
        clock.advance(2.5)
        await self.assert_failed(side, TlsFailure.TIMEOUT, "no handshake within 2.5 s")
        await peer.lost

    async def test_the_deadline_ends_with_the_handshake(self) -> None:
        clock = Clock()
        c, s = ends(clock=clock)
        join(self, c, s)
        await outcomes(c, s)
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_a_peer_that_closes_in_the_handshake(self) -> None:
        for make in (lambda: CLIENT.client(VOTING), SERVER.server):
            peer, side = Raw(), Side(make(), Half())
            dial(self, listen(self, peer), side.tls)
            await peer.made
            peer.transport.loseConnection()
            await self.assert_failed(side, TlsFailure.TRUNCATED, "the peer closed in the handshake")
            await side.closed
            await peer.lost

    async def test_a_peer_that_resets_in_the_handshake(self) -> None:
        peer, side = Raw(), Side(SERVER.server(), Half())
        dial(self, listen(self, side.tls), peer)
        await peer.made
        peer.transport.abortConnection()
        detail = "in the handshake: Connection to the other side was lost in a non-clean fashion."
        await self.assert_failed(side, TlsFailure.OTHER, detail)

    async def test_a_peer_that_speaks_something_else_gets_an_alert(self) -> None:
        peer, side = Raw(b"\x16\x03\x01\x00\x05hello"), Side(SERVER.server(), Half())
        dial(self, listen(self, side.tls), peer)
        await self.assert_failed(side, TlsFailure.OTHER, "unexpected message")
        self.assertIsInstance(await peer.lost, ConnectionDone)
        await side.closed
        self.assertEqual(peer.data.hex(), "15030300020" + "20a", "alert: fatal, unexpected message")

    async def test_the_alert_arrives_though_the_peer_still_sends(self) -> None:
        """A socket closed with bytes unread resets the connection, and the alert would be lost."""
        clock = Clock()
        anonymous = Side(Contexts(None, CA.trust).client(VOTING), Talker())
        s = Side(SERVER.server(), Half(), clock=clock)
        join(self, anonymous, s)
        await self.assert_failed(s, TlsFailure.NO_CERTIFICATE, "peer did not return a certificate")
        error = await anonymous.app.lost
        assert isinstance(error, TlsError)
        self.assertEqual((error.reason, error.detail), (TlsFailure.REJECTED, "tlsv13 alert certificate required"))
        await s.closed
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_a_refused_peer_that_does_not_go_is_cut(self) -> None:
        clock, peer = Clock(), Holder(b"GET / HTTP/1.1\r\n\r\n")
        side = Side(SERVER.server(), Half(), clock=clock)
        dial(self, listen(self, side.tls), peer)
        await self.assert_failed(side, TlsFailure.OTHER, "http request")
        await peer.ended
        self.assertEqual([call.getTime() for call in clock.getDelayedCalls()], [AFTER_FAILURE])
        clock.pump([AFTER_FAILURE, AFTER_FAILURE])
        self.assertIsInstance(await side.closed, ConnectionAborted)
        peer.transport.abortConnection()
        await peer.lost

    async def test_an_owner_that_raises_aborts_the_connection(self) -> None:
        def broken(_session: Session) -> Plain:
            raise RuntimeError("no protocol")

        c, s = ends()
        s.tls._established = broken
        join(self, c, s)
        self.assertIsInstance(await c.app.lost, ConnectionLost)
        await s.closed
        self.assertFalse(s.outcome.called)
        self.assertEqual([str(failure.value) for failure in self.flushLoggedErrors(RuntimeError)], ["no protocol"])

    async def test_a_defect_in_a_callback_of_openssl_refuses(self) -> None:
        def broken(*_arguments: object) -> bool:
            raise ZeroDivisionError

        self.patch(contexts, "_verify", broken)
        c = Side(CLIENT.client(VOTING), Half())
        s = Side(Contexts(make_leaf(CA, VOTING), CA.trust).server(), Half())
        join(self, c, s)
        await self.assert_failed(s, TlsFailure.OTHER, "a defect of ours; the log has it")
        await c.closed
        await s.closed
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_openssl_s_memory_goes_with_the_connection(self) -> None:
        """Not when garbage is collected: Python does not see how large it is."""
        c, s = ends()
        seen = [weakref.ref(c.connection), weakref.ref(s.connection)]
        join(self, c, s)
        await outcomes(c, s)
        c.app.transport.write(b"x")
        await s.app.has(1)
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        c.app.transport.loseConnection()
        await s.app.eof
        s.app.transport.loseConnection()
        await c.app.lost
        await s.app.lost
        await turns()
        del c.connection, s.connection
        self.assertEqual([reference() for reference in seen], [None, None])

    async def test_openssl_s_memory_goes_with_a_handshake_that_failed(self) -> None:
        """Of an end that refuses, be it the client that proved nothing, or the server that is somebody else."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for client, server in (
            (Contexts(make_leaf(make_ca(), WEB), CA.trust), SERVER),
            (CLIENT, Contexts(make_leaf(CA, WEB), CA.trust)),
        ):
            c, s = Side(client.client(VOTING), Half()), Side(server.server(), Half())
            seen = [weakref.ref(c.connection), weakref.ref(s.connection)]
            join(self, c, s)
            await outcomes(c, s)
            await c.closed
            await s.closed
            await turns()
            del c.connection, s.connection
            self.assertEqual([reference() for reference in seen], [None, None])

    async def assert_failed(self, side: Side, reason: TlsFailure, detail: str) -> None:
        error = await side.outcome
        assert isinstance(error, TlsError), error
        self.assertEqual((error.reason, error.detail, side.app.log), (reason, detail, []))


class Talker(Half):
    """Sends without end."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self.going = True
        while self.going:
            self.transport.write(b"x" * 16384)

    def pauseProducing(self) -> None:
        self.going = False

    stopProducing = pauseProducing


@implementer(IHalfCloseableProtocol)
class Holder(Raw):
    """Keeps its side open when the peer has ended."""

    def __init__(self, first: bytes) -> None:
        super().__init__(first)
        self.ended: Deferred[None] = Deferred()

    def readConnectionLost(self) -> None:
        self.ended.callback(None)

    def writeConnectionLost(self) -> None:
        """Never asked for."""
