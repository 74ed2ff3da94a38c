"""``meshtx token``: the mesh's own tokens."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import click

from meshtx.cli.options import DURATION, PATH
from meshtx.files import write_file
from meshtx.identity.ca_folder import create_token
from meshtx.identity.local_tokens import LIFETIME


@click.group()
def command() -> None:
    """Make the token that proves a workload's name."""


@command.command()
@click.argument("workload", metavar="NAMESPACE/ACCOUNT")
@click.option("--ca", "folder", type=PATH, required=True, help="The folder that 'meshtx ca init' has made.")
@click.option("--lifetime", type=DURATION, default=LIFETIME, show_default="1h", help="At most 24h.")
@click.option("--out", type=PATH, help="Write it to this file, for its owner only, instead of printing it.")
def create(workload: str, folder: Path, lifetime: timedelta, out: Path | None) -> None:
    """Make a token for one service account."""
    namespace, slash, account = workload.partition("/")
    if not slash:
        raise click.BadParameter(f"{workload!r} is not NAMESPACE/ACCOUNT", param_hint="NAMESPACE/ACCOUNT")
    token = create_token(folder, namespace, account, time.time(), lifetime)
    if out is None:
        click.echo(token)
    else:
        write_file(out, token.encode("ascii"), private=True)
