"""What users of meshtx implement. Our own parts are made the same way (see `docs/plugins.md`).

A plugin is an object in the package ``meshtx.plugins`` that provides one of these and
``twisted.plugin.IPlugin``. Only what the configuration names is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zope.interface import Attribute, Interface

from meshtx.observe.flow import Flow, Seen
from meshtx.pki.name import MeshScope
from meshtx.wire.address import Address
from meshtx.wire.sniff import Detection

__all__ = ["Detection", "IDetector", "IDirectory", "IObserver", "ITokenValidator"]


class IObserver(Interface):
    """Reads copies of one connection's bytes and reports requests. It cannot delay or change them.

    An exception detaches the observer, and so does more CPU time than it may take (`meshtx.observe.budget`); the
    connection goes on. One that has an attribute ``work``, the microseconds that its last call is said to have taken
    (float), is not timed.
    """

    def client_data(data: bytes) -> Sequence[Seen]:
        """Return what these bytes from the client complete."""

    def server_data(data: bytes) -> Sequence[Seen]:
        """Return what these bytes from the server complete."""

    def ended(orderly: bool) -> Sequence[Seen]:
        """Return what the end of the connection ends.

        :param orderly: False where the connection was reset or cut: an answer that only the end delimits is
            then not whole.
        """

    detached = Attribute("True once the observer has given up: nothing is passed to it any more (bool).")


class IDetector(Interface):
    """Recognises one protocol by its first bytes and makes observers for it."""

    name = Attribute("The protocol's name, as configuration and tap spell it (str).")

    def detect(first: bytes) -> Detection:
        """Judge the first bytes that the client sent (at least 1, at most 64)."""

    def observer(flow: Flow) -> IObserver:
        """Return a new observer for a connection that was recognised, fed from its first byte on."""


class ITokenValidator(Interface):
    """Decides whom a token stands for. Anything that it raises rejects the request."""

    name = Attribute("What the configuration calls it (str).")

    def validate(token: bytes, scope: MeshScope, now: float):  # type: ignore[no-untyped-def]  # zope: no self
        """Return a Deferred or the `Name` that the token proves.

        :raises meshtx.identity.validator.TokenRejected: the token is not good: FailedPrecondition.
        :raises meshtx.identity.validator.TokenMalformed: it is no token at all: InvalidArgument.
        :raises meshtx.identity.validator.ValidatorUnavailable: ask again later: Unavailable.
        """


class IDirectory(Interface):
    """Knows who is meshed. Ignorance is not an answer: what is not known stays pending or fails."""

    def find(destination: Address):  # type: ignore[no-untyped-def]  # zope: no self
        """Return a Deferred of the `Target` behind an address.

        It waits while the directory has not answered for the first time.

        A target that was chosen among several has a `meshtx.directory.target.Choice`, for this one connection.

        :raises meshtx.directory.target.NotReady: cancelled by the caller's deadline, or the directory is gone
            and the address was never known.
        :raises meshtx.directory.target.NoEndpoints: it is a service's, and nobody serves it now.
        """

    def own_port(address: Address):  # type: ignore[no-untyped-def]  # zope: no self
        """Return the `meshtx.directory.target.PortFacts` of an address of this very workload, at once."""

    def subscribe(changed: Callable[[], None]) -> Callable[[], None]:
        """Call back after every change; return the function that ends the subscription."""

    ready = Attribute("True once the first answer is there (bool).")
    ranges = Attribute("The networks of nodes, pods and balancers, as far as it knows (directory.ranges.Ranges).")
