"""A certificate that grpcio's client gets from a running identity service serves openssl and curl."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from shutil import which

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from meshtx.identity import ca_folder
from meshtx.pki.csr import make_csr
from meshtx.pki.keys import key_to_pem, new_key
from meshtx.rpc.messages.identity_pb2 import CertifyRequest, CertifyResponse
from meshtx.rpc.methods import CERTIFY
from meshtx.supervisor.processes import TWISTD
from tests.mesh.town import PATIENCE, SCOPE, Program, environment, name

IDENTITY = SCOPE.name("meshtx", "meshtx-identity")
WEB = name("web")


class Tale(SynchronousTestCase):
    skip = None if which("openssl") and which("curl") else "needs openssl and curl"

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        ca_folder.init(self.folder / "ca", SCOPE, datetime.now(UTC))
        self.bundle = (self.folder / "ca" / "ca-bundle.crt").read_bytes()
        files = ["--issuer=ca/issuer", "--token-key-file=ca/token.pub"]
        address = ["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"]
        service = self.start("identity", *TWISTD, "--nodaemon", "--pidfile=", "meshidentity", *files, *address)
        service.says("TlsListener starting on")
        self.port = int(service.log.partition("TlsListener starting on ")[2].split()[0])

    def start(self, what: str, *argv: str) -> Program:
        said = self.folder / f"{what}.log"
        with said.open("wb") as output:
            process = subprocess.Popen(
                argv,
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return Program(what, process, said)

    def run_program(self, *argv: str) -> str:
        return self.start(Path(argv[0]).name, *argv).answer()

    def test_a_certificate_by_grpcio_serves_openssl_and_curl(self) -> None:
        key = new_key()
        answer = self.certify(make_csr(key, WEB))
        (self.folder / "tls.key").write_bytes(key_to_pem(key))
        self.pem("leaf.crt", [answer.leaf_certificate])
        self.pem("issuers.crt", answer.intermediate_certificates)
        self.pem("tls.crt", [answer.leaf_certificate, *answer.intermediate_certificates])
        trust = ("-CAfile", "ca/ca-bundle.crt")
        verify = (
            "openssl",
            "verify",
            "-x509_strict",
            *trust,
            "-untrusted",
            "issuers.crt",
            "-verify_hostname",
            str(WEB),
        )
        self.assertEqual(self.run_program(*verify, "leaf.crt"), "leaf.crt: OK\n")
        port = self.serve(trust)
        own = ("-cert", "leaf.crt", "-cert_chain", "issuers.crt", "-key", "tls.key")
        check = ("-verify_return_error", "-verify_hostname", str(WEB), "-tls1_3")
        said = self.run_program(
            "openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", str(WEB), *own, *trust, *check
        )
        self.assertIn("Verify return code: 0 (ok)", said)
        own = ("--cert", "tls.crt", "--key", "tls.key", "--cacert", "ca/ca-bundle.crt", "--tlsv1.3")
        where = ("--noproxy", "*", "--resolve", f"{WEB}:{port}:127.0.0.1", f"https://{WEB}:{port}/")
        self.assertIn("TLSv1.3", self.run_program("curl", "-sS", *own, *where))

    def certify(self, csr: bytes) -> CertifyResponse:
        """Ask as any client of gRPC does."""
        token = ca_folder.create_token(self.folder / "ca", WEB.namespace, WEB.service_account, time.time())
        request = CertifyRequest(identity=str(WEB), token=token.encode(), certificate_signing_request=csr)
        credentials = grpc.ssl_channel_credentials(self.bundle)
        options = (("grpc.ssl_target_name_override", str(IDENTITY)),)
        with grpc.secure_channel(f"127.0.0.1:{self.port}", credentials, options) as channel:
            call = channel.unary_unary(
                CERTIFY.path, CertifyRequest.SerializeToString, response_deserializer=CertifyResponse.FromString
            )
            return call(request, timeout=PATIENCE)

    def pem(self, file: str, certificates: Sequence[bytes]) -> None:
        pems = [x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in certificates]
        (self.folder / file).write_bytes(b"".join(pems))

    def serve(self, trust: tuple[str, ...]) -> int:
        """Start openssl's server, which demands a certificate; return its port."""
        own = ("-cert", "leaf.crt", "-cert_chain", "issuers.crt", "-key", "tls.key")
        options = ("-accept", "127.0.0.1:0", "-www", "-tls1_3", "-Verify", "2", "-verify_return_error")
        server = self.start("server", "openssl", "s_server", *options, *own, *trust)
        server.says("ACCEPT")
        return int(next(line for line in server.lines if line.startswith("ACCEPT")).rpartition(":")[2])
