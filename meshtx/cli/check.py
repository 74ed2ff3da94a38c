"""``meshtx check``: whether the mesh of a cluster is as it should be, and what to do where it is not."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from meshtx.cli import check_report, kubeconfig
from meshtx.cli.main import FAILED
from meshtx.cli.options import DURATION, OUTPUT, PATH
from meshtx.cli.reacting import react
from meshtx.errors import ConfigError
from meshtx.kube.api import KubeApi
from meshtx.kube.api_config import ApiConfig
from meshtx.kube.checks.outcomes import Report
from meshtx.kube.checks.reading import AT_ONCE, Reader
from meshtx.kube.checks.whole import look, look_until_passed
from meshtx.pki.name import InvalidName, MeshScope


@click.command()
@click.option("--pre", is_flag=True, help="Before the installation: whether there can be one.")
@click.option("-n", "--namespace", default="meshtx", show_default=True, help="The control plane's namespace.")
@click.option("--kubeconfig", "file", type=PATH, help="Instead of $KUBECONFIG or ~/.kube/config.")
@click.option("--context", help="Of the kubeconfig; default: its current one.")
@click.option(
    "--wait",
    type=DURATION,
    default=timedelta(0),
    show_default="0s",
    help="How long to look again where what fails may pass by itself.",
)
@OUTPUT
def command(*, pre: bool, namespace: str, file: Path | None, context: str | None, wait: timedelta, output: str) -> None:
    """Look whether the mesh of a cluster is as it should be; exit with 1 where something fails.

    Says of each thing whether it passed, warned or failed, and then what to do. Nothing is changed. It needs no more
    than to read: what the user may not read is skipped, with the right that is missing.
    """
    try:
        MeshScope(namespace)
    except InvalidName as error:
        raise ConfigError("--namespace", str(error), "write a DNS label") from error
    report = _looked(kubeconfig.load(file, context), namespace, wait, before=pre)
    if output == "json":
        click.echo(check_report.as_json(report))
    else:
        _show(report)
    click.get_current_context().exit(0 if report.passed else FAILED)


def _show(report: Report) -> None:
    """Print the lines; ticks only where the terminal can show them."""
    terminal = sys.stdout.isatty() and "utf" in (sys.stdout.encoding or "").lower()
    for line in check_report.lines(report, terminal=terminal):
        click.echo(line)


def _looked(config: ApiConfig, namespace: str, wait: timedelta, *, before: bool) -> Report:
    """Run the reactor until there is a report.

    :raises MeshtxError: the configuration cannot be used.
    """

    async def main(reactor: Any) -> Report:  # Any: many interfaces
        api = KubeApi(reactor, config, kept=AT_ONCE)
        reader = Reader(api, config.server, namespace, lambda: datetime.now(UTC))
        report = await look_until_passed(lambda: look(reader, before=before), wait.total_seconds(), reactor)
        await api.close()
        return report

    report = react(main)
    if report is None:
        raise click.Abort
    return report
