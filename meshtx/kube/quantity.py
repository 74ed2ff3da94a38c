"""A quantity in the spelling in which API servers store it: another is a change to who applies on the server's side.

Source: k8s.io/apimachinery, `Quantity.CanonicalizeBytes`; `SetDefaults_ResourceList` rounds up to thousandths before.
"""

from __future__ import annotations

import math

from meshtx.kube.annotations import amount

_DECIMAL = ("m", "", "k", "M", "G", "T", "P", "E")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def canonical(quantity: str) -> str:
    """Return the same quantity as it is stored: ``1000m`` is ``1``, ``1024Mi`` is ``1Gi``.

    :raises ValueError: it is none.
    """
    thousandths = math.ceil(amount(quantity) * 1000)
    unit = quantity.lstrip("0123456789.")
    if thousandths == 0:
        return "0"
    if unit.endswith("i") and thousandths >= 1024 * 1000:
        number, power = _reduced(-(-thousandths // 1000), 1024, len(_BINARY))
        return f"{number}{_BINARY[power]}"
    number, power = _reduced(thousandths, 1000, len(_DECIMAL))
    if len(unit) > 1 and not unit.endswith("i"):
        return f"{number}e{3 * (power - 1)}" if power != 1 else str(number)
    return f"{number}{_DECIMAL[power]}"


def _reduced(number: int, base: int, units: int) -> tuple[int, int]:
    """Return what is left of a number in the greatest unit in which it is whole, and which one that is."""
    power = 0
    while number % base == 0 and power < units - 1:
        number, power = number // base, power + 1
    return number, power
