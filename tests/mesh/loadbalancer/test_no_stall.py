"""Silent connections are held at a Service: meshtx answers all others, and a proxy that peeks in turn does not.

What is asserted depends on no machine's speed: `lab` measures.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.mesh.loadbalancer.street import CLIENTS, PROBERS, UNDECLARED, Proxy, Street, Traffic, answers
from tests.mesh.town import why_not

FOR_EVER = 3600.0
"""Seconds that nobody waits for here."""


class Tale(SynchronousTestCase):
    skip = why_not()

    def setUp(self) -> None:
        self.street = Street(patience=FOR_EVER)
        self.addCleanup(self.street.town.remove)

    def test_who_is_silent_holds_up_nobody(self) -> None:
        for traffic in Traffic:
            with self.street.besieged(traffic, Proxy.MESHTX, silent=200):
                found = answers(self.street.ask(traffic, Proxy.MESHTX, seconds=1, every=0.1, deadline=30))
            self.assertEqual([each.kind for each in found], ["passthrough", "mtls"] * 5)
            self.assertEqual([each for each in found if each.hello is None or not each.echoed], [], traffic)

    def test_a_client_behind_a_declared_node_is_known_as_obscured(self) -> None:
        node = self.street.town.addresses["node"]
        self.assertEqual(
            {traffic: self.street.seen(traffic) for traffic in Traffic},
            {
                Traffic.CLUSTER: {("obscured", node)},
                Traffic.LOCAL: {("direct", each) for each in CLIENTS[:2]},
                Traffic.UNDECLARED: {("direct", UNDECLARED)},
            },
        )

    def test_the_control_answers_nobody_while_it_peeks_at_the_silent(self) -> None:
        """So the test above would find the stall. By the way it shows whom a pod sees under each policy."""
        seen = {Traffic.CLUSTER: self.street.town.addresses["node"], Traffic.LOCAL: PROBERS[0]}
        for traffic, peer in seen.items():
            silent = self.street.silent(traffic, Proxy.SERIAL, 1)
            self.street.control.says(f"peeking at {peer}\n")
            stalled = answers(self.street.ask(traffic, Proxy.SERIAL, seconds=0.4, every=0.1, deadline=0.5))
            self.assertEqual({(each.hello, each.echoed) for each in stalled}, {(None, False)}, traffic)
            silent.stop()
            found = answers(self.street.ask(traffic, Proxy.SERIAL, seconds=0.4, every=0.1, deadline=30))
            self.assertEqual([each for each in found if not each.echoed], [], traffic)
