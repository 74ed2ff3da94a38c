"""How one value of the configuration is written and read: addresses, durations, names, lists.

Every value has one spelling as text, the same in a TOML file, in an environment variable and
behind a flag. A list is its items joined by commas.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from meshtx.pki.name import MAX_LENGTH, Name
from meshtx.proxy.balancers import Balancer
from meshtx.proxy.probes import parse_probes
from meshtx.wire.address import Address, parse_ip, refuse_zone
from meshtx.wire.network import parse_network
from meshtx.wire.ports import PortRange

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

LONGEST = timedelta(days=36525)
"""Of all durations: so many days can be added to any date of our time."""

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_UNITS = (86400, 3600, 60, 1)
_SECONDS = re.compile(r"\d+(?:\.\d+)?")
_HOST_LABEL = r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,{MAX_LENGTH}}}\Z){_HOST_LABEL}(\.{_HOST_LABEL})*")
"""No dots but between labels, and none too long: Python's resolver raises over others, and is asked in a thread."""
_NETLOC = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:[0-9]+)?")
"""Of a URL without a user: urlsplit takes more, and gives only the parts that it knows."""
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host, by name or by address, and a port: what a client connects to."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read ``identity.mesh:8080``, ``10.0.0.1:8080`` or ``[fd00::1]:8080``.

        :raises ValueError: it is none of these.
        """
        host, _, port = text.rpartition(":")
        if _is_host_name(host):
            if not (port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
                raise ValueError(f"{port!r} is no port")
            return cls(host.lower(), int(port))
        address = _somebodys(text)
        return cls(address.host, address.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _is_host_name(text: str) -> bool:
    return _HOST.fullmatch(text) is not None and not text.replace(".", "").isdigit()


@dataclass(frozen=True, slots=True)
class Forward:
    """An explicit listener: what connects to `listen` means `destination`."""

    listen: Address
    destination: Address

    @classmethod
    def parse(cls, text: str) -> Forward:
        """Read ``LISTEN=DESTINATION``, two addresses with a port each.

        :raises ValueError: it is not that.
        """
        listen, equals, destination = text.partition("=")
        if not equals:
            raise ValueError(f"{text!r} has no '='")
        return cls(Address.parse(listen.strip()), _somebodys(destination.strip()))

    def __str__(self) -> str:
        return f"{self.listen}={self.destination}"


def _somebodys(text: str) -> Address:
    """Read an address that somebody may listen on.

    :raises ValueError: it is none, or its port is 0: a listener's, of which the system chooses another.
    """
    address = Address.parse(text)
    if not address.port:
        raise ValueError(f"{text!r}: nobody listens on port 0")
    return address


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One sort of value.

    :param form: what ``--help`` and errors call it, e.g. ``ADDRESS:PORT``.
    :param example: one that parses.
    :param parse: text to value; raises ValueError.
    :param many: a list; its parts may come in several flags.
    :param flag: needs no value behind its flag; ``true`` is meant.
    :param reads: names a file or a folder that must be there and readable at start.
    """

    form: str
    example: str
    parse: Callable[[str], T]
    many: bool = False
    flag: bool = False
    reads: bool = False


def listed(kind: Kind[T]) -> Kind[tuple[T, ...]]:
    """Return the kind of a list of these; an empty text is an empty list."""

    def parse(text: str) -> tuple[T, ...]:
        return tuple(kind.parse(part.strip()) for part in text.split(",") if part.strip())

    return Kind(f"{kind.form}[,...]", kind.example, parse, many=True)


def choice(values: type[E]) -> Kind[E]:
    """Return the kind of one word out of a closed set."""
    words = [value.value for value in values]

    def parse(text: str) -> E:
        if text not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return values(text)

    return Kind("|".join(words), words[0], parse)


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if _SECONDS.fullmatch(text):
        length = float(text)
    elif text and match:
        length = sum(float(part or 0) * unit for part, unit in zip(match.groups(), _UNITS, strict=True))
    else:
        raise ValueError(f"{text!r} is no duration")
    if length > LONGEST.total_seconds():
        raise ValueError(f"{text!r} is longer than 100 years")
    return timedelta(seconds=length)


def _some_time(text: str) -> timedelta:
    duration = _duration(text)
    if not duration:
        raise ValueError(f"{text!r} is no time at all")
    return duration


