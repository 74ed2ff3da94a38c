"""``meshtx inject``: mark the pods of manifests, so that the cluster gives them their proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_never

import click

from meshtx.cli.options import PathType
from meshtx.cli.yaml_edit import Node, Shared, Text
from meshtx.errors import ConfigError, said_by_system
from meshtx.kube.annotations import DISABLED, ENABLED, INJECT
from meshtx.kube.injection import Injected, Refused, Skipped, inject, labels_of
from meshtx.kube.sidecar import Values
from meshtx.kube.workloads import GROUPS, template_path

MAX_LENGTH = 64 * 1024 * 1024
"""Bytes; the largest collections of manifests have some 10 MB."""

_AS_API = "write it as Kubernetes reads it"

_ANY = Values(image="-", version="-", trust_anchors="", trust_digest="", identity_address="", directory_address="")
"""What would be injected is the cluster's matter; here it is only asked whether it would."""


@click.command("inject")
@click.argument("file", type=PathType(path_type=Path, allow_dash=True))
@click.option("--disable", is_flag=True, help="Mark them as left out instead.")
def command(file: Path, disable: bool) -> None:
    """Print the manifests of FILE ('-': standard input), marked for the mesh, for "kubectl apply -f -".

    The label meshtx.io/inject is set on what describes pods, and on namespaces; nothing else changes, no comment and no
    spelling. What cannot be meshed is left as it is, and said on standard error.
    """
    name = "standard input" if str(file) == "-" else str(file)
    text = Text(_read(file, name), name)
    wanted = DISABLED if disable else ENABLED
    marked = []
    for number, node in enumerate(_objects(text)):
        path = _path(text, node)
        if path is None:
            continue
        what = f"{_scalar(text, node, 'kind').lower()}/{_name(text, node)}"
        kept = _why_not(text, node, path, wanted, what)
        if not kept:
            _mark(text, node, path, wanted, f"{name}: {what}")
            marked.append((number, path))
        click.echo(f"{what}: {f'left as it is: {kept}' if kept else wanted}", err=True)
    edited = text.edited()
    _verify(edited, text, marked, wanted, name)
    click.echo(edited.encode("utf-8"), nl=False)


def _read(file: Path, name: str) -> str:
    hint = "name a file of manifests in UTF-8"
    try:
        with click.open_file(str(file), "rb") as opened:
            data: bytes = opened.read(MAX_LENGTH + 1)
    except OSError as error:
        raise ConfigError(name, said_by_system(error), hint) from error
    if len(data) > MAX_LENGTH:
        raise ConfigError(name, f"longer than {MAX_LENGTH} bytes", "give its parts one by one")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(name, str(error), hint) from error


def _objects(text: Text) -> Iterator[Node]:
    """Give each object: a List's are its items."""
    waiting = list(reversed(text.documents))
    while waiting:
        node = waiting.pop()
        parts = text.mapping(node)
        if _scalar(text, node, "kind").endswith("List") and "items" in parts:
            waiting.extend(reversed(text.items(parts["items"])))
        else:
            yield node


def _mark(text: Text, node: Node, path: tuple[str, ...], wanted: str, what: str) -> None:
    try:
        text.put(node, (*path, "metadata", "labels", INJECT), wanted)
    except Shared as error:
        raise ConfigError(what, str(error), "write it out, so that the label is the pods' alone") from error
    except TypeError as error:
        raise ConfigError(what, str(error), _AS_API) from error


def _why_not(text: Text, node: Node, path: tuple[str, ...], wanted: str, what: str) -> str | None:
    """Return why something is not marked.

    :raises ConfigError: the cluster would refuse its pods.
    """
    found = text.value(_at(text, node, path))
    template: dict[str, Any] = found if isinstance(found, dict) else {}
    try:
        if labels_of(template).get(INJECT) == wanted:
            return f"it says {wanted} already"
        if wanted == DISABLED or template.get("kind") == "Namespace":
            return None
        outcome = inject(template, "default", {}, _ANY)
    except (AttributeError, TypeError, KeyError) as error:
        raise ConfigError(what, "a part of it is of another type than the API's", _AS_API) from error
    match outcome:
        case Skipped(reason, _):
            return reason.value
        case Refused(problem):
            raise ConfigError(what, problem, "mend it and inject it again")
        case Injected(_, warnings):
            for warning in warnings:
                click.echo(f"{what}: {warning}", err=True)
            return None
        case _:
            assert_never(outcome)


def _path(text: Text, node: Node) -> tuple[str, ...] | None:
    """Return where an object has the metadata that is to be marked, ``None`` if it is none of those kinds."""
    kind, version = _scalar(text, node, "kind"), _scalar(text, node, "apiVersion")
    group = version.rpartition("/")[0]
    if kind == "Namespace" and version == "v1":
        return ()
    return template_path(kind) if GROUPS.get(kind) == group and version else None


def _at(text: Text, node: Node, path: tuple[str, ...]) -> Node:
    for key in path:
        node = text.mapping(node).get(key, node)
    return node


def _scalar(text: Text, node: Node, key: str) -> str:
    found = text.mapping(node).get(key)
    return str(found.value) if found is not None and found.id == "scalar" else ""


def _name(text: Text, node: Node) -> str:
    metadata = text.mapping(node).get("metadata")
    return (_scalar(text, metadata, "name") or f"{_scalar(text, metadata, 'generateName')}*") if metadata else "?"


def _verify(edited: str, before: Text, marked: list[tuple[int, tuple[str, ...]]], wanted: str, name: str) -> None:
    """Read what is to be printed once more: an odd spelling must not make it another document.

    :raises ConfigError: it is not what was read, with the label.
    """
    expected = [before.value(node) for node in _objects(before)]
    for number, path in marked:
        if expected[number] is None:
            raise ConfigError(name, "an object has values that are not YAML's own, or is too deep", _AS_API)
        _label(expected[number], path, wanted)
    odd = ConfigError(name, "its spelling does not let a label in", "write it as kubectl prints it")
    try:
        after = Text(edited, name)
    except ConfigError as error:
        raise odd from error
    if expected != [after.value(node) for node in _objects(after)]:
        raise odd


def _label(thing: dict[str, Any], path: tuple[str, ...], wanted: str) -> None:
    """Set the label on a value."""
    for key in (*path, "metadata", "labels"):
        if not thing.get(key):
            thing[key] = {}
        thing = thing[key]
    thing[INJECT] = wanted
