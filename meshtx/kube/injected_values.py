"""What is injected now: the installation's values, with the trust anchors as they are in their file at this moment.

A pod gets its anchors once, when it is made, so a change of them must reach the very next pod. Whether the API server
knows native sidecars is asked once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from meshtx.errors import ConfigError, CredentialsError, MeshtxError
from meshtx.files import read_file
from meshtx.kube.api import KubeApi
from meshtx.kube.sidecar import Values
from meshtx.pki.bundle import TrustBundle

MAX_ANCHORS = 120 * 1024
"""Bytes; Linux takes environment variables of 128 KiB (MAX_ARG_STRLEN), name and all."""
NATIVE_SINCE = (1, 29)
"""From this version on the API server keeps ``restartPolicy: Always`` on an init container."""


class InjectedValues:
    """Keeps the values up to date.

    :param values: all but anchors and version of the server, which are set here.
    :param anchors: the file.
    :param changed: called with anchors that were not there before.
    """

    def __init__(
        self, api: KubeApi, values: Values, anchors: Path, changed: Callable[[TrustBundle], None] = lambda _: None
    ) -> None:
        self._api = api
        self._values = values
        self._file = anchors
        self._changed = changed
        self._text = b""
        self._native: bool | None = None

    async def get(self) -> Values:
        """Return the values for a pod that is being made.

        :raises MeshtxError: the anchors cannot be used, or the API server does not say its version.
        """
        self.load()
        if self._native is None:
            self._native = server_version(await self._api.get("/version")) >= NATIVE_SINCE
        return replace(self._values, native=self._native)

    def ready_reason(self) -> str | None:
        """Return why nothing can be injected, ``None`` where it can."""
        try:
            self.load()
        except MeshtxError as error:
            return str(error)
        return None

    def load(self) -> None:
        """Read the anchors.

        :raises ConfigError: they cannot be used.
        """
        text = read_file(self._file, "name the mesh's trust anchors", MAX_ANCHORS)
        if text == self._text:
            return
        try:
            trust = TrustBundle.from_pem(text, str(self._file))
        except CredentialsError as error:
            raise ConfigError("trust_anchors_file", str(error), "give the mesh's trust anchors as PEM") from error
        self._values = replace(self._values, trust_anchors=trust.to_pem().decode("ascii"), trust_digest=trust.digest)
        self._text = text
        self._changed(trust)


def server_version(answer: dict[str, object]) -> tuple[int, int]:
    """Return major and minor number of an answer to ``/version``; clouds write a ``+`` behind the latter.

    :raises ConfigError: it is none.
    """
    major, minor = (str(answer.get(part, "")).rstrip("+") for part in ("major", "minor"))
    if not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise ConfigError("/version", f"the API server says {major!r}.{minor!r}", "look what answers in its place")
    return int(major), int(minor)
