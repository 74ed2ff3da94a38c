"""A proxy and an identity service that can start, for tests to change one thing of."""

from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshtx.config import load
from meshtx.config_load import ProgramConfig
from meshtx.errors import ConfigError

WEB = "web.emojivoto.serviceaccount.identity.meshtx.cluster.local"
BOT = "vote-bot.emojivoto.serviceaccount.identity.meshtx.cluster.local"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


class ConfigCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def file(self, name: str, text: str = "x") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def proxy(self, **changes: str) -> dict[str, str]:
        """Return flags with which a proxy can start; a change to "" leaves one out."""
        flags = {
            "name": WEB,
            "identity_address": "identity.mesh:8080",
            "trust_anchors": PEM,
            "token_file": str(self.file("token")),
            "directory_file": str(self.file("mesh.toml")),
        }
        return {key: text for key, text in {**flags, **changes}.items() if text}

    def identity(self, **changes: str) -> dict[str, str]:
        flags = {"issuer": str(self.folder), "token_key_file": str(self.file("token.pub"))}
        return {key: text for key, text in {**flags, **changes}.items() if text}

    def assertMistake(
        self,
        config: type[ProgramConfig],
        flags: Mapping[str, str],
        key: str,
        problem: str,
        environ: Mapping[str, str] = {},
        file: Path | None = None,
    ) -> str:
        """Check that loading fails there, so, and return the hint."""
        error = self.assertRaises(ConfigError, load, config, flags, environ, file)
        self.assertEqual((error.key, error.problem), (key, problem))
        self.assertNotIn("\n", str(error))
        return error.hint
