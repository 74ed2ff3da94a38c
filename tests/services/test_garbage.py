"""When Python looks for garbage, once the program is made."""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase

from meshtx.services.garbage import MIDDLE, OLD, YOUNG, freeze_program, spare_collections


class GarbageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)

    def test_what_the_program_consists_of_is_never_looked_through_again(self) -> None:
        before = gc.get_freeze_count()
        made = [object()]
        freeze_program()
        self.assertGreater(gc.get_freeze_count(), before)
        self.assertFalse(any(each is made for each in gc.get_objects()))

    def test_what_is_old_is_looked_through_rarely(self) -> None:
        spare_collections()
        self.assertEqual(gc.get_threshold(), (YOUNG, MIDDLE, OLD))
        self.assertGreater(OLD, 10, "no more rarely than Python does by itself")
