"""What a demo needs that does not come with meshtx itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from importlib.util import find_spec

from meshtx.demo.lab import environment
from meshtx.errors import ConfigError

PACKAGES = {
    "curl": "curl",
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
"""By program, the package that has it."""


def check(programs: Iterable[str]) -> None:
    """Look for everything before anything is begun.

    :raises ConfigError: something is missing; the message says what to install.
    """
    path = environment()["PATH"]
    missing = [program for program in programs if not shutil.which(program, path=path)]
    if missing:
        packages = ", ".join(sorted({PACKAGES[program] for program in missing}))
        raise ConfigError("demo", f"needs {', '.join(missing)}", f"install {packages}")
    if find_spec("grpc") is None:
        raise ConfigError("demo", "its services need grpcio", "install meshtx[demo]")
