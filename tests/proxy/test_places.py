"""The endpoints of a service, for one connection: what is kept of those that were not there."""

from __future__ import annotations

from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from meshtx.directory.target import Target
from meshtx.net.dial import DialFailed, DialFailure
from meshtx.observe.flow import NoTls, NoTlsReason
from meshtx.proxy.places import Places
from meshtx.proxy.source import classify
from meshtx.wire.address import Address

HERE, THERE = (Target(Address.parse(f"10.1.0.{n}:80"), "", NoTls(NoTlsReason.NOT_DISCOVERED)) for n in (1, 2))


def raised() -> DialFailed:
    """Return a failure as who has waited for it has it: its frames lead to all that was waited in."""
    try:
        raise DialFailed(HERE.address, DialFailure.REFUSED, "Connection refused")
    except DialFailed as error:
        return error


class PlacesTests(SynchronousTestCase):
    def places(self, others: list[Target]) -> Places:
        choice = SimpleNamespace(begun=lambda: None, again=lambda _only: others.pop() if others else None)
        flow = SimpleNamespace(addressed=lambda **_: None)
        return Places(HERE, choice, classify(HERE.address, ()), flow)

    def test_a_failure_that_another_endpoint_makes_good_ends_there(self) -> None:
        places, failure = self.places([THERE]), raised()
        self.assertTrue(places.moves_anywhere(failure))
        self.assertEqual((places.target, failure.__traceback__), (THERE, None))

    def test_the_last_one_goes_on_as_it_is(self) -> None:
        places, failure = self.places([]), raised()
        self.assertFalse(places.moves_anywhere(failure))
        self.assertEqual(places.target, HERE)
        self.assertIsNotNone(failure.__traceback__)
