"""What carries bytes is one thing to a user whatever moves them: our own reactor, and Twisted's transports.

The other tales have the default, quick transports on a poller in Twisted's reactor, unless TOWN_REACTOR or
TOWN_TRANSPORTS say otherwise.
"""

from tests.mesh.test_bulk import CutTests, WholeTests


class ReactorWholeTests(WholeTests):
    reactor, transports = "meshtx", ""


class ReactorCutTests(CutTests):
    reactor, transports = "meshtx", ""


class TwistedWholeTests(WholeTests):
    reactor, transports = "", "twisted"


class TwistedCutTests(CutTests):
    reactor, transports = "", "twisted"


del WholeTests, CutTests  # `tests.mesh.test_bulk` has them
