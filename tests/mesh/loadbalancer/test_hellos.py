"""First bytes of every kind, through the redirect and the real proxy: each takes the right way, or ends cleanly.

`lab` sends more of them, and measures what others notice.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.mesh.loadbalancer.hellos import complaints_of, results, send
from tests.mesh.loadbalancer.street import Street
from tests.mesh.town import why_not

DEADLINE = 4.0
"""Seconds; less than the default, for the tale waits for it."""
LEAST = {
    "mesh, short": 200,
    "own, short": 140,
    "clear": 60,
    "long": 70,
    "foreign": 15,
    "broken, whole": 35,
    "broken off": 4,
    "begun": 4,
    "silent": 1,
}
"""How many there must be of each kind; how long a hello is depends on OpenSSL."""


class Tale(SynchronousTestCase):
    skip = why_not()

    def test_first_bytes_take_the_right_way_however_they_are_cut(self) -> None:
        street = Street(options=(f"--handshake-timeout={DEADLINE:g}s",))
        self.addCleanup(street.town.remove)
        found = results(send(street, list(LEAST), share=1, deadline=DEADLINE))
        self.assertEqual({kind: result.wrong[:5] for kind, result in found.items()}, {kind: [] for kind in LEAST})
        self.assertEqual([kind for kind, least in LEAST.items() if found[kind].tried < least], [])
        undecided = found["begun"].tried + found["broken off"].tried
        self.assertEqual(street.refused("tls_undecided"), undecided)
        self.assertEqual(complaints_of(street), [])
