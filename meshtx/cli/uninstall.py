"""``meshtx uninstall``: what names the whole control plane, for ``kubectl delete -f -``."""

from __future__ import annotations

import click

from meshtx.cli.documents import dump
from meshtx.errors import ConfigError
from meshtx.kube.manifests.whole import deletions
from meshtx.pki.name import InvalidName, MeshScope


@click.command()
@click.option("--namespace", default="meshtx", show_default=True, help="The control plane's.")
def command(namespace: str) -> None:
    """Print what to delete of the control plane, for "kubectl delete -f -".

    Take the mesh's label from namespaces and start their pods anew first: sidecars find no identity afterwards.
    """
    try:
        MeshScope(namespace)
    except InvalidName as error:
        raise ConfigError("--namespace", str(error), "write a DNS label") from error
    click.echo(dump(deletions(namespace)), nl=False)
