"""Other people's programs take what the authority issues."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshtx.pki.authority import Authority
from meshtx.pki.csr import make_csr, parse_csr
from meshtx.pki.issuer import make_issuer, make_root
from meshtx.pki.keys import key_to_pem
from meshtx.pki.name import Name
from tests.pki.made import KEY, LONG, SCOPE, WEB

PATIENCE = 20
"""Seconds for one program to do its work."""


class Case(SynchronousTestCase):
    programs: tuple[str, ...] = ("openssl",)

    def setUp(self) -> None:
        for program in self.programs:
            if not shutil.which(program):
                raise SkipTest(f"no {program}")
        now = datetime.now(UTC)
        root_key, root = make_root(SCOPE, now)
        self.authority = Authority(make_issuer(root_key, root, SCOPE, now))
        self.now = now
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.write("ca.crt", root.public_bytes(Encoding.PEM))
        self.write("tls.key", key_to_pem(KEY))

    def write(self, name: str, data: bytes) -> None:
        (self.folder / name).write_bytes(data)

    def issue(self, name: Name) -> None:
        chain = self.authority.issue(parse_csr(make_csr(KEY, name)), name, self.now)
        leaf, *others = (each.public_bytes(Encoding.PEM) for each in (chain.leaf, *chain.intermediates))
        self.write("leaf.crt", leaf)
        self.write("others.crt", b"".join(others))
        self.write("tls.crt", leaf + b"".join(others))

    def run_program(self, *arguments: str) -> str:
        done = subprocess.run(arguments, cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout


class VerifyTests(Case):
    def test_openssl_verifies_the_chain_strictly_for_both_roles(self) -> None:
        for name in (WEB, LONG):
            self.issue(name)
            for role in ("sslserver", "sslclient"):
                options = f"-x509_strict -verify_hostname {name} -CAfile ca.crt -untrusted others.crt"
                out = self.run_program("openssl", "verify", "-purpose", role, *options.split(), "leaf.crt")
                self.assertEqual(out, "leaf.crt: OK\n")

    def test_openssl_takes_our_request(self) -> None:
        for name in (WEB, LONG):
            self.write("csr.der", make_csr(KEY, name))
            out = self.run_program("openssl", "req", "-inform", "DER", "-in", "csr.der", "-verify", "-noout", "-text")
            self.assertIn(f"DNS:{name}", out)


class ServeTests(Case):
    programs = ("openssl", "curl")

    def test_a_leaf_serves_openssl_and_is_curl_s_client_certificate(self) -> None:
        self.issue(WEB)
        options = "-accept 127.0.0.1:0 -naccept 1 -www -tls1_3 -Verify 2 -verify_return_error"
        files = "-cert leaf.crt -cert_chain others.crt -key tls.key -CAfile ca.crt"
        server = subprocess.Popen(
            ["openssl", "s_server", *options.split(), *files.split()],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(server.communicate, timeout=PATIENCE)
        self.addCleanup(server.kill)
        assert server.stdout
        port = next(line for line in server.stdout if line.startswith("ACCEPT")).rpartition(":")[2].strip()
        page = self.run_program(
            "curl",
            *f"--silent --show-error --noproxy * --max-time {PATIENCE}".split(),
            *["--tlsv1.3", "--cacert", "ca.crt", "--cert", "tls.crt", "--key", "tls.key", "--resolve"],
            f"{WEB}:{port}:127.0.0.1",
            f"https://{WEB}:{port}/",
        )
        self.assertIn("TLSv1.3", page)
        self.assertIn(f"CN = {WEB}", page.replace("CN=", "CN = "))
