"""Each status that grpcio's client gets of Certify from a ``twistd meshidentity`` that runs as a process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from queue import Queue
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshtx.demo.lab import wait_until
from meshtx.files import write_folder
from meshtx.identity import ca_folder
from meshtx.identity.local_tokens import mint
from meshtx.identity.service import MAX_REQUEST, MAX_WAITING, VALIDATIONS
from meshtx.pki.csr import make_csr
from meshtx.pki.issuer import make_issuer, make_root
from meshtx.pki.keys import key_to_pem, new_key, read_key
from meshtx.rpc.messages.identity_pb2 import CertifyRequest
from meshtx.rpc.methods import CERTIFY
from tests.rpc.support import unary
from tests.services.identity_case import SCOPE, WEB
from tests.services.scripted_validator import MODULE, Scripted
from tests.services.test_identity_process import ProcessCase, Twistd

PATIENCE = 60.0
"""Seconds until an answer or a fact, many times what it takes; one test waits 10 s for a validator."""
STREAMS = 100
"""Calls that one connection may make at once."""
VOTING = SCOPE.name("emojivoto", "voting")
CSR = make_csr(new_key(), WEB)

Answer = tuple[grpc.StatusCode, str]
"""A status, and what is said with it."""


class StatusCase(ProcessCase):
    async def running(self, **changed: str) -> Twistd:
        """Start the program and wait until it listens."""
        process = self.twistd("-n", "--pidfile=", **changed)
        await process.ready
        self.port = self.found(process.out)
        return process

    def request(self, **changed: Any) -> CertifyRequest:
        good = {"identity": str(WEB), "token": self.token(), "certificate_signing_request": CSR}
        return CertifyRequest(**(good | changed))

    async def answers(self, *requests: dict[str, Any]) -> list[Answer]:
        """Return the answer to each request, by what it differs in from a good one."""
        made = [self.request(**changed) for changed in requests]
        return await self.grpcio(lambda channel: [answer(ask(channel)(each, timeout=PATIENCE)) for each in made])

    async def statuses(self, *requests: dict[str, Any]) -> list[grpc.StatusCode]:
        return [status for status, _ in await self.answers(*requests)]

    def taken_up(self, process: Twistd) -> None:
        """Wait until the program has another issuer; not to be called in the reactor's thread."""
        wait_until(
            lambda: f"issuer in {self.mesh / ca_folder.ISSUER} loaded again" in process.out, "taken up", PATIENCE
        )


