"""``meshtx tap``: the options, and the lines."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from meshtx.cli.kubeconfig import load, namespace_of
from meshtx.cli.options import PATH, KindType
from meshtx.cli.reacting import react
from meshtx.cli.tap_session import (
    ByToken,
    Enough,
    FromFiles,
    ProxyTarget,
    TapPlan,
    TapSession,
)
from meshtx.cli.tap_words import cluster_target
from meshtx.config_values import ENDPOINT, NAME
from meshtx.errors import OutputError
from meshtx.kube.tap_target import NoTarget, TapTarget
from meshtx.observe.flow import Direction
from meshtx.observe.tap_lines import json_line, text_line
from meshtx.observe.tap_match import Place
from meshtx.observe.tap_query import TapQuery
from meshtx.pki.name import InvalidName, MeshScope, Name
from meshtx.rpc.messages.tap_pb2 import TapEvent


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
@click.option("--headers", is_flag=True, help="With -o json: headers too. They may hold secrets of the applications.")
@click.option("--max-lines", type=click.IntRange(min=1), help="End after as many lines.")
def command(targets: tuple[str, ...], output: str, max_lines: int | None, **options: Any) -> None:
    """Show connections and requests as they happen, as the proxies see them.

    In a cluster, name a workload as for kubectl: deploy (all Deployments of the namespace), deploy/web or deploy web
    (one of them); likewise sts, ds, rs, rc, job, cronjob and pod; ns/emojivoto is a whole namespace. This takes a right
    of the cluster, and no certificate.

    Elsewhere, give the addresses of proxies, each with the name that it must prove. A host with the name of a kind
    needs its port: job:4190.

    Without filters everything is shown; all filters that are given must hold. Ctrl-C ends it.
    """
    asked = {key: options.pop(key) for key in _QUERY}
    if asked["headers"] and output != "json":
        raise click.UsageError("--headers needs -o json: a line has no place for them")
    query = TapQuery(**asked)
    in_cluster = cluster_target(targets)
    _insist_on_its_own(_PLAN if in_cluster else _CLUSTER, targets[0])
    if in_cluster:
        _tap_cluster(in_cluster, query, output, max_lines, **{key: options[key] for key in _CLUSTER})
    else:
        plan = _plan(_proxies(targets), **{key: options[key] for key in _PLAN})
        printer = Printer(output, max_lines, several=len(targets) > 1)
        _watch(lambda reactor: TapSession(reactor, plan, query.request, printer.show, _say).run())


def _tap_cluster(
    written: str,
    query: TapQuery,
    output: str,
    max_lines: int | None,
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
    printer = Printer(output, max_lines, several=target.resource != "pods" or not target.name)
    _watch(lambda reactor: ClusterTap(KubeApi(reactor, config), target, query, printer.show, _say).run())


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


class Printer:
    """Prints each event as a line.

    :param output: ``text``, ``wide`` or ``json``.
    :param several: lines say which proxy they come from, in the forms that have a place for it.
    """

    def __init__(self, output: str, max_lines: int | None, *, several: bool) -> None:
        self._output = output
        self._left = max_lines
        self._several = several

    def show(self, target: object, event: TapEvent) -> None:
        """Print one.

        :param target: what it is about, in words.
        :raises Enough: it was the last, or nobody reads any more.
        :raises OutputError: it cannot be written.
        """
        if self._left == 0:
            raise Enough
        try:
            click.echo(self._line(str(target) if self._several else "", event))
        except BrokenPipeError as error:
            raise Enough from error
        except OSError as error:
            raise OutputError(error) from error
        if self._left is not None:
            self._left -= 1
            if not self._left:
                raise Enough

    def _line(self, target: str, event: TapEvent) -> str:
        if self._output == "json":
            return json_line(event, target=target)
        wide = self._output == "wide"
        return text_line(event, wide=wide, target=target if wide else "")


def _say(text: str) -> None:
    click.echo(f"meshtx: {text}", err=True)


def _watch(main: Callable[[Any], Coroutine[Any, Any, bool]]) -> None:
    """Run a tap until it is done or the user interrupts it, which is no failure.

    :raises MeshtxError: as `main` did.
    """
    if react(main) is False:
        raise click.exceptions.Exit(1)
