"""What meshtx raises on purpose, sorted by who can mend it.

Details are attributes; nobody parses them back out of the text. Errors of OpenSSL, h2 and
cryptography are translated into one of these once, in the module that calls the library.
"""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class MeshtxError(Exception):
    """Everything that meshtx raises on purpose."""


class ConfigError(MeshtxError):
    """The user's to mend: printed as one sentence without a trace, exit status 2.

    :param key: what is wrong: an option, a file, an address.
    :param problem: what is wrong with it.
    :param hint: what to do about it.
    """

    def __init__(self, key: str, problem: str, hint: str) -> None:
        super().__init__(_in_one_line(f"{key}: {problem}; {hint}"))
        self.key = key
        self.problem = problem
        self.hint = hint


def _in_one_line(text: str) -> str:
    """Return it with line breaks as escapes: a value may have some, as one that should be the path of a file."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class PeerError(MeshtxError):
    """The remote's to mend: closes that one connection and counts."""


class CredentialsError(MeshtxError):
    """The operator's to mend: the old credentials stay in use, readiness says why."""


class OutputError(MeshtxError):
    """A command's answer cannot be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output: {said_by_system(error)}; send it where there is room")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the hint for a word that nobody knows: the one probably meant, else all that there are."""
    known = list(known)
    close = get_close_matches(word, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def unreadable(key: str, path: Path, error: OSError, hint: str) -> ConfigError:
    """Return the error of a file that cannot be read; where another user owns it, what would let this one read it.

    :param hint: what to do about any other reason.
    """
    problem = said_by_system(error)
    if isinstance(error, PermissionError):
        user = os.geteuid()
        problem = f"{problem} to user {user}"
        hint = f"run 'chown {user} {path}' as root, and let that user enter its folder, or name another file"
    return ConfigError(key, problem if key == str(path) else f"{path}: {problem}", hint)


def said_by_system(error: OSError) -> str:
    """Return why a file cannot be used, without its path, which the message around it has."""
    return (error.strerror or str(error)).lower()
