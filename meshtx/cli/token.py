"""``meshtx token``: the mesh's own tokens."""

from __future__ import annotations

import pwd
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
@click.option("--owner", metavar="USER", help="With --out: the user who gets the file, by name or number; needs root.")
def create(workload: str, folder: Path, lifetime: timedelta, out: Path | None, owner: str | None) -> None:
    """Make a token for one service account."""
    if owner is not None and out is None:
        raise click.BadParameter("nothing reads it without --out", param_hint="--owner")
    namespace, slash, account = workload.partition("/")
    if not slash:
        raise click.BadParameter(f"{workload!r} is not NAMESPACE/ACCOUNT", param_hint="NAMESPACE/ACCOUNT")
    token = create_token(folder, namespace, account, time.time(), lifetime)
    if out is None:
        click.echo(token)
    else:
        write_file(out, token.encode("ascii"), private=True, owner=None if owner is None else _user(owner))


def _user(text: str) -> int:
    """Return the number of a user.

    :raises click.BadParameter: there is no user of that name.
    """
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise click.BadParameter(f"there is no user {text!r}", param_hint="--owner") from None