def _yes(text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError(f"{text!r} is neither true nor false")


def _mark(text: str) -> int:
    try:
        mark = int(text, 0)
    except ValueError:
        raise ValueError(f"{text!r} is no whole number") from None
    if not 0 < mark < 2**32:
        raise ValueError(f"{text!r} is outside 1-0xffffffff")
    return mark


def _count(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]+", text):
        raise ValueError(f"{text!r} is no whole number")
    if len(text) > 18:
        raise ValueError(f"a number of {len(text)} digits is too large")
    number = int(text)
    if number < 1:
        raise ValueError(f"{text!r} is less than 1")
    return number


def _path(text: str) -> Path:
    if not text:  # of an unset shell variable: no name for the folder that one is in
        raise ValueError("the path is empty")
    if "\0" in text:
        raise ValueError("the path holds a NUL")
    return Path(text)


def _lasting_path(text: str) -> Path:
    return _path(text).absolute()  # twistd changes its folder when it becomes a daemon


def _word(text: str) -> str:
    if not text:
        raise ValueError("the value is empty")
    if not text.isprintable() or " " in text:
        raise ValueError(f"{text!r} holds white space")
    return text


def domain(text: str) -> str:
    """Return a DNS name in its one spelling, which is that of a Kubernetes object's name too (RFC 1123, section 2.1).

    :raises ValueError: it is none.
    """
    if not _DOMAIN.fullmatch(text):
        raise ValueError(f"{text!r} is no DNS name: labels of lower-case letters, digits and '-', joined by dots")
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a DNS name of {len(text)} octets, at most {MAX_LENGTH}")
    return text


def _pem(text: str) -> str:
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise ValueError("it holds no '-----BEGIN CERTIFICATE-----'")
    return text


def _is_address(text: str) -> bool:
    try:
        refuse_zone(text)
        parse_ip(text)
    except ValueError:
        return False
    return True


def _https_url(text: str) -> str:
    if not re.fullmatch("[!-~]+", text):
        raise ValueError(f"{text!r} holds white space or letters that no URL has")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # what is wrong with brackets or a port, which newer Pythons judge more strictly
        raise ValueError(f"{text!r} is no https URL") from None
    if parts.username or parts.fragment:
        raise ValueError("a user or a fragment has no meaning in it")
    whole = _NETLOC.fullmatch(parts.netloc) and port != 0 and (_is_host_name(host) or _is_address(host))
    if parts.scheme != "https" or not whole:
        raise ValueError(f"{text!r} is no https URL")
    return text


ADDRESS = Kind("ADDRESS:PORT", "0.0.0.0:4143", Address.parse)
ENDPOINT = Kind("HOST:PORT", "meshtx-identity.meshtx:8080", Endpoint.parse)
FORWARD = Kind("LISTEN=DESTINATION", "127.0.0.1:8001=10.0.0.2:80", Forward.parse)
NETWORK = Kind("CIDR", "10.0.0.0/24", parse_network)
BALANCER = Kind("CIDR=PORT[-PORT]", "10.0.0.0/24=8080", Balancer.parse)
PORTS = Kind("PORT[-PORT]", "8080", PortRange.parse)
PROBES = Kind("JSON", '{"/probe/web/liveness": {"tcpSocket": {"port": 8080}}}', parse_probes)
NAME = Kind("NAME", "web.shop.serviceaccount.identity.meshtx.cluster.local", Name.parse)
URL = Kind("URL", "https://issuer.example/keys", _https_url)
WORD = Kind("WORD", "http/1.1", _word)
NAMESPACE = Kind("NAMESPACE", "meshtx", _word)
TRUST_DOMAIN = Kind("DOMAIN", "cluster.local", _word)
DOMAIN = Kind("DOMAIN", "cluster.local", domain)
PEM = Kind("PEM", "-----BEGIN CERTIFICATE-----...", _pem)
PATH = Kind("PATH", "mesh", _path)
TOML_FILE = Kind("FILE", "/etc/meshtx/meshtx.toml", _path)
FILE = Kind("FILE", "/etc/meshtx/ca.crt", _lasting_path, reads=True)
FOLDER = Kind("FOLDER", "/etc/meshtx/issuer", _lasting_path, reads=True)
NEW_FOLDER = Kind("FOLDER", "mesh", _lasting_path)
DURATION = Kind("DURATION", "24h", _some_time)
SECONDS = Kind("DURATION", "90s", lambda text: _some_time(text).total_seconds())
MARK = Kind("NUMBER", "0x4143", _mark)
COUNT = Kind("NUMBER", "1000", _count)
BOOLEAN = Kind("true|false", "true", _yes)
FLAG = Kind("true|false", "true", _yes, flag=True)
