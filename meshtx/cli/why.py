"""``meshtx why``: what the directory says of a destination, and what follows from it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from meshtx.cli.options import OUTPUT, PATH, KindType
from meshtx.config import ProxyConfig
from meshtx.config_load import load_some
from meshtx.config_values import NAME
from meshtx.directory.file import load
from meshtx.directory.target import Meshed, Target
from meshtx.observe.flow import Mtls, NoTls, NoTlsReason, Security
from meshtx.pki.name import Name
from meshtx.proxy.policy import Denied, Permit, Policy, decide
from meshtx.wire.address import Address

UNKNOWN_POLICY = "The destination's policy is not known here; --config and --from judge by it."
HINTS = {
    NoTlsReason.NOT_DISCOVERED: "No entry of {file} gives {ip} an identity; give it one there.",
    NoTlsReason.PORT_SKIPPED: "{file} skips port {port}: the proxy takes no part in it.",
}
"""What to do about a connection that is plaintext, by the reason."""


@click.command("why")
@click.argument("destination")
@click.option(
    "--directory-file",
    type=PATH,
    required=True,
    envvar="MESHTX_WHY_DIRECTORY_FILE",
    show_envvar=True,
    help="The mesh's directory file.",
)
@click.option(
    "--config",
    type=PATH,
    help="The TOML file of the destination's proxy: its inbound_policy and inbound_allow judge the connection. Needs"
    " --from. What that proxy has from flags or its environment is not known here.",
)
@click.option("--from", "client", type=KindType(NAME), help="With --config: the client's name in the mesh.")
@OUTPUT
def command(destination: str, directory_file: Path, config: Path | None, client: Name | None, output: str) -> None:
    """Explain whether a connection to DESTINATION (ADDRESS:PORT) is mutual TLS.

    Exits with 1 if the destination's policy is known and denies it, else with 0.
    """
    try:
        address = Address.parse(destination)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="DESTINATION") from None
    if (config is None) != (client is None):
        raise click.UsageError("--config and --from belong together: give both, or none")
    target = load(directory_file).find(address)
    facts, hint = _facts(target), _hint(target, directory_file)
    verdict = None if config is None or client is None else _judge(config, client, target)
    if verdict is not None:
        denied = verdict if isinstance(verdict, Denied) else None
        facts |= {"policy": "denied" if denied else "allowed", "reason": denied.reason if denied else None}
        hint = denied.detail if denied else ""
    if output == "json":
        click.echo(json.dumps(facts))
    else:
        click.echo(" ".join(f"{key}={'true' if value is True else value}" for key, value in facts.items() if value))
        if hint:
            click.echo(f"  {hint}")
    if isinstance(verdict, Denied):
        raise click.exceptions.Exit(1)


def _judge(config: Path, client: Name, target: Target) -> Permit | Denied:
    """Return what the destination's proxy says of a connection that its client's proxy makes."""
    told = load_some(ProxyConfig, config, ("inbound_policy", "inbound_allow"))
    meshed = isinstance(target.security, Meshed)
    peer: Security = Mtls(client, "") if meshed else NoTls(NoTlsReason.NO_TLS_FROM_REMOTE)
    return decide(Policy.of(told["inbound_policy"], told["inbound_allow"]), peer, target.address.port)


def _hint(target: Target, directory_file: Path) -> str:
    if isinstance(target.security, Meshed):
        return UNKNOWN_POLICY
    hint = HINTS.get(target.security.reason, "")
    return hint.format(file=directory_file, ip=target.address.ip, port=target.address.port)


def _facts(target: Target) -> dict[str, str | bool | None]:
    facts: dict[str, str | bool | None] = {
        "dst": str(target.address),
        "authority": target.authority or None,
        "opaque": target.opaque,
    }
    match target.security:
        case Meshed(name, via):
            return {**facts, "tls": "true", "peer": str(name), "via": str(via)}
        case no_tls:
            return {**facts, "tls": no_tls.reason.value}
