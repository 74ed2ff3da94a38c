"""The systemd units that run the programs on a server (systemd.unit(5), systemd.service(5), systemd.exec(5)).

Each names the programs of the environment that prints it by absolute paths. A secret is loaded as a credential: its
file may belong to root alone, and the program's user reads a copy that no disk has. It is copied at the start, so a new
one takes a restart, which refuses nobody. They need systemd 250 or newer; Debian 12 has 252.
"""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from meshtx.errors import ConfigError
from meshtx.identity.ca_folder import ISSUER, TOKEN_PUBLIC

USER, UID = "meshtx", 2102
"""Whom the proxy runs as: the redirect tells its connections by this user from a workload's."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@+-]+")
"""Text that needs no quotation marks in a command line."""

_HOMES = {"/home", "/root", "/run/user"}
"""What ProtectHome= hides."""
_INSTALL = "install meshtx in a virtual environment such as /opt/meshtx, and call the meshtx of that"

SYSUSERS = f'u {USER} {UID} "meshtx proxy"\n'
"""Makes the proxy's user (sysusers.d(5))."""

KEYPAIR = ("tls.crt", "tls.key", "ca.crt")
"""What the issuer's folder has."""

_SERVICE = """\
Type=notify
Restart=always
RestartSec=1
# Ready means: has its certificate. A machine that boots before the identity service is there waits, and does not fail.
TimeoutStartSec=infinity
# Longer than connections may drain (drain_timeout).
TimeoutStopSec=90
WatchdogSec=30
# Keeps the listening sockets over a restart.
FileDescriptorStoreMax=512
LimitNOFILE=524288
"""

_CONFINED = """\
CapabilityBoundingSet={capabilities}
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
RestrictAddressFamilies={families}
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
UMask=0077
"""

# No MemoryDenyWriteExecute=: pyOpenSSL's callbacks are cffi's, which writes their code at run time.
_DAEMON_CONFINED = (
    _CONFINED.format(capabilities="", families="AF_INET AF_INET6 AF_UNIX")
    + """\
PrivateUsers=yes
ProcSubset=pid
ProtectProc=invisible
RemoveIPC=yes
"""
)

_KEY_FOLDER = """\
# On a tmpfs, so that a restart does without the identity service.
RuntimeDirectory=meshproxy
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=restart
"""

_PROXY = """\
[Unit]
Description=meshtx proxy
After=network.target nss-lookup.target
StartLimitIntervalSec=0

[Service]
User={user}
{credentials}ExecStart={start}
{service}
{confined}
[Install]
WantedBy=multi-user.target
"""

_IDENTITY = """\
[Unit]
Description=meshtx identity service
After=network.target nss-lookup.target
StartLimitIntervalSec=0

[Service]
User=meshidentity
DynamicUser=yes
{credentials}ExecStart={start}
{service}
{confined}
[Install]
WantedBy=multi-user.target
"""

_REDIRECT = """\
[Unit]
Description=meshtx redirect of TCP connections to the proxy
# In place before the network is, and again whenever the system's own rules are loaded, which removes it.
DefaultDependencies=no
After=nftables.service
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
RequiresMountsFor={scripts}
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={apply}
ExecReload={apply}
ExecStop={remove}

{confined}
[Install]
WantedBy=multi-user.target
"""


def proxy_unit(config: Path, token_file: Path | None) -> str:
    """Return the unit of the proxy.

    :param config: its TOML file, for its user to read.
    :param token_file: may belong to root; ``None``: the proxy has its certificate from files that its user may read.
    :raises ConfigError: this environment has no twistd.
    """
    credentials, options = "", [_word(f"--config={config.absolute()}")]
    if token_file is not None:
        credentials = _load({"token": token_file}) + _KEY_FOLDER
        options += ["--token-file=%d/token", "--key-folder=%t/meshproxy"]
    start = _twistd("meshproxy", *options)
    return _PROXY.format(user=USER, credentials=credentials, start=start, service=_SERVICE, confined=_DAEMON_CONFINED)


def identity_unit(folder: Path, config: Path | None) -> str:
    """Return the unit of the identity service.

    :param folder: that of ``meshtx ca init``; may belong to root.
    :param config: a TOML file with further settings, for everybody to read.
    :raises ConfigError: this environment has no twistd.
    """
    issuer = folder / ISSUER
    files = {**{name: issuer / name for name in KEYPAIR}, TOKEN_PUBLIC: folder / TOKEN_PUBLIC}
    options = ["--issuer=%d", f"--token-key-file=%d/{TOKEN_PUBLIC}"]
    if config is not None:
        options.append(_word(f"--config={config.absolute()}"))
    return _IDENTITY.format(
        credentials=_load(files),
        start=_twistd("meshidentity", *options),
        service=_SERVICE,
        confined=_DAEMON_CONFINED,
    )


def redirect_unit(arguments: Sequence[str], table: str) -> str:
    """Return the unit of the redirect.

    :param arguments: those of ``meshtx redirect apply``.
    :param table: the nftables table that these make.
    :raises ConfigError: this environment has no meshtx.
    """
    meshtx = _script("meshtx")
    return _REDIRECT.format(
        scripts=_word(str(Path(meshtx).parent)),
        apply=" ".join(map(_word, [meshtx, "redirect", "apply", *arguments])),
        remove=" ".join(map(_word, [meshtx, "redirect", "remove", "--table", table])),
        confined=_CONFINED.format(capabilities="CAP_NET_ADMIN", families="AF_NETLINK AF_UNIX"),
    )


def _twistd(*arguments: str) -> str:
    """Return the command line that runs a program in the foreground, its log on standard output: the journal's."""
    return " ".join([_word(_script("twistd")), "--nodaemon", "--pidfile=", "--logfile=-", *arguments])


def _script(name: str) -> str:
    """Return where a program of this environment is."""
    path = Path(sysconfig.get_path("scripts"), name)
    if _HOMES & set(map(str, path.parents)):
        raise ConfigError(str(path), "is in somebody's home, where the unit's user may not read", _INSTALL)
    if not path.is_file():
        raise ConfigError(str(path), "is not there", _INSTALL)
    return str(path)


def _load(files: Mapping[str, Path]) -> str:
    return "".join(f"LoadCredential={name}:{_value(path)}\n" for name, path in files.items())


def _value(path: Path) -> str:
    """Return a path as a setting takes it: whole, and without specifiers."""
    return _printable(str(path.absolute())).replace("%", "%%")


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ConfigError(repr(text), "is no text for a unit", "choose a name without control characters")
    return text


def _word(text: str) -> str:
    """Return text as one word of a command line (systemd.service(5), "Command lines")."""
    escaped = _printable(text).replace("%", "%%").replace("$", "$$").replace("\\", "\\\\").replace('"', '\\"')
    return escaped if _PLAIN.fullmatch(text) else f'"{escaped}"'
