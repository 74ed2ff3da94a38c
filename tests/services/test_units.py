from __future__ import annotations

import sysconfig
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import ConfigError
from meshtx.services import units


def settings(unit: str) -> list[tuple[str, str]]:
    """Return the settings of a unit, in order."""
    lines = [line for line in unit.splitlines() if line and line[0] not in "#["]
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


class UnitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.scripts = Path("/opt/meshtx/bin")
        self.patch(Path, "is_file", lambda path: path.parent == Path("/opt/meshtx/bin"))
        self.at(self.scripts)

    def at(self, scripts: Path) -> None:
        """Have this environment's programs be there."""
        self.patch(sysconfig, "get_path", {"scripts": str(scripts)}.__getitem__)

    def test_the_proxy_is_that_of_this_environment_and_its_secret_a_credential(self) -> None:
        said = dict(settings(units.proxy_unit(Path("/etc/meshtx/proxy.toml"), Path("/etc/meshtx/token"))))
        self.assertEqual(
            said["ExecStart"],
            "/opt/meshtx/bin/twistd --nodaemon --pidfile= --logfile=- meshproxy --config=/etc/meshtx/proxy.toml"
            " --token-file=%d/token --key-folder=%t/meshproxy",
        )
        self.assertEqual(
            [said[key] for key in ("LoadCredential", "User", "Type", "RuntimeDirectory", "CapabilityBoundingSet")],
            ["token:/etc/meshtx/token", units.USER, "notify", "meshproxy", ""],
        )

    def test_a_proxy_with_certificate_files_has_neither_token_nor_key_folder(self) -> None:
        said = dict(settings(units.proxy_unit(Path("/etc/meshtx/proxy.toml"), None)))
        self.assertNotIn("LoadCredential", said)
        self.assertNotIn("RuntimeDirectory", said)
        self.assertTrue(said["ExecStart"].endswith(" meshproxy --config=/etc/meshtx/proxy.toml"))

    def test_the_identity_service_reads_its_issuer_from_credentials(self) -> None:
        unit = settings(units.identity_unit(Path("/ca"), Path("/etc/meshtx/identity.toml")))
        self.assertEqual(
            [value for key, value in unit if key == "LoadCredential"],
            [
                "tls.crt:/ca/issuer/tls.crt",
                "tls.key:/ca/issuer/tls.key",
                "ca.crt:/ca/issuer/ca.crt",
                "token.pub:/ca/token.pub",
            ],
        )
        self.assertTrue(
            dict(unit)["ExecStart"].endswith(
                " meshidentity --issuer=%d --token-key-file=%d/token.pub --config=/etc/meshtx/identity.toml"
            )
        )

    def test_the_redirect_is_applied_and_removed_as_it_is_named(self) -> None:
        said = dict(settings(units.redirect_unit(["--proxy-uid", "2102"], "other")))
        meshtx = "/opt/meshtx/bin/meshtx redirect"
        self.assertEqual(said["ExecStart"], f"{meshtx} apply --proxy-uid 2102")
        self.assertEqual((said["ExecReload"], said["ExecStop"]), (said["ExecStart"], f"{meshtx} remove --table other"))
        self.assertEqual(said["CapabilityBoundingSet"], "CAP_NET_ADMIN")

    def test_what_systemd_would_read_as_more_than_text_is_quoted(self) -> None:
        said = dict(settings(units.proxy_unit(Path('/a b/50%/$HOME/"c"'), Path("/a b/50%"))))
        self.assertIn(' "--config=/a b/50%%/$$HOME/\\"c\\"" ', said["ExecStart"])
        self.assertEqual(said["LoadCredential"], "token:/a b/50%%")
        for path in (Path("/a\nExecStartPre=/bin/sh"), Path("/a\x01")):
            self.assertRaises(ConfigError, units.proxy_unit, path, None)
            self.assertRaises(ConfigError, units.proxy_unit, Path("/a"), path)

    def test_an_environment_whose_programs_the_unit_could_not_run_is_an_error(self) -> None:
        for scripts, problem in (
            ("/home/ada/mesh/bin", "is in somebody's home, where the unit's user may not read"),
            ("/opt/none", "is not there"),
        ):
            self.at(Path(scripts))
            error = self.assertRaises(ConfigError, units.proxy_unit, Path("/a"), None)
            self.assertEqual(
                str(error),
                f"{scripts}/twistd: {problem}; install meshtx in a virtual environment such as /opt/meshtx, "
                "and call the meshtx of that",
            )
