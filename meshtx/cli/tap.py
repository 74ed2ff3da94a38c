"""``meshtx tap``: the options, and the lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import click
from click.core import ParameterSource
from twisted.internet.defer import CancelledError

from meshtx.cli.kubeconfig import load, namespace_of
from meshtx.cli.options import PATH, KindType
from meshtx.cli.reacting import react
from meshtx.cli.standard_output import StandardOutput, wants_color
from meshtx.cli.tap_format import choose
from meshtx.cli.tap_printer import Printer
from meshtx.cli.tap_session import (
    ByToken,
    FromFiles,
    ProxyTarget,
    TapPlan,
    TapSession,
)
from meshtx.cli.tap_words import cluster_target
from meshtx.config_values import ENDPOINT, NAME
from meshtx.kube.tap_target import NoTarget, TapTarget
from meshtx.observe.flow import Direction
from meshtx.observe.tap_match import Place
from meshtx.observe.tap_query import TapQuery
from meshtx.pki.name import InvalidName, MeshScope, Name


def _parsed(parse: Callable[[str], Any]) -> Callable[..., Any]:
    """Return a callback of click that reads an option's value, or each of its values."""

    def callback(_context: click.Context, _option: click.Parameter, value: str | tuple[str, ...] | None) -> Any:
        try:
            if isinstance(value, tuple):
                return tuple(parse(each) for each in value)
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return callback


def _name(text: str) -> str:
    """Return a name as it was written, in full or short; which mesh a short one is of, is not known yet.

    :raises ValueError: it is none.
    """
    try:
        if text:
            MeshScope().complete(text)
    except InvalidName as error:
        raise ValueError(f"{error}; in the own mesh ACCOUNT.NAMESPACE will do") from error
    return text


def _option(*names: str, env: str, **settings: Any) -> Callable[[Any], Any]:
    """Declare an option that an environment variable may give as well."""
    return click.option(*names, envvar=f"MESHTX_TAP_{env}", show_envvar=True, **settings)


@click.command()
@click.argument("targets", metavar="(KIND[/NAME] | KIND NAME | [NAME@]HOST[:PORT]...)", nargs=-1, required=True)
@click.option("-n", "--namespace", help="Of KIND; default: that of the kubeconfig's context.")
@click.option("--context", help="Of the kubeconfig; default: its current one.")
@click.option("--kubeconfig", type=PATH, help="Instead of $KUBECONFIG or ~/.kube/config.")
@_option(
    "--proxy-name",
    env="PROXY_NAME",
    callback=_parsed(_name),
    help="The name that a proxy without NAME@ must prove, e.g. web.emojivoto.",
)
@_option("--directory-file", env="DIRECTORY_FILE", type=PATH, help="The mesh's file: it names the others.")
@_option("--trust-anchors-file", env="TRUST_ANCHORS_FILE", type=PATH, help="The mesh's trust anchors.")
@_option("--name", env="NAME", type=KindType(NAME), help="The own name; the proxies' tap_identity must have it.")
@_option("--token-file", env="TOKEN_FILE", type=PATH, help="The token that proves it to the identity service.")
@_option("--identity-address", env="IDENTITY_ADDRESS", type=KindType(ENDPOINT), help="The identity service.")
@_option(
    "--identity-name",
    env="IDENTITY_NAME",
    type=KindType(NAME),
    help="What the identity service must prove to be; default: meshtx-identity in the own name's control namespace.",
)
@_option("--certificate-file", env="CERTIFICATE_FILE", type=PATH, help="Instead of a token: the own certificate,")
@_option("--key-file", env="KEY_FILE", type=PATH, help="and its key.")
@click.option("--method", "methods", multiple=True, help="Requests with this method; may be given several times.")
@click.option("--path", default="", help="Requests whose path starts so.")
@click.option("--authority", default="", help="Requests to this authority.")
@click.option(
    "--peer",
    default="",
    callback=_parsed(_name),
    help="Connections with this workload: its name, or ACCOUNT.NAMESPACE.",
)
@click.option(
    "--proxy",
    type=click.Choice([each.value for each in Direction]),
    callback=_parsed(Direction),
    help="Connections this way only.",
)
@click.option(
    "--src",
    "sources",
    multiple=True,
    callback=_parsed(Place.parse),
    help="Connections from this ADDRESS, ADDRESS:PORT or NETWORK/BITS; may be given several times.",
)
@click.option(
    "--dst", "destinations", multiple=True, callback=_parsed(Place.parse), help="Connections to it; likewise."
)
@click.option("-o", "--output", type=click.Choice(["text", "wide", "json"]), default="text", help="The form of a line.")
@click.option(
    "--timestamps/--no-timestamps",
    default=None,
    help="Begin each line with the time at which the proxy saw it; default: on a terminal, and with -o wide.",
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Of text and wide; auto: on a terminal, unless NO_COLOR is set or TERM is dumb.",
)
@click.option("--headers", is_flag=True, help="With -o json: headers too. They may hold secrets of the applications.")
@click.option("--max-lines", type=click.IntRange(min=1), help="End after as many lines.")
def command(targets: tuple[str, ...], **options: Any) -> None:
    """Show connections and requests as they happen, as the proxies see them.

    In a cluster, name a workload as for kubectl: deploy (all Deployments of the namespace), deploy/web or deploy web
    (one of them); likewise sts, ds, rs, rc, job, cronjob and pod; ns/emojivoto is a whole namespace. This takes a right
    of the cluster, and no certificate.

    Elsewhere, give the addresses of proxies, each with the name that it must prove. A host with the name of a kind
    needs its port: job:4190.

    Without filters everything is shown; all filters that are given must hold. Ctrl-C ends it.
    """
    asked = {key: options.pop(key) for key in _QUERY}
    looks = {key: options.pop(key) for key in _LOOKS}
    if asked["headers"] and looks["output"] != "json":
        raise click.UsageError("--headers needs -o json: a line has no place for them")
    if looks["timestamps"] is not None and looks["output"] == "json":
        raise click.UsageError("-o json has the time in any case: leave --timestamps and --no-timestamps out")
    query = TapQuery(**asked)
    in_cluster = cluster_target(targets)
    _insist_on_its_own(_PLAN if in_cluster else _CLUSTER, targets[0])
    if in_cluster:
        _tap_cluster(in_cluster, query, looks, **{key: options[key] for key in _CLUSTER})
        return
    plan = _plan(_proxies(targets), **{key: options[key] for key in _PLAN})

    def start(reactor: Any, printer: Printer) -> TapSession:
        return TapSession(reactor, plan, query.request, printer.show, printer.say)

    _watch(start, several=len(targets) > 1, **looks)


