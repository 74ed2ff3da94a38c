"""``meshtx wait``: wait until the proxy beside us is ready.

A pod runs it after the proxy's container has started (``postStart``): the kubelet starts the next one only when it has
ended. ``meshtx run`` has no need of it, for it starts its proxy itself.
"""

from __future__ import annotations

from datetime import timedelta

import click

from meshtx.cli.options import DURATION
from meshtx.supervisor.readiness import not_ready_reason, wait_until_ready
from meshtx.wire.ports import PROXY_ADMIN


@click.command("wait")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=PROXY_ADMIN, show_default=True, help="The proxy's admin port."
)
@click.option("--timeout", type=DURATION, default=timedelta(minutes=2), show_default="2m", help="How long to wait.")
def command(port: int, timeout: timedelta) -> None:
    """Wait until the proxy in this network namespace is ready; exit with 1 if that takes too long.

    It starts no proxy: `meshtx run` does, and waits likewise.
    """
    wait_until_ready(lambda: not_ready_reason("localhost", port), timeout.total_seconds())
