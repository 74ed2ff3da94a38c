"""``meshtx install``: the control plane's manifests, for ``kubectl apply -f -``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from meshtx.cli.documents import dump, load_yaml
from meshtx.cli.options import PATH
from meshtx.config_load import Setting, load, settings
from meshtx.kube import install_trust
from meshtx.kube.install_trust import Sourced
from meshtx.kube.manifests.whole import documents
from meshtx.kube.settings.install import InstallConfig

_UNKEPT = (
    "meshtx: a new trust anchor, whose key is kept nowhere: name --ca-folder to keep it for the next issuer, or"
    " --keep-issuer to change an installation that is there already"
)


def _option(each: Setting) -> Callable[[Any], Any]:  # Any: click's decorators take and give functions
    text = f"{each.help} [TOML {each.key}{f'; default {each.default}' if each.default else ''}]"
    if each.kind.flag:
        return click.option(each.flag, each.key, is_flag=True, help=text)
    return click.option(each.flag, each.key, metavar=each.kind.form, multiple=each.kind.many, help=text)


def _every_setting(function: Any) -> Any:  # Any: as above
    for each in reversed(settings(InstallConfig)):
        function = _option(each)(function)
    return function


@click.command()
@click.option("--values", type=PATH, metavar="FILE", help="Read this TOML file first.")
@_every_setting
def command(values: Path | None, **given: str | tuple[str, ...] | bool | None) -> None:
    """Print the control plane's manifests, for "kubectl apply -f -".

    The same values give the same bytes, but for an issuer that is made on the spot; --ca-folder keeps it.
    """
    load_yaml()  # before a folder is made that would be of no use yet
    config = load(InstallConfig, _written(given), {}, values)
    now = datetime.now(UTC)
    sourced = _trust(config, now)
    if sourced:
        config.check_issuer(sourced.not_after, now)
        if not (config.ca_folder or config.issuer_key):
            click.echo(_UNKEPT, err=True)
    click.echo(dump(documents(config.values(sourced.trust if sourced else None))), nl=False)
    if sourced:
        click.echo(f"meshtx: the issuer is valid until {sourced.not_after:%Y-%m-%dT%H:%M:%SZ}", err=True)


def _written(given: dict[str, Any]) -> dict[str, str]:
    """Return the flags that were given, in the spelling of the configuration."""
    flags: dict[str, str] = {}
    for key, value in given.items():
        if value is None or value is False or value == ():
            continue
        flags[key] = ",".join(value) if isinstance(value, tuple) else "true" if value is True else value
    return flags


def _trust(config: InstallConfig, now: datetime) -> Sourced | None:
    if config.keep_issuer:
        return None
    if config.issuer_certificate and config.issuer_key and config.trust_anchors:
        return install_trust.from_files(config.issuer_certificate, config.issuer_key, config.trust_anchors, now)
    if config.ca_folder:
        return install_trust.from_folder(config.ca_folder, config.scope, now)
    return install_trust.generated(config.scope, now)