def _tap_cluster(
    written: str,
    query: TapQuery,
    looks: dict[str, Any],
    *,
    namespace: str | None,
    context: str | None,
    kubeconfig: Path | None,
) -> None:
    from meshtx.cli.tap_cluster import ClusterTap
    from meshtx.kube.api import KubeApi

    config = load(kubeconfig, context)
    try:
        target = TapTarget.written(written, namespace or namespace_of(kubeconfig, context))
    except NoTarget as error:
        raise click.UsageError(str(error)) from error

    def start(reactor: Any, printer: Printer) -> ClusterTap:
        return ClusterTap(KubeApi(reactor, config), target, query, printer.show, printer.say)

    _watch(start, several=target.resource != "pods" or not target.name, **looks)


def _insist_on_its_own(others: tuple[str, ...], target: str) -> None:
    """Refuse options that nothing would read; those that only the environment gives may be for other calls."""
    context = click.get_current_context()
    for key in others:
        if context.get_parameter_source(key) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{key.replace('_', '-')} says nothing of {target!r}")


def _proxies(targets: tuple[str, ...]) -> tuple[ProxyTarget, ...]:
    return tuple(map(_proxy, targets))


def _proxy(target: str) -> ProxyTarget:
    try:
        proxy = ProxyTarget.parse(target)
        _name(proxy.name)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=repr(target)) from error
    return proxy


_QUERY = ("methods", "path", "authority", "peer", "proxy", "sources", "destinations", "headers")
_LOOKS = ("output", "timestamps", "color", "max_lines")
_CLUSTER = ("namespace", "context", "kubeconfig")
_PLAN = (
    "proxy_name",
    "directory_file",
    "trust_anchors_file",
    "name",
    "token_file",
    "identity_address",
    "identity_name",
    "certificate_file",
    "key_file",
)


def _plan(
    targets: tuple[ProxyTarget, ...],
    *,
    proxy_name: str | None,
    directory_file: Path | None,
    trust_anchors_file: Path | None,
    **own: Any,
) -> TapPlan:
    if trust_anchors_file is None:
        raise click.UsageError("--trust-anchors-file is missing: whom to believe that a proxy is who it should be")
    if proxy_name:
        targets = tuple(target if target.name else replace(target, name=proxy_name) for target in targets)
    return TapPlan(targets, _own(**own), trust_anchors_file, directory_file)


def _own(
    *,
    name: Name | None,
    token_file: Path | None,
    identity_address: Any,
    identity_name: Name | None,
    certificate_file: Path | None,
    key_file: Path | None,
) -> FromFiles | ByToken:
    files = (certificate_file, key_file)
    service = (name, token_file, identity_address)
    if certificate_file and key_file and not any((*service, identity_name)):
        return FromFiles(certificate_file, key_file)
    if name and token_file and identity_address and not any(files):
        scope = name.scope
        expected = identity_name or scope.name(scope.control_namespace, "meshtx-identity")
        return ByToken(name, identity_address, expected, token_file)
    raise click.UsageError(
        "who you are is missing or said twice: give --name, --token-file and --identity-address,"
        " or --certificate-file and --key-file"
    )


class Session(Protocol):
    """A tap, or several."""

    async def run(self) -> bool:
        """Return once it has ended; say whether all went well."""

    def stop(self) -> None:
        """End it."""


def _watch(
    start: Callable[[Any, Printer], Session],
    *,
    several: bool,
    output: str,
    timestamps: bool | None,
    color: str,
    max_lines: int | None,
) -> None:
    """Run a tap until it is done or the user interrupts it, which is no failure.

    :param start: makes it; gets the reactor (Any: a reactor has no one type).
    :raises MeshtxError: as it did, or lines cannot be written.
    """
    stdout = StandardOutput(sys.stdout)
    columns = stdout.columns if stdout.is_terminal else None
    form = choose(output, color=wants_color(color, stdout, os.environ), timestamps=timestamps, columns=columns)

    async def run(reactor: Any) -> bool:
        printer = Printer(form, stdout, reactor, most=max_lines, several=several)
        return await _print(start(reactor, printer), printer)

    if react(run) is False:
        raise click.exceptions.Exit(1)


async def _print(session: Session, printer: Printer) -> bool:
    printer.over.addCallback(lambda _: session.stop())
    interrupted = False
    try:
        return await session.run()
    except CancelledError:
        interrupted = True
        raise
    finally:
        printer.finish(interrupted=interrupted)
