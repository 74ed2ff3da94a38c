"""When Python looks for garbage in cycles.

To look through everything is time in which no byte is moved, some 50 ms in a directory, and anybody who connects often
enough brings it about: no program looks through what it consists of again. Nothing that a connection of a proxy leaves
behind is a cycle, so reference counts free it, and a proxy looks through what is old rarely as well.
"""

from __future__ import annotations

import gc

YOUNG, MIDDLE, OLD = 700, 10, 1000


def freeze_program() -> None:
    """Leave what the program consists of alone."""
    gc.collect()
    gc.freeze()


def spare_collections() -> None:
    """Look through what is old rarely."""
    gc.set_threshold(YOUNG, MIDDLE, OLD)
