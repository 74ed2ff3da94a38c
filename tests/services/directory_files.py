"""What a ``meshdirectory`` of the tests is given: who it is, its files, and flags that name them."""

from __future__ import annotations

from pathlib import Path

from tests.identity.made import write_credentials
from tests.net.certificates import make_ca, make_leaf
from tests.pki.made import SCOPE

DIRECTORY = SCOPE.name("meshtx", "meshtx-directory")
CA = make_ca()
"""Of the mesh."""


def write_files(folder: Path, token: str, api_ca: str) -> None:
    """Write what the kubelet and an operator would.

    :param token: for the API; `api_ca`: who its server's certificate comes from.
    """
    for name, text in (("token", token), ("ca.crt", api_ca), ("anchors.crt", CA.pem)):
        (folder / name).write_text(text)
    write_credentials(folder, make_leaf(CA, DIRECTORY))


def flags(folder: Path, **changed: str) -> dict[str, str]:
    """Return the settings of one whose files are there, and whose ports are any."""
    return {
        "name": str(DIRECTORY),
        "trust_anchors_file": str(folder / "anchors.crt"),
        "certificate_file": str(folder / "tls.crt"),
        "key_file": str(folder / "tls.key"),
        "kubernetes_folder": str(folder),
        "listen": "127.0.0.1:0",
        "tap_listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        **changed,
    }
