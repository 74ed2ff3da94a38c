"""What users write on pods and namespaces for the injector: one label, and annotations.

    meshtx.io/inject: enabled|disabled      a label, on a namespace or a pod; the pod's wins
    config.meshtx.io/SETTING                annotations, on a namespace or a pod; the pod's wins

The injector's own settings are here, the proxy's in `meshtx.kube.pod_settings`. A value of the former that nobody
understands is told to the user and has no effect; with one of the latter the proxy would not start, and the pod is
refused (`InvalidSetting`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from meshtx.config import ProxyConfig
from meshtx.errors import nearest
from meshtx.kube.pod_settings import BY_AUTHOR, PREFIX, InvalidSetting, is_unread, judge
from meshtx.kube.ports import MOST, entries
from meshtx.wire.ports import PortRange

INJECT = "meshtx.io/inject"
ENABLED, DISABLED = "enabled", "disabled"

CONTROL_PLANE = "meshtx.io/control-plane-ns"
"""The label of a meshed pod: the namespace of its control plane."""
CREATED_BY = "meshtx.io/created-by"
PROXY_VERSION = "meshtx.io/proxy-version"
TRUST_ROOT = "meshtx.io/trust-root-sha256"
"""`meshtx.pki.bundle.TrustBundle.digest` of the anchors that the proxy was given."""

POD_SECURITY = "pod-security.kubernetes.io/enforce"
"""Kubernetes' own label, of a namespace; what it says but ``privileged`` forbids the init container's capability."""

SKIP_INBOUND, SKIP_OUTBOUND, OPAQUE = "skip-inbound-ports", "skip-outbound-ports", "opaque-ports"
CPU_REQUEST, CPU_LIMIT = "proxy-cpu-request", "proxy-cpu-limit"
MEMORY_REQUEST, MEMORY_LIMIT = "proxy-memory-request", "proxy-memory-limit"
LOG_LEVEL, KIND = "proxy-log-level", "proxy-kind"

PORT_LISTS = (OPAQUE, SKIP_INBOUND, SKIP_OUTBOUND)
SETTINGS = (
    *PORT_LISTS,
    CPU_REQUEST,
    CPU_LIMIT,
    MEMORY_REQUEST,
    MEMORY_LIMIT,
    LOG_LEVEL,
    KIND,
    *BY_AUTHOR,
)

LOG_LEVELS = ("debug", "info", "warn", "error", "critical")
NATIVE, CLASSIC = "native", "classic"

NO_LIMIT = "none"
"""The value that takes a default limit away."""

MOST_WARNINGS = 10
"""Of one pod's annotations: each becomes an event, and one annotation may have 100,000 mistakes."""

_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?\d{1,2})?", re.ASCII)
_SCALES = {
    "m": Decimal("0.001"),
    **{letter: Decimal(1000) ** power for power, letter in enumerate(("", "k", "M", "G", "T", "P", "E"))},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate(("K", "M", "G", "T", "P", "E"), 1)},
}


@dataclass(frozen=True, slots=True)
class Resources:
    """Of one container, as Kubernetes writes quantities; ``None`` is no limit."""

    cpu_request: str = "50m"
    cpu_limit: str | None = "1"
    memory_request: str = "64Mi"
    memory_limit: str | None = "512Mi"

    def manifest(self) -> dict[str, dict[str, str]]:
        """Return the container's field."""
        limits = {"cpu": self.cpu_limit, "memory": self.memory_limit}
        return {
            "limits": {name: limit for name, limit in limits.items() if limit is not None},
            "requests": {"cpu": self.cpu_request, "memory": self.memory_request},
        }


@dataclass(frozen=True, slots=True)
class Settings:
    """The annotations of one pod, read.

    :param skip_inbound: ports and ranges, names of ports resolved.
    :param log_level: ``None``: the default; likewise `kind`.
    :param texts: the proxy's own settings, as `meshtx.kube.pod_settings` has them.
    :param proxy: what the proxy makes of those.
    :param copied: annotations of the namespace that the pod takes over.
    :param warnings: for the user.
    """

    resources: Resources
    skip_inbound: tuple[PortRange, ...]
    skip_outbound: tuple[PortRange, ...]
    log_level: str | None
    kind: str | None
    texts: Mapping[str, str]
    proxy: ProxyConfig
    copied: Mapping[str, str]
    warnings: tuple[str, ...]


def is_wanted(labels: Mapping[str, str], namespace_labels: Mapping[str, str]) -> bool:
    """Say whether a pod asks to be meshed, as the webhook's selectors do (`meshtx.kube.webhook`)."""
    own = labels.get(INJECT)
    return (own if own in {ENABLED, DISABLED} else namespace_labels.get(INJECT)) == ENABLED


