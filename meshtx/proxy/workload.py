"""The way to the workload itself: nothing comes to it without a `Permit`."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol

from meshtx.net.dial import Dialler
from meshtx.proxy.ends import End
from meshtx.proxy.policy import Permit
from meshtx.wire.address import IP, Address


class Workload:
    """Where the workload listens.

    :param forwards: by the port that clients connect to, the workload's own address, where no redirect keeps the
        two the same.
    """

    def __init__(self, dialler: Dialler, forwards: Mapping[int, Address]) -> None:
        self._dialler = dialler
        self._forwards = forwards

    def address(self, local: IP, port: int) -> Address:
        """Return where a client's port is served.

        :param local: the address of this host that was meant.
        """
        return self._forwards.get(port) or Address(local, port)

    def connect(self, permit: Permit, local: IP, far: End) -> Deferred[IProtocol]:
        """Connect an end to the permitted port.

        :raises DialFailed: in the Deferred: nothing listens there.
        """
        return self._dialler.dial(self.address(local, permit.port), far)
