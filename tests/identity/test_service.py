"""What a request for a certificate is answered, in the order in which it is judged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshtx.identity.issuer_files import Loaded
from meshtx.identity.service import MAX_WAITING, TIMEOUT, VALIDATIONS, CertifyService
from meshtx.identity.validator import TokenMalformed, TokenRejected, ValidatorUnavailable
from meshtx.interfaces import ITokenValidator
from meshtx.observe.sparing import BURST
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.csr import make_csr
from meshtx.pki.issuer import make_issuer, make_root
from meshtx.pki.keys import new_key
from meshtx.pki.name import MeshScope
from meshtx.rpc.messages.identity_pb2 import CertifyRequest, CertifyResponse
from meshtx.rpc.status import RpcError, Status

SCOPE = MeshScope()
WEB = SCOPE.name("emojivoto", "web")
VOTING = SCOPE.name("emojivoto", "voting")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = new_key()
ROOT_KEY, ROOT = make_root(SCOPE, NOW)
TRUST = TrustBundle.of([ROOT])
LOADED = Loaded(make_issuer(ROOT_KEY, ROOT, SCOPE, NOW), TRUST)
TOKEN = b"a-secret-token"


@implementer(ITokenValidator)
class Validator:
    """Says what the test wants."""

    name = "scripted"

    def __init__(self, verdict: Callable[[bytes], Any]) -> None:
        self.verdict = verdict
        self.asked: list[tuple[bytes, MeshScope, float]] = []

    def validate(self, token: bytes, scope: MeshScope, now: float) -> Any:
        self.asked.append((token, scope, now))
        return self.verdict(token)


def request(**changed: Any) -> CertifyRequest:
    fields = {"identity": str(WEB), "token": TOKEN, "certificate_signing_request": make_csr(KEY, WEB)}
    return CertifyRequest(**(fields | changed))


def csr(key: Any, *names: x509.GeneralName, common_name: str = "") -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)] if common_name else [])
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def raising(error: BaseException) -> Callable[[bytes], Any]:
    def verdict(_: bytes) -> Any:
        raise error

    return verdict


class ServiceCase(SynchronousTestCase):
    loaded: Loaded | None = LOADED

    def service(self, verdict: Callable[[bytes], Any] = lambda _: WEB, now: datetime = NOW) -> None:
        self.clock = Clock()
        self.validator = Validator(verdict)
        self.answered: list[Status] = []
        self.certifier = CertifyService(
            lambda: self.loaded,
            self.validator,
            SCOPE,
            self.clock,
            now.timestamp,
            answered=self.answered.append,
        )

    def ask(self, request: CertifyRequest) -> Deferred[CertifyResponse]:
        return ensureDeferred(self.certifier.certify(request, None))  # type: ignore[arg-type]

    def refused(self, asked: Deferred[CertifyResponse] | CertifyRequest) -> tuple[Status, str]:
        if isinstance(asked, CertifyRequest):
            asked = self.ask(asked)
        error = self.failureResultOf(asked, RpcError).value
        return error.status, error.message


class Issued(ServiceCase):
    def test_the_answer_is_a_chain_for_the_key_and_the_name(self) -> None:
        self.service()
        answer = self.successResultOf(self.ask(request()))
        chain = (answer.leaf_certificate, *answer.intermediate_certificates)
        credentials = Credentials.from_chain(KEY, chain, WEB, TRUST, NOW)
        self.assertEqual(answer.valid_until.ToDatetime(UTC), credentials.not_after)
        self.assertEqual(credentials.not_after, NOW + timedelta(hours=24))
        self.assertEqual(list(answer.intermediate_certificates), [LOADED.issuer.certificate.public_bytes(Encoding.DER)])
        self.assertEqual(self.validator.asked, [(TOKEN, SCOPE, NOW.timestamp())])
        self.assertEqual(self.answered, [Status.OK])

    def test_it_is_one_line_in_the_log_and_no_token(self) -> None:
        self.service()
        with capturedLogs() as events:
            answer = self.successResultOf(self.ask(request()))
        serial = x509.load_der_x509_certificate(answer.leaf_certificate).serial_number
        self.assertEqual(
            [formatEvent(event) for event in events],
            [f"issued a certificate to {WEB}, serial {serial:032x}, valid until 2026-03-02T12:00:00Z"],
        )
        self.assertNotIn(TOKEN.decode(), repr(events))

    def test_a_validator_may_take_its_time(self) -> None:
        verdict: Deferred[Any] = Deferred()
        self.service(lambda _: verdict)
        asked = self.ask(request())
        self.assertNoResult(asked)
        verdict.callback(WEB)
        self.successResultOf(asked)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Refused(ServiceCase):
    def test_without_an_issuer_before_anything_is_looked_at(self) -> None:
        self.loaded = None
        self.service()
        self.assertEqual(self.refused(CertifyRequest()), (Status.UNAVAILABLE, "the issuer is not loaded yet"))

    def test_refusals_without_end_are_counted_and_not_all_logged(self) -> None:
        self.service()
        with capturedLogs() as events:
            for _ in range(BURST + 5):
                self.refused(CertifyRequest())
        self.assertEqual((len(events), len(self.answered)), (BURST, BURST + 5))

    def test_an_expired_issuer_and_a_failing_validator_do_not_fill_the_log_either(self) -> None:
        """Neither asks for a good token: whoever reaches the port can have the lines written."""
        for verdict, now in ((lambda _: WEB, NOW + timedelta(days=100)), (raising(KeyError()), NOW)):
            self.service(verdict, now)
            with capturedLogs() as events:
                for _ in range(BURST + 5):
                    self.refused(request())
            self.assertEqual(len(events), 2 * BURST)  # what is wrong here, and who was refused for it

    def test_each_missing_field(self) -> None:
        self.service()
        for field in ("identity", "token", "certificate_signing_request"):
            broken = request()
            broken.ClearField(field)
            self.assertEqual(self.refused(broken), (Status.INVALID_ARGUMENT, f"{field} is missing"))

    def test_what_is_no_request_or_proves_no_key(self) -> None:
        self.service()
        good = make_csr(KEY, WEB)
        for der in (b"garbage", good[:-1] + bytes([good[-1] ^ 1]), good + b"x"):
            self.assertEqual(self.refused(request(certificate_signing_request=der))[0], Status.INVALID_ARGUMENT)
        other_curve = csr(ec.generate_private_key(ec.SECP384R1()), x509.DNSName(str(WEB)))
        self.assertEqual(
            self.refused(request(certificate_signing_request=other_curve)),
            (Status.INVALID_ARGUMENT, "the request's key is not ECDSA P-256"),
        )

    def test_with_an_issuer_that_has_expired(self) -> None:
        self.service(now=NOW + timedelta(days=91))
        self.assertEqual(self.refused(request()), (Status.UNKNOWN, "the issuer's certificate does not verify any more"))
        self.assertEqual(self.validator.asked, [])

    def test_a_request_for_other_names_or_more(self) -> None:
        self.service()
        web, voting = x509.DNSName(str(WEB)), x509.DNSName(str(VOTING))
        for der in (
            csr(KEY),
            csr(KEY, voting),
            csr(KEY, web, voting),
            csr(KEY, web, x509.UniformResourceIdentifier("spiffe://a/b")),
            csr(KEY, web, x509.RFC822Name("a@b.c")),
            csr(KEY, web, common_name="other"),
        ):
            self.assertEqual(self.refused(request(certificate_signing_request=der))[0], Status.FAILED_PRECONDITION)
        self.assertEqual(self.validator.asked, [])

    def test_what_the_validator_says_decides_the_status(self) -> None:
        for error, expected in [
            (TokenRejected("no"), (Status.FAILED_PRECONDITION, "no")),
            (TokenMalformed("what"), (Status.INVALID_ARGUMENT, "what")),
            (ValidatorUnavailable("later"), (Status.UNAVAILABLE, "later")),
        ]:
            self.service(raising(error))
            self.assertEqual(self.refused(request()), expected)
            self.assertEqual(self.answered, [expected[0]])

    def test_a_token_of_somebody_else(self) -> None:
        self.service(lambda _: VOTING)
        self.assertEqual(
            self.refused(request()),
            (Status.FAILED_PRECONDITION, f"the token is {VOTING}'s, not that of the identity asked for"),
        )

    def test_an_identity_that_is_no_name(self) -> None:
        self.service()
        der = csr(KEY, x509.DNSName("not.a.name"))
        self.assertEqual(
            self.refused(request(identity="not.a.name", certificate_signing_request=der))[0],
            Status.FAILED_PRECONDITION,
        )

    def test_by_an_issuer_that_cannot_sign(self) -> None:
        self.service()

        class Unsigning:
            """An issuer whose certificate verifies and whose key is of no use."""

            issuer = type(LOADED.issuer)("not a key", LOADED.issuer.chain)  # type: ignore[arg-type]

            def check(self, _now: datetime) -> None: ...

        self.loaded = Unsigning()  # type: ignore[assignment]
        self.assertEqual(self.refused(request()), (Status.INTERNAL, "the certificate cannot be issued"))

    def test_is_one_line_in_the_log_and_no_token(self) -> None:
        self.service(raising(TokenRejected(f"the token {TOKEN.decode()} is bad:\n\x1b[2K")))
        with capturedLogs() as events:
            self.refused(request())
        self.assertEqual(
            [formatEvent(event) for event in events],
            [f"no certificate for '{WEB}': FAILED_PRECONDITION: the token (the token) is bad:\\x0a\\x1b[2K"],
        )


class FailingValidators(ServiceCase):
    def test_whatever_one_raises_rejects_and_is_not_quoted(self) -> None:
        for error in (KeyError(TOKEN), ValueError(TOKEN.decode()), RpcError(Status.OK, "haha"), SystemExit(TOKEN)):
            self.service(raising(error))
            with capturedLogs() as events:
                got = self.refused(request())
            self.assertEqual(got, (Status.INTERNAL, "the token's validator failed"))
            said = formatEvent(events[0])
            self.assertIn(f"validator scripted failed; the request is refused: {type(error).__name__} at ", said)
            self.assertIn("test_service.py:", said)
            self.assertNotIn(TOKEN.decode(), repr([formatEvent(event) for event in events]))

    def test_what_is_no_name_of_this_mesh_is_a_failure(self) -> None:
        for verdict in (None, True, str(WEB), MeshScope("other").name("emojivoto", "web")):
            self.service(lambda _, verdict=verdict: verdict)
            self.assertEqual(self.refused(request()), (Status.INTERNAL, "the token's validator failed"))

    def test_an_error_without_a_place_is_a_failure_too(self) -> None:
        verdict: Deferred[Any] = Deferred()
        self.service(lambda _: verdict)
        asked = self.ask(request())
        verdict.errback(ZeroDivisionError())
        self.assertEqual(self.refused(asked), (Status.INTERNAL, "the token's validator failed"))

    def test_one_that_does_not_answer_is_unavailable(self) -> None:
        self.service(lambda _: Deferred())
        asked = self.ask(request())
        self.clock.advance(TIMEOUT)
        self.assertEqual(self.refused(asked), (Status.UNAVAILABLE, "the token was not judged within 10 s"))

    def test_it_judges_so_many_at_once_and_so_many_wait(self) -> None:
        self.service(lambda _: Deferred())
        asked = [self.ask(request()) for _ in range(VALIDATIONS + MAX_WAITING)]
        self.assertEqual(len(self.validator.asked), VALIDATIONS)
        self.assertEqual(
            self.refused(request()), (Status.UNAVAILABLE, "too many requests wait for their tokens to be judged")
        )
        self.clock.advance(TIMEOUT)
        for each in asked:
            self.assertEqual(self.refused(each)[0], Status.UNAVAILABLE)

    def test_a_caller_who_is_gone_frees_its_place(self) -> None:
        self.service(lambda _: Deferred())
        asked = [self.ask(request()) for _ in range(VALIDATIONS + 1)]
        asked[0].cancel()
        self.failureResultOf(asked[0], CancelledError)
        self.assertEqual(len(self.validator.asked), VALIDATIONS + 1)
        self.assertEqual(self.answered, [])
        for each in asked[1:]:
            each.cancel()
            self.failureResultOf(each, CancelledError)
