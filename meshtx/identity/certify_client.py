"""Asks an identity service for a certificate: one connection, one call.

TLS to the service's own name, verified against the mesh's anchors, as Linkerd's proxies do it: no ALPN, the
workload's certificate presented once it has one. The token goes nowhere else.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    ITCPTransport,
)
from zope.interface import implementer

from meshtx.errors import PeerError
from meshtx.identity.certify import CertifyAnswer, CertifyArguments
from meshtx.net.contexts import Contexts
from meshtx.net.dial import DialFailed, Dialler
from meshtx.net.failures import TlsError
from meshtx.net.sockets import SocketOptions
from meshtx.net.tls import Session, TlsProtocol
from meshtx.pki.name import Name
from meshtx.rpc.client import RpcClient
from meshtx.rpc.messages.identity_pb2 import CertifyRequest
from meshtx.rpc.methods import CERTIFY
from meshtx.wire.address import Address

CONNECT_TIMEOUT = 3.0
"""Seconds for each of the host's addresses."""

CALL_TIMEOUT = 15.0
"""Seconds for the answer: the service gives its validator 10."""

MAX_ANSWER = 256 * 2**10
"""Bytes of an answer: a chain of a few certificates has 2 KiB."""


class IdentityUnreachable(PeerError):
    """There is no connection to the identity service."""


class CertifyClient:
    """A client of one identity service. `certify` is what `meshtx.identity.keeper_service` takes.

    :param reactor: connects, keeps time and resolves host names. (Any: a reactor has no one type.)
    :param host: a name, resolved anew each time, or an address.
    :param name: what the service must prove to be.
    """

    def __init__(self, reactor: Any, host: str, port: int, name: Name, options: SocketOptions | None = None) -> None:
        self._reactor = reactor
        self._dialler = Dialler(reactor, options or SocketOptions(), CONNECT_TIMEOUT)
        self._host = host
        self._port = port
        self._name = name

    def certify(self, arguments: CertifyArguments) -> Deferred[CertifyAnswer]:
        """Ask once; cancel the Deferred to give up.

        :raises meshtx.rpc.status.RpcError: the service refused, or the call failed.
        :raises meshtx.net.failures.TlsError: the service is not who it should be.
        :raises IdentityUnreachable: no address of it takes a connection.
        """
        return ensureDeferred(self._certify(arguments))

    async def _certify(self, arguments: CertifyArguments) -> CertifyAnswer:
        client = await self._connect(Contexts(arguments.credentials, arguments.trust))
        try:
            request = CertifyRequest(
                identity=str(arguments.identity), token=arguments.token, certificate_signing_request=arguments.csr
            )
            answer = await client.call(CERTIFY, request, CALL_TIMEOUT)
        finally:
            client.close()
        return CertifyAnswer(answer.leaf_certificate, tuple(answer.intermediate_certificates))

    async def _connect(self, contexts: Contexts) -> RpcClient:
        """Connect to the first of the host's addresses that takes a connection."""
        failures: list[str] = []
        for address in await resolve(self._reactor, self._host, self._port):
            connected = _Connected(self._reactor, contexts, self._name)
            try:
                await self._dialler.dial(address, connected.protocol)
            except DialFailed as error:
                failures.append(str(error))
            else:
                return await connected.client
        raise IdentityUnreachable("; ".join(failures) or f"the host name {self._host} has no address")


class _Connected:
    """A TLS connection on its way to becoming a client."""

    def __init__(self, reactor: Any, contexts: Contexts, name: Name) -> None:
        self._reactor = reactor
        self._name = name
        self.client: Deferred[RpcClient] = Deferred(self._give_up)
        self.protocol = TlsProtocol(contexts.client(name), self._established, self._failed, reactor)

    def _give_up(self, _: Deferred[RpcClient]) -> None:
        cast("ITCPTransport", self.protocol.transport).abortConnection()

    def _failed(self, error: TlsError) -> None:
        if not self.client.called:  # it is when we gave up
            self.client.errback(error)

    def _established(self, _session: Session) -> RpcClient:
        client = RpcClient(self._reactor, authority=str(self._name), max_message=MAX_ANSWER)
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