def read(
    annotations: Mapping[str, str],
    namespace_annotations: Mapping[str, str],
    ports: Mapping[str, int],
    defaults: Resources,
) -> Settings:
    """Read a pod's annotations with those of its namespace.

    :param ports: the pod's container ports by name.
    :raises InvalidSetting: one that must not be passed over.
    """
    reader = _Reader(annotations, namespace_annotations)
    reader.warn_of_unknown()
    reader.ports(OPAQUE, ports)
    texts = reader.texts()
    return Settings(
        resources=reader.resources(defaults),
        skip_inbound=reader.ports(SKIP_INBOUND, ports),
        skip_outbound=reader.ports(SKIP_OUTBOUND, {}),
        log_level=reader.word(LOG_LEVEL, LOG_LEVELS),
        kind=reader.word(KIND, (NATIVE, CLASSIC)),
        texts=texts,
        proxy=judge(texts),
        copied=reader.copied,
        warnings=_some(reader.warnings),
    )


class _Reader:
    """Reads one setting after the other, and collects what is to be told."""

    def __init__(self, own: Mapping[str, str], inherited: Mapping[str, str]) -> None:
        self._own = _by_setting(own)
        self._inherited = _by_setting(inherited)
        for setting in BY_AUTHOR.keys() & self._inherited.keys():
            if is_unread(setting, self._own):  # it goes with the one that the pod's own beats
                del self._inherited[setting]
        self._values = {**self._inherited, **self._own}
        self.copied = {
            PREFIX + setting: text
            for setting, text in self._inherited.items()
            if setting in SETTINGS and setting not in self._own
        }
        self.warnings: list[str] = []

    def warn_of_unknown(self) -> None:
        for setting in self._values:
            if setting not in SETTINGS:
                told = len(self.warnings) < MOST_WARNINGS  # it takes 0.2 ms, and there may be 100,000
                hint = nearest(PREFIX + setting, _all_keys()) if told else ""
                self.warnings.append(f"{PREFIX}{setting}: unknown annotation; {hint}")

    def word(self, setting: str, words: tuple[str, ...]) -> str | None:
        if setting not in self._values:
            return None
        text = self._values[setting]
        if text in words:
            return text
        self.warnings.append(f"{PREFIX}{setting}: {text!r} is none of {', '.join(words)}; the default is used")
        return None

    def texts(self) -> dict[str, str]:
        return {setting: text for setting, text in self._values.items() if setting in BY_AUTHOR}

    def ports(self, setting: str, names: Mapping[str, int]) -> tuple[PortRange, ...]:
        if setting not in self._values:
            return ()
        text = self._values[setting]
        found = []
        for part in entries(text):
            try:
                found.append(PortRange.parse(str(names.get(part, part))))
            except ValueError as error:
                self.warnings.append(f"{PREFIX}{setting}: {error}, nor the name of a port of the pod; it is ignored")
        if text.count(",") >= MOST:
            self.warnings.append(f"{PREFIX}{setting}: ports and ranges after the first {MOST} are ignored")
        return tuple(dict.fromkeys(found))

    def resources(self, defaults: Resources) -> Resources:
        cpu = self._amounts(CPU_REQUEST, CPU_LIMIT, defaults.cpu_request, defaults.cpu_limit)
        memory = self._amounts(MEMORY_REQUEST, MEMORY_LIMIT, defaults.memory_request, defaults.memory_limit)
        return Resources(cpu[0], cpu[1], memory[0], memory[1])

    def _amounts(self, request_key: str, limit_key: str, request: str, limit: str | None) -> tuple[str, str | None]:
        """Return request and limit; a default gives way to what an annotation asks for."""
        asked, bound = self._quantity(request_key), self._quantity(limit_key)
        if bound == NO_LIMIT:
            return asked or request, None
        if asked and bound and amount(asked) > amount(bound):
            raise InvalidSetting(
                f"{PREFIX}{request_key}: {asked} is more than {PREFIX}{limit_key}, {bound}; raise that"
            )
        request, limit = asked or request, bound or limit
        if limit is not None and amount(request) > amount(limit):
            return (request, request) if asked else (limit, limit)
        return request, limit

    def _quantity(self, setting: str) -> str | None:
        if setting not in self._values:
            return None
        text = self._values[setting]
        if text == NO_LIMIT and setting in {CPU_LIMIT, MEMORY_LIMIT}:
            return text
        if _QUANTITY.fullmatch(text):
            return text
        self.warnings.append(f"{PREFIX}{setting}: {text!r} is no quantity such as 100m or 64Mi; the default is used")
        return None


def amount(quantity: str) -> Decimal:
    """Return what a quantity of Kubernetes stands for.

    :raises ValueError: it is none.
    """
    match = _QUANTITY.fullmatch(quantity)
    if match is None:
        raise ValueError(f"{quantity!r} is no quantity, such as 100m or 64Mi")
    number, unit = match[1], match[2] or ""
    return Decimal(number) * _SCALES[unit] if unit in _SCALES else Decimal(number + unit)


def _by_setting(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return setting to text."""
    return {key.removeprefix(PREFIX): text for key, text in annotations.items() if key.startswith(PREFIX)}


def _some(warnings: list[str]) -> tuple[str, ...]:
    left_out = len(warnings) - MOST_WARNINGS
    return (*warnings[:MOST_WARNINGS], *([f"and {left_out} more such mistakes"] if left_out > 0 else []))


def _parts(text: str) -> Iterable[str]:
    return (part.strip() for part in text.split(",") if part.strip())


def _all_keys() -> tuple[str, ...]:
    return tuple(PREFIX + setting for setting in SETTINGS)
