"""``meshtx ca``: the mesh's certificate authority, in a folder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from meshtx.cli.options import DURATION, OUTPUT, PATH, show
from meshtx.errors import ConfigError
from meshtx.identity import ca_folder
from meshtx.identity.ca_folder import Made
from meshtx.pki.issuer import ISSUER_LIFETIME, ROOT_LIFETIME
from meshtx.pki.name import InvalidName, MeshScope

_FOLDER = click.argument("folder", metavar="DIR", type=PATH)


@click.group()
def command() -> None:
    """Make the mesh's certificate authority, and its next issuer."""


@command.command()
@_FOLDER
@click.option("--trust-domain", default="cluster.local", show_default=True, help="The last part of every name.")
@click.option("--control-namespace", default="meshtx", show_default=True, help="The part of every name before it.")
@click.option("--root-lifetime", type=DURATION, default=ROOT_LIFETIME, show_default="3650d", help="Of the anchor.")
@click.option("--issuer-lifetime", type=DURATION, default=ISSUER_LIFETIME, show_default="90d", help="Of the issuer.")
@OUTPUT
def init(
    *,
    folder: Path,
    trust_domain: str,
    control_namespace: str,
    root_lifetime: timedelta,
    issuer_lifetime: timedelta,
    output: str,
) -> None:
    """Make a trust anchor, an issuer and a token key in DIR.

    Give ca-bundle.crt to every workload, issuer/ and token.pub to twistd meshidentity; keep root.key safe.
    """
    try:
        scope = MeshScope(control_namespace, trust_domain)
    except InvalidName as error:
        raise ConfigError("trust domain, control namespace", str(error), "write DNS labels") from error
    made = ca_folder.init(folder, scope, datetime.now(UTC), root_lifetime, issuer_lifetime)
    show(
        {
            "trust_anchors": str(made.folder / ca_folder.BUNDLE),
            "trust_anchors_until": f"{made.root_not_after:%Y-%m-%dT%H:%M:%SZ}",
            **_issuer_facts(made),
            "token_key": str(made.folder / ca_folder.TOKEN_PUBLIC),
        },
        output,
    )


@command.command()
@_FOLDER
@click.option(
    "--lifetime", type=DURATION, default=ISSUER_LIFETIME, show_default="90d", help="Never longer than the anchor's."
)
@OUTPUT
def issuer(folder: Path, lifetime: timedelta, output: str) -> None:
    """Replace the issuer in DIR by a new one below the same trust anchor.

    A running twistd meshidentity takes it up within seconds; certificates that are in use stay good.
    """
    show(_issuer_facts(ca_folder.issuer(folder, datetime.now(UTC), lifetime)), output)


def _issuer_facts(made: Made) -> dict[str, str]:
    return {"issuer": str(made.issuer), "issuer_until": f"{made.issuer_not_after:%Y-%m-%dT%H:%M:%SZ}"}
