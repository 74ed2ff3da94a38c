"""How many connections that say nothing the admin port holds."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from meshtx.observe.admin import AdminSite, Readers
from meshtx.observe.metrics import Metrics
from meshtx.proxy.arrival import Arrival
from meshtx.proxy.mesh_tls import MeshTls
from meshtx.services.admin_port import MAX_UNDECIDED, AdminPort
from tests.proxy.mesh import CA, VOTING_LEAF, Source


class AdminPortBoundsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.port = AdminPort(
            self.site,
            MeshTls(Source(VOTING_LEAF, CA.trust)),
            self.clock,
            plaintext_metrics=False,
            readers=(),
            failed=self.fail,
        )

    def site(self, shows_metrics: bool) -> AdminSite:
        return AdminSite(
            Metrics(), lambda: None, reactor=self.clock, readers=Readers.EVERYBODY if shows_metrics else Readers.NAMES
        )

    def connect(self) -> tuple[Arrival, StringTransport]:
        arrival, transport = self.port.buildProtocol(None), StringTransport()
        arrival.makeConnection(transport)
        return arrival, transport

    def test_of_those_that_say_nothing_the_oldest_makes_room(self) -> None:
        transports = [self.connect()[1] for _ in range(MAX_UNDECIDED + 1)]
        self.assertEqual([each.disconnected for each in transports[:2]], [True, False])

    def test_one_that_spoke_or_has_gone_takes_no_room(self) -> None:
        (spoke, first), (gone, _), *_ = [self.connect() for _ in range(MAX_UNDECIDED)]
        spoke.dataReceived(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
        gone.connectionLost(Failure(ConnectionDone()))
        others = [self.connect()[1] for _ in range(2)]
        self.assertIn(b" 200 ", first.value())
        self.assertEqual([each.disconnected for each in (first, *others)], [False, False, False])
