"""Where the API is: the pod's files, and what is no configuration."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import ConfigError
from meshtx.kube.api_config import ApiConfig, in_cluster
from meshtx.kube.api_token import TokenSource

VARIABLES = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


class TestInCluster(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        (self.folder / "ca.crt").write_text("CA")
        (self.folder / "token").write_text("secret-token\n")

    def test_a_pod_has_what_it_takes(self) -> None:
        self.assertEqual(
            in_cluster(VARIABLES, self.folder),
            ApiConfig("https://10.96.0.1:443", "CA", token_file=self.folder / "token"),
        )

    def test_an_address_of_ipv6_is_bracketed(self) -> None:
        config = in_cluster({**VARIABLES, "KUBERNETES_SERVICE_HOST": "fd00::1"}, self.folder)
        self.assertEqual((config.server, config.host, config.port), ("https://[fd00::1]:443", "fd00::1", 443))

    def test_outside_of_a_pod_it_says_so(self) -> None:
        for missing in VARIABLES:
            rest = {name: value for name, value in VARIABLES.items() if name != missing}
            error = self.assertRaises(ConfigError, in_cluster, rest, self.folder)
            self.assertIn("this is no pod of a cluster; run it in a pod", str(error))

    def test_a_file_that_is_not_mounted_is_named(self) -> None:
        for name in ("token", "ca.crt"):
            (self.folder / name).unlink()
            error = self.assertRaises(ConfigError, in_cluster, VARIABLES, self.folder)
            self.assertEqual(error.key, str(self.folder / name))
            self.assertIn("mount the service account token", error.hint)


class TestApiConfig(SynchronousTestCase):
    def test_a_server_is_an_https_url(self) -> None:
        for server in (
            "http://h:1",
            "h:6443",
            "https://",
            "https://h:99999",
            "https://u:p@h",
            "https://h?x=1",
            "https://[",
        ):
            error = self.assertRaises(ConfigError, ApiConfig, server, "CA")
            self.assertEqual((error.key, error.hint), ("server", "write it as https://HOST:PORT"), server)

    def test_a_certificate_without_its_key_is_an_error(self) -> None:
        self.assertRaises(ConfigError, ApiConfig, "https://h", "CA", certificate="PEM")

    def test_what_the_certificate_must_name_is_the_host_unless_told(self) -> None:
        given = [ApiConfig("https://h:6443/k8s/c-1", "CA"), ApiConfig("https://h", "CA", server_name="kubernetes")]
        self.assertEqual(
            [(each.host, each.port, each.expected) for each in given], [("h", 6443, "h"), ("h", 443, "kubernetes")]
        )

    def test_no_secret_is_in_its_repr(self) -> None:
        shown = repr(ApiConfig("https://h", "CA", token="secret-token", certificate="PEM", key="secret-key"))
        self.assertNotIn("secret", shown)


class TestTokenSource(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = Path(self.mktemp())
        self.file.write_text("one\n")
        self.source = TokenSource(self.file, None)

    def test_the_file_is_read_again_when_it_has_changed(self) -> None:
        self.assertEqual(self.source.read(), "one")
        self.file.write_text("another\n")
        self.assertEqual(self.source.read(), "another")

    def test_one_that_is_replaced_as_the_kubelet_does_is_read_again(self) -> None:
        self.source.read()
        other = self.file.with_name("other")
        other.write_text("two\n")
        other.replace(self.file)
        self.assertEqual(self.source.read(), "two")

    def test_one_that_has_not_changed_is_not_read(self) -> None:
        self.source.read()
        self.patch(Path, "open", lambda *_: self.fail("opened"))
        self.assertEqual(self.source.read(), "one")

    def test_what_is_no_token_is_an_error_that_does_not_show_it(self) -> None:
        for text in ("", "\n", "secret token", "secret\ntoken", "secret\x00", "sécret"):
            self.file.write_text(text)
            error = self.assertRaises(ConfigError, TokenSource(self.file, None).read)
            self.assertEqual(error.problem, "the file does not hold a token", text)

    def test_one_that_is_gone_is_an_error(self) -> None:
        self.source.read()
        self.file.unlink()
        self.assertRaises(ConfigError, self.source.read)

    def test_it_is_in_no_repr(self) -> None:
        self.source.read()
        self.assertNotIn("one", repr(self.source) + repr(TokenSource(None, "one")))

    def test_without_a_file_it_is_what_was_given(self) -> None:
        self.assertEqual((TokenSource(None, "x").read(), TokenSource(None, None).read()), ("x", None))
