"""A directory that follows a scripted service, and what its tests ask of it."""

from __future__ import annotations

from random import Random

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.directory.follower import LONGEST
from meshtx.directory.remote import RemoteDirectory
from meshtx.directory.target import Meshed, NotReady, Target
from meshtx.net.contexts import Contexts
from meshtx.observe.flow import NoTls, NoTlsReason
from meshtx.pki.name import Name
from meshtx.wire.address import Address
from tests.directory.scripted import Service, Stream
from tests.directory.told import VOTING, workload
from tests.net.certificates import WEB, make_ca, make_leaf

CA = make_ca()
FIRST, SECOND = (Contexts(make_leaf(CA, WEB), CA.trust) for _ in range(2))
PLAIN = NoTls(NoTlsReason.NOT_DISCOVERED)


def meshed(text: str, name: str = VOTING, authority: str = "") -> Target:
    where = Address.parse(text)
    return Target(where, authority, Meshed(Name.parse(name), Address(where.ip, 4143)))


def plain(text: str) -> Target:
    return Target(Address.parse(text), "", PLAIN)


class RemoteCase(SynchronousTestCase):
    most = 100

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(FIRST.credentials.not_before.timestamp())  # type: ignore[union-attr]
        self.service = Service(self.clock)
        self.contexts: Contexts | None = FIRST
        self.found: list[Deferred[Target]] = []
        self.registry = CollectorRegistry()
        self.directory = RemoteDirectory(
            self.service.connect,
            lambda: self.contexts,
            self.clock,
            rng=Random(1),
            registry=self.registry,
            most=self.most,
        )
        self.addCleanup(self.stop)

    def stop(self) -> None:
        self.service.flush()
        if self.directory.running:
            self.directory.stopService()
        self.service.flush()
        self.clock.advance(0)
        self.assertEqual((self.directory._follower._running, self.directory._asked), ([], {}))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        for found in self.found:
            found.addErrback(lambda failure: failure.trap(NotReady))

    def start(self) -> Stream:
        """Follow; return the stream."""
        self.directory.startService()
        self.clock.advance(0)
        return self.stream

    @property
    def stream(self) -> Stream:
        return self.service.streams[-1]

    def find(self, text: str) -> Deferred[Target]:
        found = self.directory.find(Address.parse(text))
        self.found.append(found)
        self.service.flush()
        return found

    def know(self, *texts: str) -> None:
        """Have the directory know meshed workloads."""
        for text in texts:
            self.service.answers[text] = workload(text)
            self.assertEqual(self.successResultOf(self.find(text)), meshed(text))
            del self.service.answers[text]

    def shown(self, name: str, **labels: str) -> float | None:
        """Return a sample of the metrics."""
        return self.registry.get_sample_value(name, labels)

    def refused(self, found: Deferred[Target]) -> str:
        return str(self.failureResultOf(found, NotReady).value)

    def later(self, seconds: float = LONGEST) -> None:
        """Let time pass, with what is due meanwhile."""
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            self.service.flush()
