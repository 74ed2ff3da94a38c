"""The still picture of a flame graph."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.profile import still

DRAWING = (
    '<svg onload="init(evt)"><script><![CDATA[var x = 1;\n]]></script><text id="title" x="1">a command</text>'
    "<g><title>poll (meshtx/net/poller.py:121) (9 samples, 50.00%)</title>"
    '<rect x="0%" y="1" width="{}%" height="15"/><text x="0.2%" y="2"></text></g></svg>'
)


class StillTests(SynchronousTestCase):
    def test_it_has_no_script_and_its_own_title(self) -> None:
        drawn = still(DRAWING.format(50), "meshtx-requests-inbound")
        self.assertNotIn("script", drawn)
        self.assertNotIn("onload", drawn)
        self.assertIn('<text id="title" x="1">meshtx-requests-inbound</text>', drawn)

    def test_frames_have_as_much_of_their_name_as_has_room(self) -> None:
        for percent, label in ((50, "poll (meshtx/net/poller.py:121)"), (5, "poll (.."), (1, "")):
            self.assertIn(f'y="2">{label}</text>', still(DRAWING.format(percent), "x"))
