"""The lab's first bytes of every kind: whether each takes the right way, and whether others notice."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tests.mesh.loadbalancer import hello_sender
from tests.mesh.loadbalancer.figures import Bar
from tests.mesh.loadbalancer.more import asked, unhurt
from tests.mesh.loadbalancer.street import Proxy, Street
from tests.mesh.town import Program, name

KINDS = {
    "mesh": "hellos for the mesh of 1536 bytes, cut anywhere: mutual TLS",
    "own": "hellos for the application's TLS of 1536 bytes, cut anywhere: its own ServerHello",
    "own, short": "hellos as short as can be, cut anywhere: its own ServerHello",
    "clear": "requests in clear, cut anywhere: the application sees them",
    "long": "hellos of 16 KiB and more, and in many records: mutual TLS up to the bound, the application's beyond",
    "foreign": "hellos of all forms, for others: the application sees the same bytes",
    "broken": "broken hellos, cut anywhere: the application sees the same bytes",
    "broken off": "hellos that their clients broke off: ended",
    "begun": "hellos that were begun only: closed at the deadline",
    "silent": "a silent connection: the application's after the deadline",
}
DEADLINE = 10.0
"""Seconds; the default of handshake_timeout."""
SHARE = 1 / 3
"""The part of the time in which hellos are sent: they are to disturb others by what they are, not by their number."""
CALM, BESIDE = 10.0, 30.0
"""Seconds in which others ask before, and meanwhile."""


def hellos() -> list[Bar]:
    """Send all while others ask, and see both."""
    street = Street()
    try:
        calm = asked(street, CALM)
        sender = send(street, list(KINDS), share=SHARE, deadline=DEADLINE)
        beside = asked(street, BESIDE)
        found = results(sender)
        counted, complaints = street.refused("tls_undecided"), complaints_of(street)
    finally:
        street.town.remove()
    for line in (line for result in found.values() for line in result.wrong[:5]):
        print(line)
    undecided = found["begun"].tried + found["broken off"].tried
    return [
        *(
            Bar(f"{result.tried - len(result.wrong)} of {result.tried} {KINDS[kind]}", not result.wrong)
            for kind, result in found.items()
        ),
        Bar(f"refused as undecided: {counted:g}, as many as were begun only: {undecided}", counted == undecided),
        Bar(f"lines of the proxy's log that complain: {len(complaints)}", not complaints),
        unhurt(calm, beside),
    ]


def send(street: Street, kinds: Sequence[str], *, share: float, deadline: float) -> Program:
    """Send hellos to the pod; what the program writes is for `results`.

    :param share: the part of the time in which it sends.
    :param deadline: seconds after which the proxy refuses a hello that was begun.
    """
    pod, process = street.town.addresses[Proxy.MESHTX], street.sidecars[Proxy.MESHTX].process
    names = [str(name(each)) for each in (Proxy.MESHTX, "shop")]
    argv = [pod, str(process.pid), str(share), str(deadline), *names, *street.own, street.anchors, *kinds]
    return street.town.python("client", hello_sender, *argv)


def results(sender: Program) -> dict[str, hello_sender.Result]:
    """Return what came of each kind, once all is sent."""
    found = json.loads(sender.answer(600))
    return {kind: hello_sender.Result(tried, wrong) for kind, (tried, wrong) in found.items()}


def complaints_of(street: Street) -> list[str]:
    """Return the lines of the proxy's log that tell of an exception."""
    signs = ("Traceback", "Unhandled", "could not be served", " failed;")
    return [line for line in street.sidecars[Proxy.MESHTX].lines if any(sign in line for sign in signs)]
