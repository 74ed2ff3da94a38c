"""Reaching a gRPC service of the mesh: its host's addresses in turn, TLS to its own name, the protocol above it.

Verified against the mesh's anchors as Linkerd's proxies do it: no ALPN but for a tap, the own certificate presented
where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IReactorPluggableNameResolver,
    IReactorTime,
    IResolutionReceiver,
    ITCPTransport,
)
from zope.interface import implementer

from meshtx.errors import PeerError
from meshtx.net.contexts import Contexts
from meshtx.net.dial import DialFailed, Dialler
from meshtx.net.failures import TlsError, without_frames
from meshtx.net.sockets import SocketOptions
from meshtx.net.tls import Session, TlsProtocol
from meshtx.pki.name import Name
from meshtx.rpc.client import RpcClient
from meshtx.rpc.framing import MAX_MESSAGE
from meshtx.wire.address import Address

CONNECT_TIMEOUT = 3.0
"""Seconds for each of the host's addresses."""


class Unreachable(PeerError):
    """No address of a service takes a connection."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An established connection.

    :param local: its address on this side.
    """

    client: RpcClient
    local: Address


class Connector:
    """Makes connections to one service.

    :param reactor: connects, keeps time and resolves host names. (Any: a reactor has no one type.)
    :param host: a name, resolved anew each time, or an address.
    :param name: what the service must prove to be.
    :param max_message: bytes of a message in an answer.
    """

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        name: Name,
        options: SocketOptions | None = None,
        *,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self._reactor = reactor
        self._dialler = Dialler(reactor, options or SocketOptions(), CONNECT_TIMEOUT)
        self._host = host
        self._port = port
        self._name = name
        self._max_message = max_message

    async def connect(self, contexts: Contexts) -> Connection:
        """Connect to the first of the host's addresses that takes a connection; cancel to give up.

        :raises meshtx.net.failures.TlsError: the service is not who it should be.
        :raises Unreachable: no address takes one.
        """
        failures: list[str] = []
        for address in await resolve(self._reactor, self._host, self._port):
            try:
                return await reach(
                    address, self._name, contexts, self._dialler, self._reactor, max_message=self._max_message
                )
            except DialFailed as error:
                failures.append(str(without_frames(error)))
        raise Unreachable("; ".join(failures) or f"the host name {self._host} has no address")


async def reach(
    address: Address,
    name: Name,
    contexts: Contexts,
    dialler: Dialler,
    clock: IReactorTime,
    *,
    alpn: Sequence[str] = (),
    max_message: int = MAX_MESSAGE,
) -> Connection:
    """Connect to a service at one address; cancel to give up.

    :param name: what the service must prove to be.
    :param alpn: application protocols offered, best first.
    :param max_message: bytes of a message in an answer.
    :raises meshtx.net.dial.DialFailed: nobody answers there.
    :raises meshtx.net.failures.TlsError: the service is not who it should be.
    """
    connected = _Connected(partial(RpcClient, clock, authority=str(name), max_message=max_message))
    tls = TlsProtocol(contexts.client(name, alpn), connected.established, connected.failed, clock)
    await dialler.dial(address, tls)
    transport = cast("ITCPTransport", tls.transport)
    try:
        client = await connected.client
    except CancelledError:  # who wanted it has gone
        transport.abortConnection()
        raise
    host = transport.getHost()
    return Connection(client, Address.of(host.host, host.port))


class _Connected:
    """A TLS connection on its way to becoming a client. It does not know its TLS, which leads to it.

    :param make: makes the client.
    """

    def __init__(self, make: Callable[[], RpcClient]) -> None:
        self._make = make
        self.client: Deferred[RpcClient] = Deferred()

    def failed(self, error: TlsError) -> None:
        """Take why there is no TLS."""
        if not self.client.called:  # it is when we gave up
            self.client.errback(error)

    def established(self, _session: Session) -> RpcClient:
        """Return what speaks with the service."""
        client = self._make()
        self.client.callback(client)
        return client


def resolve(reactor: IReactorPluggableNameResolver, host: str, port: int) -> Deferred[list[Address]]:
    """Return the addresses of a host, in the order in which the system prefers them; none if there are none."""
    addresses: Deferred[list[Address]] = Deferred()
    try:
        addresses.callback([Address.of(host, port)])
    except ValueError:
        reactor.nameResolver.resolveHostName(_Addresses(port, addresses), host, port)
    return addresses


@implementer(IResolutionReceiver)
class _Addresses:
    def __init__(self, port: int, resolved: Deferred[list[Address]]) -> None:
        self._port = port
        self._resolved = resolved
        self._found: list[Address] = []

    def resolutionBegan(self, _resolution: IHostResolution) -> None:
        """Wait: the system's resolver cannot be interrupted."""

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, IPv4Address | IPv6Address):
            self._found.append(Address.of(address.host, self._port))

    def resolutionComplete(self) -> None:
        if not self._resolved.called:
            self._resolved.callback(self._found)
