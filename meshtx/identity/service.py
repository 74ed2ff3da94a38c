"""The certificate authority's gRPC service: ``io.linkerd.proxy.identity.Identity/Certify``.

The order of the checks is Linkerd's, as are the status codes, but that a proof of possession is required (the
request is signed by its own P-256 key), and that a validator out of reach is `UNAVAILABLE`:

    no issuer yet                                         UNAVAILABLE
    a field is missing; no readable, self-signed CSR      INVALID_ARGUMENT
    the issuer no longer verifies                         UNKNOWN
    the CSR asks for other names, or more                 FAILED_PRECONDITION
    the token is rejected / is no token                   FAILED_PRECONDITION / INVALID_ARGUMENT
    the validator cannot be asked, or in time             UNAVAILABLE
    the validator fails                                   INTERNAL
    the token proves another name                         FAILED_PRECONDITION
    signing fails                                         INTERNAL

Tokens are never logged, nor is what a failing validator says: it may quote one.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from twisted.internet.defer import CancelledError, DeferredSemaphore, TimeoutError, maybeDeferred  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from meshtx.errors import CredentialsError
from meshtx.identity.issuer_files import Loaded
from meshtx.identity.validator import TokenMalformed, TokenRejected, ValidatorUnavailable
from meshtx.interfaces import ITokenValidator
from meshtx.observe.printable import printable
from meshtx.observe.sparing import Sparing
from meshtx.pki.authority import LIFETIME, Authority, AuthorityError, IssuedChain
from meshtx.pki.csr import CsrMalformed, CsrNotAllowed, CsrRequest, parse_csr
from meshtx.pki.name import MeshScope, Name
from meshtx.rpc.call import Call, Handler
from meshtx.rpc.messages.identity_pb2 import CertifyRequest, CertifyResponse
from meshtx.rpc.method import AnyMethod
from meshtx.rpc.methods import CERTIFY
from meshtx.rpc.status import RpcError, Status

MAX_REQUEST = 64 * 2**10
"""Bytes of a request: a token has up to 16 KiB, a CSR under 1."""

VALIDATIONS = 32
"""Tokens judged at once."""

MAX_WAITING = 1000
"""Requests that wait for their token to be judged."""

TIMEOUT = 10.0
"""Seconds for a token to be judged, waiting included."""


class CertifyService:
    """Certifies workloads by their tokens.

    :param issuer: returns the present issuer, ``None`` while there is none.
    :param lifetime: of the leaves.
    :param wall: seconds since the epoch.
    :param answered: called with the status of each answer.
    """

    log = Logger()

    def __init__(
        self,
        issuer: Callable[[], Loaded | None],
        validator: ITokenValidator,
        scope: MeshScope,
        clock: IReactorTime,
        wall: Callable[[], float],
        *,
        lifetime: timedelta = LIFETIME,
        answered: Callable[[Status], None] = lambda _: None,
    ) -> None:
        self._issuer = issuer
        self._validator = validator
        self._scope = scope
        self._clock = clock
        self._wall = wall
        self._lifetime = lifetime
        self._answered = answered
        self._slots = DeferredSemaphore(VALIDATIONS)
        self._sparing = Sparing()

    def handlers(self) -> Mapping[AnyMethod, Handler]:
        """Return what `RpcServer` takes."""
        return {CERTIFY: self.certify}

    async def certify(self, request: CertifyRequest, _call: Call) -> CertifyResponse:
        """Answer one request.

        :raises RpcError: it is refused.
        """
        try:
            chain = await self._certify(request)
        except RpcError as error:
            self._answered(error.status)
            if self._sparing.left_out(error.status, self._wall()) is not None:
                self.log.info(
                    "no certificate for {identity!r}: {status}: {reason}",
                    identity=request.identity[:253],
                    status=error.status.name,
                    reason=printable(_without(request.token, error.message)),
                )
            raise
        self._answered(Status.OK)
        leaf, *intermediates = chain.ders()
        until = Timestamp()
        until.FromDatetime(chain.not_after)
        return CertifyResponse(leaf_certificate=leaf, intermediate_certificates=intermediates, valid_until=until)

    async def _certify(self, request: CertifyRequest) -> IssuedChain:
        loaded = self._issuer()
        if loaded is None:
            raise RpcError(Status.UNAVAILABLE, "the issuer is not loaded yet")
        csr = _parse(request)
        try:
            loaded.check(self._now())
        except CredentialsError as error:
            if self._sparing.left_out("issuer", self._wall()) is not None:
                self.log.error("the issuer does not verify any more: {reason}", reason=str(error))  # noqa: TRY400  # no trace
            raise RpcError(Status.UNKNOWN, "the issuer's certificate does not verify any more") from error
        try:
            csr.check(request.identity)
        except CsrNotAllowed as error:
            raise RpcError(Status.FAILED_PRECONDITION, str(error)) from error
        name = await self._judge(request.token)
        if str(name) != request.identity:
            raise RpcError(Status.FAILED_PRECONDITION, f"the token is {name}'s, not that of the identity asked for")
        return self._issue(loaded, csr, name)

    def _issue(self, loaded: Loaded, csr: CsrRequest, name: Name) -> IssuedChain:
        try:
            chain = Authority(loaded.issuer, self._lifetime).issue(csr, name, self._now())
        except (AuthorityError, CsrNotAllowed) as error:
            self.log.error("{name} cannot be certified: {reason}", name=str(name), reason=str(error))  # noqa: TRY400  # no trace
            raise RpcError(Status.INTERNAL, "the certificate cannot be issued") from error
        self.log.info(
            "issued a certificate to {name}, serial {serial}, valid until {until}",
            name=str(name),
            serial=f"{chain.leaf.serial_number:032x}",
            until=f"{chain.not_after:%Y-%m-%dT%H:%M:%SZ}",
        )
        return chain

    async def _judge(self, token: bytes) -> Name:
        if len(self._slots.waiting) >= MAX_WAITING:
            raise RpcError(Status.UNAVAILABLE, "too many requests wait for their tokens to be judged")
        try:
            name = await self._slots.run(self._validate, token).addTimeout(TIMEOUT, self._clock)
            if not isinstance(name, Name) or name.scope != self._scope:
                raise TypeError("not a name of this mesh")
        except TokenMalformed as error:
            raise RpcError(Status.INVALID_ARGUMENT, str(error)) from error
        except TokenRejected as error:
            raise RpcError(Status.FAILED_PRECONDITION, str(error)) from error
        except ValidatorUnavailable as error:
            raise RpcError(Status.UNAVAILABLE, str(error)) from error
        except TimeoutError as error:
            raise RpcError(Status.UNAVAILABLE, f"the token was not judged within {TIMEOUT:g} s") from error
        except (CancelledError, GeneratorExit):  # the caller is gone
            raise
        except BaseException as error:  # noqa: BLE001  # a plugin's border: whatever it raises rejects
            self._report(error)
            raise RpcError(Status.INTERNAL, "the token's validator failed") from None
        return name

    def _validate(self, token: bytes) -> object:
        return maybeDeferred(self._validator.validate, token, self._scope, self._wall())

    def _report(self, error: BaseException) -> None:
        """Say where it failed, not what it says."""
        if self._sparing.left_out("validator", self._wall()) is None:
            return
        places = [f"{place.filename}:{place.lineno}" for place in traceback.extract_tb(error.__traceback__)]
        self.log.error(
            "validator {validator} failed; the request is refused: {kind} at {place}",
            validator=self._validator.name,
            kind=type(error).__name__,
            place=places[-1] if places else "an unknown place",
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._wall(), UTC)


def _parse(request: CertifyRequest) -> CsrRequest:
    for field in ("identity", "token", "certificate_signing_request"):
        if not getattr(request, field):
            raise RpcError(Status.INVALID_ARGUMENT, f"{field} is missing")
    try:
        return parse_csr(request.certificate_signing_request)
    except CsrMalformed as error:
        raise RpcError(Status.INVALID_ARGUMENT, str(error)) from error


def _without(token: bytes, text: str) -> str:
    """Return the text without the token, should a validator's own words quote it."""
    secret = token.decode("utf-8", "replace").strip()
    return text.replace(secret, "(the token)") if secret else text
