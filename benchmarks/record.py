"""All that one run has measured, and on what; a JSON file."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Self

from OpenSSL import SSL

from benchmarks.ground import Ground
from benchmarks.peers.others import envoy, program
from benchmarks.results import Results
from meshtx import __version__
from meshtx.errors import ConfigError, said_by_system


@dataclass
class Record:
    """Results.

    :param about: what it was measured on, by name: versions, the CPU, how long.
    """

    about: dict[str, str]
    pairs: Results = field(default_factory=Results)
    scale: Results = field(default_factory=Results)
    churn: Results = field(default_factory=Results)

    def save(self, path: Path) -> None:
        """Write it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @staticmethod
    def insist_on(path: Path) -> None:
        """Make sure that there can be one, before it takes an hour to have what is in it.

        :raises ConfigError: it could not be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(str(path), said_by_system(error), "name a file that this user can write") from error
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise ConfigError(str(path), "cannot be written", "name a file that this user can write")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read one.

        :raises ConfigError: there is none.
        """
        try:
            found = json.loads(path.read_text())
            sections = {key: Results(found[key]["values"]) for key in ("pairs", "scale", "churn")}
            return cls(found["about"], **sections)
        except (OSError, ValueError) as error:
            raise ConfigError(str(path), str(error), "name the JSON file of a run") from error
        except (KeyError, TypeError) as error:
            raise ConfigError(str(path), "is not what a run has written", "name the JSON file of a run") from error

    def take(self, other: Record) -> None:
        """Have what the other one has not measured from here: a section is of one run, or its ratios mean nothing."""
        if not self.pairs.values:
            self.about = other.about
        for key in ("pairs", "scale", "churn"):
            if not getattr(self, key).values:
                setattr(self, key, getattr(other, key))


def about(ground: Ground) -> dict[str, str]:
    """Return what is measured here, and on what."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    ours = {
        "meshtx": __version__,
        "Python": f"{platform.python_version()} {built(sys.base_prefix, str(sysconfig.get_config_var('CONFIG_ARGS')))}",
        "Twisted": version("Twisted"),
        "pyOpenSSL": version("pyOpenSSL"),
        "its OpenSSL": SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode().split()[1],
    }
    theirs = {
        "Envoy": ((envoy, "--version"), r"/(\d+\.\d+\.\d+)/"),
        "HAProxy": ((lambda: program("haproxy"), "-v"), r"version (\d+\.\d+\.\d+)"),
        "nginx": ((lambda: program("nginx"), "-v"), r"nginx/(\d+\.\d+\.\d+)"),
        "stunnel": ((lambda: program("stunnel"), "-version"), r"stunnel (\d+\.\d+)"),
    }
    found = {}
    for name, ((where, option), pattern) in theirs.items():
        said = re.search(pattern, ground.says(where(), option))
        found[name] = said[1] if said else "unknown"
    return {"CPU": cpu[1] if cpu else platform.machine(), "Linux": platform.release(), **ours, **found}


def built(prefix: str, configured: str) -> str:
    """Say how Python was built, which its speed depends on.

    The options of a distribution's tell nothing: Debian's are those of another build, that of the shared library.

    :param prefix: where it is installed.
    :param configured: the options of its build, as sysconfig has them.
    """
    if prefix == "/usr":
        return f"as {platform.freedesktop_os_release()['PRETTY_NAME']} builds it"
    options = (f"with{'' if each in configured else 'out'} {each}" for each in ("--enable-optimizations", "--with-lto"))
    return f"configured {' and '.join(options)}"


def key_exchanges(by_pair: Mapping[str, str]) -> str:
    """Say who makes keys by what."""
    by_kind: dict[str, list[str]] = {}
    for pair, kind in by_pair.items():
        by_kind.setdefault(kind, []).append(pair)
    return "; ".join(f"{kind} ({', '.join(pairs)})" for kind, pairs in by_kind.items())
