"""Kubeconfigs as users have them: files, inline data, plugins, and what we do not follow."""

from __future__ import annotations

import json
import sys
import tempfile
from base64 import b64encode
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshtx.cli.kubeconfig import load, namespace_of
from meshtx.errors import ConfigError
from meshtx.kube.api_config import ApiConfig

SERVER = "https://192.0.2.1:6443"
PLUGIN = """
import json
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
                  "status": {"token": "of-the-plugin"}}))
"""


def inline(text: str) -> str:
    return b64encode(text.encode()).decode()


class KubeconfigTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = Path(self.mktemp())
        self.ca = Path(self.mktemp())
        self.ca.write_text("CA")

    def write(self, user: dict[str, Any], **cluster: Any) -> None:
        entry = {"server": SERVER, "certificate-authority": str(self.ca.absolute())} | cluster
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {key: value for key, value in entry.items() if value}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [
                {"name": "a", "context": {"cluster": "c", "user": "u", "namespace": "emojivoto"}},
                {"name": "b", "context": {"cluster": "c", "user": "u"}},
            ],
            "current-context": "a",
        }
        self.file.write_text(json.dumps(document))

    def problem(self, context: str | None = None) -> str:
        return str(self.assertRaises(ConfigError, load, self.file, context))

    def test_a_token_is_the_token_alone(self) -> None:
        self.write({"token": "secret"})
        self.assertEqual(load(self.file), ApiConfig(SERVER, "CA", token="secret"))

    def test_inline_certificates_leave_no_file(self) -> None:
        self.write({"client-certificate-data": inline("CERT"), "client-key-data": inline("KEY")})
        folder = Path(self.mktemp())
        folder.mkdir()
        self.patch(tempfile, "tempdir", str(folder))
        for _ in range(2):  # the package remembers what it wrote; that is gone
            self.assertEqual(load(self.file), ApiConfig(SERVER, "CA", certificate="CERT", key="KEY"))
        self.assertEqual(list(folder.iterdir()), [])

    def test_a_plugin_is_asked_and_prints_nothing_to_stdout(self) -> None:
        command = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": ["-c", PLUGIN]}
        self.write({"exec": command | {"interactiveMode": "Never"}})
        with redirect_stdout(StringIO()) as said:
            self.assertEqual(load(self.file).token, "of-the-plugin")
        self.assertEqual(said.getvalue(), "")

    def test_the_servers_name_is_taken(self) -> None:
        self.write({"token": "t"}, **{"tls-server-name": "kubernetes"})
        self.assertEqual(load(self.file).expected, "kubernetes")

    def test_an_unchecked_server_is_refused(self) -> None:
        self.write({"token": "t"}, **{"certificate-authority": None, "insecure-skip-tls-verify": True})
        self.assertIn("insecure-skip-tls-verify", self.problem())

    def test_what_is_not_understood_is_said(self) -> None:
        self.write({"token": "t"}, **{"proxy-url": "http://proxy:3128"})
        self.assertIn("proxy-url", self.problem())
        self.write({"token": "t"}, **{"certificate-authority": None})
        self.assertIn("no certificate-authority", self.problem())
        self.write({})
        self.assertIn("neither a token nor a client certificate", self.problem())
        self.assertIn("context", self.problem("nowhere"))
        for text in ("{", "no mapping", "clusters: none"):
            self.file.write_text(text)
            self.assertRegex(self.problem(), r"\Akubeconfig: [^\n]+; see 'kubectl config view'\Z")
        self.file.write_text("no mapping")
        self.assertIn("kubeconfig: it is none: ", self.problem())
        self.file.unlink()
        self.assertEqual(
            self.problem(), f"kubeconfig: {self.file}: no such file or directory; see 'kubectl config view'"
        )

    def test_a_proxy_of_the_environment_is_not_the_files(self) -> None:
        self.write({"token": "t"})
        self.patch(sys.modules["os"], "environ", {**sys.modules["os"].environ, "HTTPS_PROXY": "http://proxy:3128"})
        self.assertEqual(load(self.file).token, "t")

    def test_the_namespace_is_the_contexts(self) -> None:
        self.write({"token": "t"})
        self.assertEqual((namespace_of(self.file), namespace_of(self.file, "b")), ("emojivoto", "default"))
        self.assertRaises(ConfigError, namespace_of, self.file, "nowhere")
