"""The kubelet's probes of the workload, as a pod's author wrote them (core/v1 ``Probe``).

They come in one setting, JSON: an object that has, by the path of a page of the admin site, what stands in the pod for
one probe, with a number for its port:

    {"/probe/web/readiness": {"httpGet": {"path": "/healthy", "port": 8080}, "timeoutSeconds": 2}}
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from meshtx import __version__
from meshtx.errors import PeerError

DEFAULT_TIMEOUT = 1.0
"""Seconds, where the author names none."""

_IN_TARGET = "!$%&'()*+,-./:;=?@[]_~"
"""Beside letters and digits, what a request target may hold; ``%`` begins what is quoted already."""

Headers = tuple[tuple[str, str], ...]


class ProbeFailed(PeerError):
    """The workload did not pass; the message says why."""


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """Passes if the port takes a connection.

    :param timeout: seconds.
    """

    port: int
    timeout: float = DEFAULT_TIMEOUT


@dataclass(frozen=True, slots=True)
class GrpcProbe:
    """Passes if the server's health service says that a service is serving.

    :param service: empty means the server as a whole.
    :param timeout: seconds.
    """

    port: int
    service: str = ""
    timeout: float = DEFAULT_TIMEOUT


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """Passes if a GET is answered with a status from 200 to 399.

    :param headers: the author's.
    :param secure: asks over TLS, and believes any server.
    :param timeout: seconds.
    """

    port: int
    path: str = "/"
    headers: Headers = ()
    secure: bool = False
    timeout: float = DEFAULT_TIMEOUT

    def request(self, host: str) -> bytes:
        """Return what is sent; the author's headers take the place of the kubelet's.

        :param host: the address that is asked, as a URL has it.
        :raises ProbeFailed: a header cannot be sent.
        """
        fields = {"Host": f"{host}:{self.port}", "User-Agent": f"kube-probe/meshtx-{__version__}"}
        fields |= {"Accept": "*/*", "Connection": "close"}
        given = {name.lower() for name, _ in self.headers}
        headers = [*((name, value) for name, value in fields.items() if name.lower() not in given), *self.headers]
        if not all(text.isprintable() for header in headers for text in header):
            raise ProbeFailed("a header of the probe holds a control character, and cannot be sent")
        lines = [f"GET {quote(self.path, safe=_IN_TARGET)} HTTP/1.1", *map(": ".join, headers)]
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


Probe = TcpProbe | GrpcProbe | HttpProbe

Probes = tuple[tuple[str, Probe], ...]
"""Each with the path of its page before it."""


def parse_probes(text: str) -> Probes:
    """Read the setting.

    :raises ValueError: the text is not as above.
    """
    try:
        return tuple((_path(path), _probe(given)) for path, given in _object(json.loads(text)).items())
    except (KeyError, TypeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"it is no JSON of probes: {error}") from None


def _path(text: str) -> str:
    if not text.startswith("/") or not text.isascii():
        raise ValueError(f"{text!r} is no path of a page")
    return text


def _probe(given: Any) -> Probe:
    timeout = float(_object(given).get("timeoutSeconds") or DEFAULT_TIMEOUT)
    if not timeout > 0:
        raise ValueError(f"{timeout:g} s is no time to answer in")
    match given:
        case {"tcpSocket": action}:
            return TcpProbe(_port(action), timeout)
        case {"grpc": dict(action)}:
            return GrpcProbe(_port(action), str(action.get("service") or ""), timeout)
        case {"httpGet": dict(action)}:
            headers = tuple((str(each["name"]), str(each["value"])) for each in action.get("httpHeaders") or ())
            path = str(action.get("path") or "/")
            return HttpProbe(
                _port(action),
                path if path.startswith("/") else f"/{path}",
                headers,
                secure=action.get("scheme") == "HTTPS",
                timeout=timeout,
            )
    raise ValueError(f"{given!r} is no probe: it has none of tcpSocket, grpc and httpGet")


def _port(action: Any) -> int:
    port = _object(action).get("port")
    if type(port) is not int or not 0 < port < 65536:  # JSON's true is an int
        raise ValueError(f"{port!r} is no number of a port")
    return port


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is no object")  # noqa: TRY004 - of JSON
    return value