class WithTokensOfOurs(StatusCase):
    async def test_ok(self) -> None:
        await self.running()
        self.assertEqual(await self.answers({}), [(grpc.StatusCode.OK, "")])

    async def test_invalid_argument_for_a_request_or_a_token_that_is_none(self) -> None:
        await self.running()
        requests: list[dict[str, Any]] = [
            {"identity": ""},
            {"token": b""},
            {"certificate_signing_request": b""},
            {"certificate_signing_request": CSR[:-1]},
            {"certificate_signing_request": CSR[:-1] + bytes([CSR[-1] ^ 1])},
            {"token": b"no token"},
        ]
        self.assertEqual(await self.statuses(*requests), [grpc.StatusCode.INVALID_ARGUMENT] * len(requests))

    async def test_failed_precondition_for_another_name_or_a_token_that_is_not_good(self) -> None:
        await self.running()
        key = read_key((self.mesh / ca_folder.TOKEN_KEY).read_bytes(), "token key")
        requests: list[dict[str, Any]] = [
            {"certificate_signing_request": make_csr(new_key(), VOTING)},
            {"identity": str(VOTING)},
            {"token": self.token(VOTING)},
            {"token": mint(key, "emojivoto", "web", time.time() - 7200, timedelta(hours=1)).encode()},
            {"token": mint(new_key(), "emojivoto", "web", time.time()).encode()},
        ]
        self.assertEqual(await self.statuses(*requests), [grpc.StatusCode.FAILED_PRECONDITION] * len(requests))

    async def test_unknown_once_the_issuer_has_expired(self) -> None:
        """Its own certificate ends with it: only who is connected before can ask."""
        process = await self.running()
        request = self.request()

        def work(channel: grpc.Channel) -> Answer:
            grpc.channel_ready_future(channel).result(PATIENCE)
            made = ca_folder.issuer(self.mesh, datetime.now(UTC), timedelta(seconds=10))
            self.taken_up(process)
            wait_until(lambda: datetime.now(UTC) > made.issuer_not_after + timedelta(seconds=1), "expired", PATIENCE)
            return answer(ask(channel)(request, timeout=PATIENCE))

        said = (grpc.StatusCode.UNKNOWN, "the issuer's certificate does not verify any more")
        self.assertEqual(await self.grpcio(work), said)

    async def test_internal_when_signing_fails(self) -> None:
        """A parent that expires, beside the path that verifies, leaves a certificate no time."""
        process = await self.running()
        request = self.request()

        def work(channel: grpc.Channel) -> Answer:
            grpc.channel_ready_future(channel).result(PATIENCE)
            ends = self.replace_issuer()
            self.taken_up(process)
            wait_until(lambda: datetime.now(UTC) > ends + timedelta(seconds=1), "expired", PATIENCE)
            return answer(ask(channel)(request, timeout=PATIENCE))

        self.assertEqual(await self.grpcio(work), (grpc.StatusCode.INTERNAL, "the certificate cannot be issued"))

    def replace_issuer(self) -> datetime:
        """Put an issuer in place whose chain has a root of another mesh; return when that expires."""
        now = datetime.now(UTC)
        root = x509.load_pem_x509_certificate((self.mesh / ca_folder.ROOT).read_bytes())
        root_key = read_key((self.mesh / ca_folder.ROOT_KEY).read_bytes(), "root key")
        made = make_issuer(root_key, root, SCOPE, now)
        _, other = make_root(SCOPE, now - timedelta(days=1), timedelta(days=1, seconds=10))
        chain = [each.public_bytes(Encoding.PEM) for each in (made.certificate, other)]
        files = {"tls.crt": b"".join(chain), "tls.key": key_to_pem(made.key), "ca.crt": root.public_bytes(Encoding.PEM)}
        write_folder(self.mesh / ca_folder.ISSUER, files, private={"tls.key"})
        return other.not_valid_after_utc

    async def test_internal_for_bytes_that_are_no_message(self) -> None:
        await self.running()

        def work(channel: grpc.Channel) -> Answer:
            return answer(channel.unary_unary(CERTIFY.path).future(b"\xff", timeout=PATIENCE))

        said = "the bytes are no io.linkerd.proxy.identity.CertifyRequest"
        self.assertEqual(await self.grpcio(work), (grpc.StatusCode.INTERNAL, said))

    async def test_resource_exhausted_for_a_long_message(self) -> None:
        await self.running()
        ((status, said),) = await self.answers({"token": b"x" * MAX_REQUEST})
        self.assertEqual(status, grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertIn(f"at most {MAX_REQUEST}", said)

    async def test_unimplemented_for_none_or_two_messages(self) -> None:
        await self.running()
        request = self.request()

        def work(channel: grpc.Channel) -> list[Answer]:
            call = channel.stream_unary(CERTIFY.path, CERTIFY.request.SerializeToString)
            return [answer(call.future(iter([request] * count), timeout=PATIENCE)) for count in (0, 2)]

        self.assertEqual(
            await self.grpcio(work),
            [
                (grpc.StatusCode.UNIMPLEMENTED, "the request ended without a whole message"),
                (grpc.StatusCode.UNIMPLEMENTED, "more than one message in a request"),
            ],
        )


class WithAPlugin(StatusCase):
    """The validator is one that a user has installed."""

    def setUp(self) -> None:
        super().setUp()
        self.packages = self.folder / "site"
        plugins = self.packages / "meshtx" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "meshtx_scripted_plugin.py").write_text(MODULE)

    def flags(self, **changed: str) -> dict[str, str]:
        flags = super().flags(validator=Scripted.name, **changed)
        del flags["token_key_file"]
        return flags

    async def test_ok(self) -> None:
        await self.running()
        self.assertEqual(await self.answers({}), [(grpc.StatusCode.OK, "")])

    async def test_internal_when_the_validator_fails(self) -> None:
        process = await self.running()
        said = (grpc.StatusCode.INTERNAL, "the token's validator failed")
        self.assertEqual(await self.answers({"token": b"failing"}, {"token": b"no name"}), [said, said])
        self.assertIn("validator scripted failed; the request is refused: KeyError", process.out)

    async def test_unavailable_when_the_validator_cannot_be_asked(self) -> None:
        await self.running()
        self.assertEqual(
            await self.answers({"token": b"unavailable"}),
            [(grpc.StatusCode.UNAVAILABLE, "the cluster is out of reach")],
        )

    async def test_unavailable_when_the_validator_does_not_answer_and_for_who_would_wait_too_long(self) -> None:
        await self.running()
        request = self.request(token=b"silent")
        places = VALIDATIONS + MAX_WAITING

        def work(_: grpc.Channel) -> Counter[Answer]:
            with ExitStack() as stack:
                channels = [stack.enter_context(self.channel()) for _ in range(-(-places // STREAMS))]
                asked = [ask(channel)(request, timeout=PATIENCE) for channel in channels for _ in range(STREAMS)]
                return Counter(answer(each) for each in asked)

        too_many = (grpc.StatusCode.UNAVAILABLE, "too many requests wait for their tokens to be judged")
        too_long = (grpc.StatusCode.UNAVAILABLE, "the token was not judged within 10 s")
        self.assertEqual(await self.grpcio(work), {too_many: -places % STREAMS, too_long: places})

    async def test_resource_exhausted_when_all_that_may_be_held_is_held(self) -> None:
        await self.running()
        request = self.request(token=b"silent".ljust(MAX_REQUEST - 1024))
        first: Queue[Any] = Queue()

        def work(channel: grpc.Channel) -> Answer:
            for _ in range(STREAMS):
                ask(channel)(request, timeout=PATIENCE).add_done_callback(first.put)
            return answer(first.get(timeout=PATIENCE))

        said = "the server holds as many requests as it can"
        self.assertEqual(await self.grpcio(work), (grpc.StatusCode.RESOURCE_EXHAUSTED, said))

    async def test_deadline_exceeded_when_the_caller_has_no_more_time(self) -> None:
        await self.running()
        request = self.request(token=b"silent")
        status, _ = await self.grpcio(lambda channel: answer(ask(channel)(request, timeout=0.5)))
        self.assertEqual(status, grpc.StatusCode.DEADLINE_EXCEEDED)


def ask(channel: grpc.Channel) -> Callable[..., Any]:
    """Return what starts a call to Certify."""
    return unary(channel, CERTIFY).future


def answer(call: Any) -> Answer:
    """Wait for the end of a call."""
    call.exception()
    return call.code(), call.details()
