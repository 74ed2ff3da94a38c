"""What meshtx raises on purpose, sorted by who can mend it.

Details are attributes; nobody parses them back out of the text. Errors of OpenSSL, h2 and
cryptography are translated into one of these once, in the module that calls the library.
"""


class MeshtxError(Exception):
    """Everything that meshtx raises on purpose."""


class ConfigError(MeshtxError):
    """The user's to mend: printed as one sentence without a trace, exit status 2.

    :param key: what is wrong: an option, a file, an address.
    :param problem: what is wrong with it.
    :param hint: what to do about it.
    """

    def __init__(self, key: str, problem: str, hint: str) -> None:
        super().__init__(f"{key}: {problem}; {hint}")
        self.key = key
        self.problem = problem
        self.hint = hint


class PeerError(MeshtxError):
    """The remote's to mend: closes that one connection and counts."""


class CredentialsError(MeshtxError):
    """The operator's to mend: the old credentials stay in use, readiness says why."""
