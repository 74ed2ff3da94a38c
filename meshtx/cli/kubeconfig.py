"""How the user reaches a cluster: as kubectl does, by a kubeconfig and its credential plugins.

The package ``kubernetes`` reads it (extra ``meshtx[kubernetes]``). It costs 40 MB and a third of a second, so it is
imported when it is called; what it finds is copied into a value of ours, and nothing else is asked of it.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from meshtx.errors import ConfigError
from meshtx.files import read_text
from meshtx.kube.api_config import ApiConfig

_BEARER = "Bearer "


def load(file: Path | None = None, context: str | None = None) -> ApiConfig:
    """Return how the API server is reached, and as whom.

    Blocks: a credential plugin may ask the user. What it prints goes to stderr.

    :param file: instead of those of ``$KUBECONFIG``, or ``~/.kube/config``.
    :param context: of the file, instead of its current one.
    :raises ConfigError: there is no such file or context, or it cannot be used.
    """
    package = _package()
    _insist_on(file)
    found = package.Configuration()
    found.proxy = None  # of the environment; that of the file is still to come
    with TemporaryDirectory(prefix="meshtx-") as folder, redirect_stdout(sys.stderr):
        try:
            package.load_kube_config(_named(file), context, found, persist_config=False, temp_file_path=folder)
        except Exception as error:  # its own, YAML's, those of files, and of Python where it is something else
            raise _unusable(_told(error)) from error
        return _copied(found)


def namespace_of(file: Path | None = None, context: str | None = None) -> str:
    """Return the namespace that commands are about if they name none.

    :raises ConfigError: as `load`.
    """
    try:
        contexts, current = _package().list_kube_config_contexts(_named(file))
    except Exception as error:  # likewise
        raise _unusable(_told(error)) from error
    chosen = next((each for each in contexts if each["name"] == context), None) if context else current
    if chosen is None:
        raise _unusable(f"it has no context {context!r}")
    namespace: str = chosen["context"].get("namespace") or "default"
    return namespace


def _copied(found: Any) -> ApiConfig:
    """Return what was read, as a value of ours.

    :param found: Any: the package declares no types.
    """
    if not found.verify_ssl:
        raise _unusable("it says insecure-skip-tls-verify", "name the server's certificate-authority instead")
    if getattr(found, "proxy", None):
        raise _unusable("it says proxy-url, which is not understood", "use a context without")
    if not found.ssl_ca_cert:
        raise _unusable("it names no certificate-authority for the server", "add it to the cluster's entry")
    token = (found.api_key or {}).get("BearerToken") or ""
    if not token and not found.cert_file:
        raise _unusable("it has neither a token nor a client certificate for the user", "log in to the cluster first")
    return ApiConfig(
        server=found.host,
        ca=_read(found.ssl_ca_cert),
        token=token.removeprefix(_BEARER) or None,
        certificate=_read(found.cert_file) if found.cert_file else None,
        key=_read(found.key_file) if found.key_file else None,
        server_name=found.tls_server_name or None,
    )


def _package() -> Any:
    """Return the module that reads kubeconfigs; Any: it declares no types.

    :raises ConfigError: it is not installed.
    """
    try:
        from kubernetes.config import kube_config
    except ImportError as error:
        raise ConfigError("kubernetes", "not installed", "pip install 'meshtx[kubernetes]'") from error
    return kube_config


def _insist_on(file: Path | None) -> None:
    """Read a file that the user has named: the package would say that nothing was found, and not where."""
    try:
        if file is not None:
            _read(str(file))
    except ConfigError as error:
        raise _unusable(f"{error.key}: {error.problem}") from error


def _told(error: Exception) -> str:
    if isinstance(error, AttributeError | KeyError | TypeError):  # of Python, about what the package expected
        return "it is none: kubectl writes it as a mapping of clusters, users and contexts"
    return " ".join(str(error).split())


def _read(path: str) -> str:
    return read_text(Path(path), "see 'kubectl config view'")


def _named(file: Path | None) -> str | None:
    return str(file) if file else None


def _unusable(problem: str, hint: str = "see 'kubectl config view'") -> ConfigError:
    return ConfigError("kubeconfig", problem, hint)
