"""``meshtx wait``: wait until the proxy beside us is ready.

A pod whose proxy is an ordinary container runs it after that container has started (``postStart``): the kubelet starts
the next one only when it has ended. A proxy as a native sidecar needs nothing of it.
"""

from __future__ import annotations

import http.client
import time
from datetime import timedelta

import click

from meshtx.cli.options import DURATION
from meshtx.errors import MeshtxError, said_by_system
from meshtx.observe.printable import printable
from meshtx.wire.ports import PROXY_ADMIN

BETWEEN = 0.1
"""Seconds between two looks."""
PATIENCE = 1.0
"""Seconds for one look."""


class NotReady(MeshtxError):
    """The time is over."""


@click.command("wait")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=PROXY_ADMIN, show_default=True, help="The proxy's admin port."
)
@click.option("--timeout", type=DURATION, default=timedelta(minutes=2), show_default="2m", help="How long to wait.")
def command(port: int, timeout: timedelta) -> None:
    """Wait until the proxy in this network namespace is ready; exit with 1 if that takes too long."""
    until = time.monotonic() + timeout.total_seconds()
    while (reason := _why_not(port)) is not None:
        if time.monotonic() >= until:
            raise NotReady(f"the proxy is not ready after {timeout.total_seconds():g} s: {reason}")
        time.sleep(BETWEEN)


def _why_not(port: int) -> str | None:
    """Return why the proxy is not ready, ``None`` if it is."""
    connection = http.client.HTTPConnection("localhost", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/ready")
        answer = connection.getresponse()
        text = answer.read(1024).decode("utf-8", "replace").strip()
    except OSError as error:
        return f"port {port}: {said_by_system(error)}"
    except http.client.HTTPException as error:
        return f"port {port}: {printable(str(error)) or type(error).__name__}"
    finally:
        connection.close()
    if answer.status == http.client.OK:
        return None
    return printable(" ".join(text.split())) or f"port {port}: HTTP status {answer.status}"  # it may be another's page
