"""Asks an identity service for a certificate: one connection, one call.

The workload's certificate is presented once it has one. The token goes nowhere else than to who has proved the
service's name.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred

from meshtx.identity.certify import CertifyAnswer, CertifyArguments
from meshtx.net.contexts import Contexts
from meshtx.net.sockets import SocketOptions
from meshtx.pki.name import Name
from meshtx.rpc.connect import Connector
from meshtx.rpc.messages.identity_pb2 import CertifyRequest
from meshtx.rpc.methods import CERTIFY

CALL_TIMEOUT = 15.0
"""Seconds for the answer: the service gives its validator 10."""

MAX_ANSWER = 256 * 2**10
"""Bytes of an answer: a chain of a few certificates has 2 KiB."""


class CertifyClient:
    """A client of one identity service. `certify` is what `meshtx.identity.keeper_service` takes.

    :param reactor: connects, keeps time and resolves host names. (Any: a reactor has no one type.)
    :param host: a name, resolved anew each time, or an address.
    :param name: what the service must prove to be.
    """

    def __init__(self, reactor: Any, host: str, port: int, name: Name, options: SocketOptions | None = None) -> None:
        self._connector = Connector(reactor, host, port, name, options, max_message=MAX_ANSWER)

    def certify(self, arguments: CertifyArguments) -> Deferred[CertifyAnswer]:
        """Ask once; cancel the Deferred to give up.

        :raises meshtx.rpc.status.RpcError: the service refused, or the call failed.
        :raises meshtx.net.failures.TlsError: the service is not who it should be.
        :raises meshtx.rpc.connect.Unreachable: no address of it takes a connection.
        """
        return ensureDeferred(self._certify(arguments))

    async def _certify(self, arguments: CertifyArguments) -> CertifyAnswer:
        client = (await self._connector.connect(Contexts(arguments.credentials, arguments.trust))).client
        try:
            request = CertifyRequest(
                identity=str(arguments.identity), token=arguments.token, certificate_signing_request=arguments.csr
            )
            answer = await client.call(CERTIFY, request, CALL_TIMEOUT)
        finally:
            client.close()
        return CertifyAnswer(answer.leaf_certificate, tuple(answer.intermediate_certificates))
