"""Our TCP transports on real sockets, Twisted's kind and the quick kind: one contract for all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from meshtx.net.dial import DialFailed, DialFailure, Dialler
from meshtx.net.poller import HAS_EPOLL, Transports
from meshtx.net.sockets import SocketOptions
from meshtx.wire.address import Address
from tests.net.namespaces import ROOT
from tests.net.transport_case import Accepted, Dialled, End, Peer
from tests.net.transport_ends import Ends
from tests.net.transport_flow import Flow


class Dials(Dialled, Ends, Flow):
    async def test_a_refusal_is_told_and_the_protocol_is_not_connected(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = Address.of(*listener.getsockname())
        end = End()
        with self.assertRaises(DialFailed) as caught:
            await Dialler(self.io, SocketOptions(), 5.0).dial(address, end)
        self.assertEqual((caught.exception.reason, end.made.called), (DialFailure.REFUSED, False))


class TwistedAcceptedTests(Accepted, Ends, Flow):
    transports = Transports.TWISTED


class TwistedDialledTests(Dials):
    transports = Transports.TWISTED


class QuickAcceptedTests(Accepted, Ends, Flow):
    transports = Transports.QUICK


class QuickDialledTests(Dials):
    transports = Transports.QUICK


del Ends, Flow, Dials  # trial would run them by themselves


ANSWERING = """
import sys
from meshtx.net.poller import Transports, registrar
if sys.argv[1] == "meshtx":
    from meshtx.net.reactor import install
    install()
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from meshtx.net.listen import listen
from meshtx.net.sockets import SocketOptions
from meshtx.wire.address import Address
class Answer(Protocol):
    def connectionMade(self): self.transport.write(b"half an answer")
io = registrar(reactor, Transports.TWISTED if sys.argv[1] == "twisted" else Transports.QUICK)
port = listen(io, Address.parse("127.0.0.1:0"), Factory.forProtocol(Answer), SocketOptions())
print(port.getHost().port, flush=True)
reactor.run()
"""


WAYS = ("twisted", "quick", "meshtx") if HAS_EPOLL else ("twisted",)


class EndedTests(TestCase):
    """The end of a process, by each way of moving bytes."""

    timeout = 60

    async def test_a_process_that_is_killed_in_mid_answer_resets_its_connections(self) -> None:
        for how in WAYS:
            await self.check(how, signal.SIGKILL)

    async def test_a_process_that_is_stopped_in_mid_answer_resets_its_connections(self) -> None:
        for how in WAYS:
            await self.check(how, signal.SIGTERM)

    async def check(self, how: str, end: signal.Signals) -> None:
        process = subprocess.Popen(  # noqa: ASYNC220  # it starts in no time, and nothing else is going on
            [sys.executable, "-c", ANSWERING, how], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        port = int(await deferToThread(process.stdout.readline))
        peer = Peer(await deferToThread(socket.create_connection, ("127.0.0.1", port)))
        self.addCleanup(peer.sock.close)
        self.assertEqual(await deferToThread(peer.sock.recv, 100), b"half an answer")
        process.send_signal(end)
        self.assertEqual(await deferToThread(peer.read_to_the_end), (0, "reset"), how)
