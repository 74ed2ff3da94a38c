"""How much is tried of what could be tried without end.

``MESHTX_TEST_EFFORT`` says it: ``quick`` (`make check`), ``usual`` (`make test`, and where it is not set), or
``all``, which takes an hour more: every way to cut bytes in three, and four times as many random examples.
"""

from __future__ import annotations

import os
from enum import StrEnum

from hypothesis import settings


class Effort(StrEnum):
    """How much is tried."""

    QUICK = "quick"
    USUAL = "usual"
    ALL = "all"


EFFORT = Effort(os.environ.get("MESHTX_TEST_EFFORT") or Effort.USUAL)

_LESS = 20
_MORE = 4


def count_examples(usual: int, effort: Effort = EFFORT) -> int:
    """Return how many random examples a test tries.

    :param usual: how many it tries usually.
    """
    match effort:
        case Effort.QUICK:
            return max(usual // _LESS, 1)
        case Effort.USUAL:
            return usual
        case Effort.ALL:
            return usual * _MORE


def examples(usual: int) -> settings:
    """Return the decorator of a test with random examples; see `count_examples`."""
    return settings(max_examples=count_examples(usual))
