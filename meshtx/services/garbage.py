"""When Python looks for garbage in cycles.

Nothing that a finished connection leaves behind is a cycle, so reference counts free it, and looking through
everything is time in which no byte is moved.
"""

from __future__ import annotations

import gc

YOUNG, MIDDLE, OLD = 700, 10, 1000


def spare_collections() -> None:
    """Leave what the program consists of alone, and look through what is old rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
