"""Readiness of a proxy, as its admin port reports it: ``GET /ready`` is 200, or 503 and the reason."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable

from meshtx.errors import MeshtxError, said_by_system
from meshtx.observe.printable import printable

POLL_INTERVAL = 0.1
"""Seconds between two requests."""
REQUEST_TIMEOUT = 1.0
"""Seconds for one request."""


class NotReady(MeshtxError):
    """The proxy did not become ready in time."""


def wait_until_ready(
    reason: Callable[[], str | None], timeout: float, pause: Callable[[float], None] = time.sleep
) -> None:
    """Poll until a proxy is ready.

    :param reason: returns why the proxy is not ready, ``None`` if it is.
    :param timeout: seconds.
    :param pause: waits for that many seconds; what it raises ends the wait.
    :raises NotReady: the time is over.
    """
    deadline = time.monotonic() + timeout
    while (why := reason()) is not None:
        if time.monotonic() >= deadline:
            raise NotReady(f"the proxy is not ready after {timeout:g} s: {why}")
        pause(POLL_INTERVAL)


def not_ready_reason(host: str, port: int) -> str | None:
    """Return why the proxy with this admin port is not ready, ``None`` if it is."""
    connection = http.client.HTTPConnection(host, port, timeout=REQUEST_TIMEOUT)
    try:
        connection.request("GET", "/ready")
        response = connection.getresponse()
        text = response.read(1024).decode("utf-8", "replace").strip()
    except OSError as error:
        return f"port {port}: {said_by_system(error)}"
    except http.client.HTTPException as error:
        return f"port {port}: {printable(str(error)) or type(error).__name__}"
    finally:
        connection.close()
    if response.status == http.client.OK:
        return None
    return printable(" ".join(text.split())) or f"port {port}: HTTP status {response.status}"  # perhaps another program
