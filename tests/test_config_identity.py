"""What the identity service is told of who judges tokens."""

from __future__ import annotations

from meshtx import config_values
from meshtx.config import IdentityConfig, load
from meshtx.errors import ConfigError
from tests.config_case import ConfigCase


def refuse(_url: str) -> None:
    """Do as newer versions of urllib's do with brackets that are not in order."""
    raise ValueError("Invalid IPv6 URL")


class Validators(ConfigCase):
    def test_what_only_one_validator_reads_is_for_that_one_alone(self) -> None:
        file = str(self.file("keys.json", "{}"))
        theirs = {
            "kubernetes": {"token_requires_pod": "false", "kubernetes_folder": str(self.folder)},
            "jwks": {"jwks_file": file, "jwks_url": "https://a.example", "jwks_issuer": "a", "jwks_audience": "b"},
        }
        for validator, keys in theirs.items():
            for key, value in keys.items():
                flags = self.identity(token_key_file="", validator="scripted", **{key: value})
                place = "--" + key.replace("_", "-")
                needed = f"validator={validator}"
                hint = self.assertMistake(IdentityConfig, flags, place, f"nothing reads it without {needed}")
                self.assertEqual(hint, f"set {needed}, or remove it")
                flags = self.identity(token_key_file="", validator=validator, **{key: value})
                if validator == "kubernetes":
                    load(IdentityConfig, flags, {})

    def test_a_key_set_has_one_place_an_issuer_and_for_a_url_an_authority(self) -> None:
        file, url = str(self.file("keys.json", "{}")), "https://issuer.example:8443/keys?x=1"
        flags = self.identity(token_key_file="", validator="jwks", jwks_issuer="https://issuer.example")
        load(IdentityConfig, {**flags, "jwks_file": file}, {})
        load(IdentityConfig, {**flags, "jwks_url": url, "jwks_ca_file": file}, {})
        for more, key, problem in (
            ({}, "jwks_file, jwks_url", "neither is set"),
            ({"jwks_file": file, "jwks_url": url}, "jwks_file, jwks_url", "both are set"),
            ({"jwks_file": file, "jwks_ca_file": file}, "--jwks-ca-file", "nothing reads it without jwks_url"),
            (
                {"jwks_url": url},
                "jwks_ca_file",
                "not set, and nothing says who may vouch for the server of jwks_url",
            ),
        ):
            self.assertMistake(IdentityConfig, {**flags, **more}, key, problem)
        del flags["jwks_issuer"]
        self.assertMistake(IdentityConfig, {**flags, "jwks_file": file}, "jwks_issuer", "not set")

    def test_a_key_set_comes_by_https_alone(self) -> None:
        for url in ("http://a.example/", "a.example", "https://", "https://u:p@a.example", "https://a.example/#f"):
            self.assertEqual(self.refused(url).key, "--jwks-url")

    def refused(self, url: str) -> ConfigError:
        flags = self.identity(token_key_file="", validator="jwks", jwks_issuer="a", jwks_url=url)
        return self.assertRaises(ConfigError, load, IdentityConfig, {**flags, "jwks_ca_file": flags["issuer"]}, {})

    def test_a_key_set_comes_from_a_host_that_can_be_asked(self) -> None:
        """Others were a trace at start, or one with each attempt."""
        for host in ("a..b", "a" * 64, "a." * 130 + "a", "[fe80::1%25lo]", "10.0.0", "a\\b", "a:", "[::1]a"):
            error = self.refused(f"https://{host}/")
            self.assertEqual(error.problem, f"{f'https://{host}/'!r} is no https URL")
        for url in (" https://a.example/", "https://a.example/\n", "https://a b/", "https://\xe9.example/"):
            self.assertEqual(self.refused(url).problem, f"{url!r} holds white space or letters that no URL has")
        for host in ("a.example", "10.0.0.1:8443", "[fd00::1]", "A_b-c"):
            flags = self.identity(token_key_file="", validator="jwks", jwks_issuer="a", jwks_url=f"https://{host}/")
            load(IdentityConfig, {**flags, "jwks_ca_file": flags["issuer"]}, {})

    def test_so_says_a_python_whose_own_parser_is_strict(self) -> None:
        self.patch(config_values, "urlsplit", refuse)
        for url in ("https://[::1]a/", "https://a.example:99999/"):
            self.assertEqual(self.refused(url).problem, f"{url!r} is no https URL")

    def test_a_port_that_there_is_not(self) -> None:
        self.assertEqual(self.refused("https://a:99999/").problem, "'https://a:99999/' is no https URL")

    def test_a_pod_is_required_unless_the_flag_says_no(self) -> None:
        flags = self.identity(token_key_file="", validator="kubernetes")
        for text, value in (("false", False), ("true", True)):
            self.assertIs(load(IdentityConfig, {**flags, "token_requires_pod": text}, {}).token_requires_pod, value)
