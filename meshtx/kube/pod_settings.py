"""The settings of the proxy that a pod's author decides, each by the annotation of its name.

    config.meshtx.io/tcp-user-timeout: 5m    on a namespace or a pod ─▶ MESHTX_PROXY_TCP_USER_TIMEOUT of its proxy

`meshtx.config.ProxyConfig` declares which those are, and what may be written. The injector judges them as the proxy
will: one that the proxy would not start with is its author's to mend, before there is a pod.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshtx.config import ProxyConfig, settings
from meshtx.config_load import Setting, judge_some
from meshtx.errors import ConfigError, MeshtxError

PREFIX = "config.meshtx.io/"
"""Of the annotations that are settings."""

MAX_TEXT = 120 * 1024
"""Bytes of one; Linux takes environment variables of 128 KiB (MAX_ARG_STRLEN), name and all."""

BY_AUTHOR: Mapping[str, Setting] = {each.dashed: each for each in settings(ProxyConfig) if each.by_author}
"""By what stands behind `PREFIX`."""

_GIVEN = frozenset({"directory_address"})
"""Every injected proxy has it (`meshtx.kube.sidecar.environment`)."""


class InvalidSetting(MeshtxError):
    """An annotation that cannot be used and must not be passed over; the message is for its author."""


def judge(texts: Mapping[str, str]) -> ProxyConfig:
    """Return what the proxy makes of these, its other settings being their defaults.

    :param texts: keys of `BY_AUTHOR` to text.
    :raises InvalidSetting: one of them is wrong, or read by nothing.
    """
    for name, text in texts.items():
        if len(text.encode()) > MAX_TEXT:
            raise InvalidSetting(f"{PREFIX}{name}: longer than {MAX_TEXT // 1024} KiB; no process can be told so much")
    written = {BY_AUTHOR[name].key: (PREFIX + name, text) for name, text in texts.items()}
    try:
        return judge_some(ProxyConfig, written, _GIVEN, _annotation)
    except ConfigError as error:
        raise InvalidSetting(str(error)) from error


def environment(texts: Mapping[str, str]) -> dict[str, str]:
    """Return what the proxy is told, by variable.

    :param texts: keys of `BY_AUTHOR` to text.
    """
    # the kubelet puts the values of variables in place of $(NAME), and one dollar in place of two
    return {BY_AUTHOR[name].variable: text.replace("$", "$$") for name, text in texts.items() if text}


def is_alone(name: str, texts: Mapping[str, str]) -> bool:
    """Say whether what makes the proxy read this setting is another annotation, and not among these."""
    needs = _needs(name)
    return bool(needs) and texts.keys().isdisjoint(needs)


def is_unread(name: str, texts: Mapping[str, str]) -> bool:
    """Say whether what makes the proxy read this setting is an annotation that has another value among these."""
    needs = _needs(name).items()
    told = [texts[key] == value if value else bool(texts[key]) for key, value in needs if key in texts]
    return bool(told) and not any(told)


def _needs(name: str) -> dict[str, str]:
    """Return the annotations of which a setting needs one, with the value or none; empty if it may do without."""
    needs = [need.replace("_", "-").partition("=") for need in BY_AUTHOR[name].needs]
    return {key: value for key, _, value in needs} if all(key in BY_AUTHOR for key, _, _ in needs) else {}


def _annotation(need: str) -> str:
    """Return what ``key`` or ``key=value`` is among annotations."""
    key, equals, value = need.partition("=")
    return f"{PREFIX}{key.replace('_', '-')}{equals}{value}"
