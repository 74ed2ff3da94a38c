"""What the checks of several programs' configurations have in common."""

from __future__ import annotations

from collections import Counter

from meshtx.config_load import ProgramConfig
from meshtx.errors import ConfigError
from meshtx.wire.address import Address


def needs(config: ProgramConfig, what: str, *keys: str) -> None:
    """Insist on settings.

    :param what: what needs them, for the error.
    :raises ConfigError: one is not set.
    """
    for key in keys:
        if getattr(config, key) is None:
            raise ConfigError(key, "not set", f"{what} needs it")


def excludes(config: ProgramConfig, what: str, *keys: str, hint: str = "remove it") -> None:
    """Insist on the absence of settings that nothing would read.

    :param what: what does not read them, for the error.
    :raises ConfigError: one is set.
    """
    for key in keys:
        if getattr(config, key) is not None:
            raise ConfigError(key, f"{what} does not read it", hint)


def check_distinct(listeners: list[Address]) -> None:
    """Insist on an address of its own for each listener.

    :raises ConfigError: two have the same, or one has all addresses and another has one of them.
    """
    for address, times in Counter(each for each in listeners if each.port).items():
        if times > 1:
            raise ConfigError(str(address), f"{times} listeners have this address", "give each one its own port")
    for each in listeners:
        all_of_them = Address(type(each.ip)(0), each.port)
        if each.port and each != all_of_them and all_of_them in listeners:
            raise ConfigError(str(each), f"another listener has all of {all_of_them}", "give each one its own port")
