"""What connections are registered with, and the reactor that is a poller itself."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from runpy import run_path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import ConfigError
from meshtx.net import poller as module
from meshtx.net.poller import FdSet, Poller, Transports, registrar
from tests.net.namespaces import ROOT


class RegistrarTests(SynchronousTestCase):
    skip = None if module.HAS_EPOLL else "needs epoll"

    def test_any_reactor_gets_a_poller(self) -> None:
        outer = Clock()
        self.assertIsInstance(registrar(outer, Transports.QUICK), Poller)
        self.assertIs(registrar(outer, Transports.TWISTED), outer)

    def test_where_there_is_no_epoll_the_reactor_does_it(self) -> None:
        self.patch(module, "HAS_EPOLL", False)
        outer = Clock()
        self.assertIs(registrar(outer, Transports.QUICK), outer)

    def test_a_system_without_epoll_can_import_it(self) -> None:
        epoll = select.epoll
        self.addCleanup(setattr, select, "epoll", epoll)
        del select.epoll
        self.assertFalse(run_path(module.__file__)["HAS_EPOLL"])

    def test_our_own_reactor_needs_no_other_poller_and_has_no_other_transports(self) -> None:
        reactor = FdSet()
        self.assertIs(registrar(reactor, Transports.QUICK), reactor)
        refused = self.assertRaises(ConfigError, registrar, reactor, Transports.TWISTED)
        self.assertEqual(
            str(refused), "transports: the reactor meshtx has quick ones; leave out --reactor, or this setting"
        )


WORKING = """
import sys
from meshtx.net.reactor import install
install()
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.utils import getProcessOutput
from meshtx.net.dial import Dialler
from meshtx.net.listen import listen
from meshtx.net.sockets import SocketOptions
from meshtx.wire.address import Address
class Echo(Protocol):
    def dataReceived(self, data): self.transport.write(data)
class Ask(Protocol):
    def connectionMade(self): self.transport.write(b"hello")
    def dataReceived(self, data): done.callback(data)
async def work():
    port = listen(reactor, Address.parse("127.0.0.1:0"), Factory.forProtocol(Echo), SocketOptions())
    await Dialler(reactor, SocketOptions(), 5.0).dial(Address.parse(f"127.0.0.1:{port.getHost().port}"), Ask())
    said = await done, await getProcessOutput(sys.executable, ["-c", "print('child')"])
    print(type(reactor).__name__, *said, flush=True)
    reactor.callLater(0, reactor.stop)
from twisted.internet.defer import Deferred, ensureDeferred
done = Deferred()
reactor.callWhenRunning(lambda: ensureDeferred(work()))
reactor.run()
print("ended")
"""


class ReactorTests(SynchronousTestCase):
    skip = None if module.HAS_EPOLL else "needs epoll"

    def test_it_serves_connections_timers_and_processes_and_ends(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", WORKING],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        said = "MeshtxReactor b'hello' b'child\\n'\nended\n"
        self.assertEqual((done.stdout, done.stderr, done.returncode), (said, "", 0))
