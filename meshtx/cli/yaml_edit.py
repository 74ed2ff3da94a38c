"""Changes of a few values in YAML that somebody wrote: everything else stays, to the byte.

PyYAML says where in the text each value stands. A label is put there, in the way in which its neighbours are written,
instead of writing the document anew, which would lose comments, order and spelling.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from meshtx.cli.documents import load_yaml
from meshtx.errors import ConfigError

Node = Any
"""A node of PyYAML's, which is an optional package: no type of it is here."""


_HINT = "write YAML or JSON as Kubernetes reads it"
_MERGE = "<<"
"""The key that takes in another mapping's keys."""


MOST_MEANT = 5_000_000
"""Nodes of one text, those behind an alias counted each time: a few lines of aliases of aliases can mean any number."""


class Shared(Exception):
    """A place is written once and meant in several (an alias): what is changed there changes elsewhere."""


class Text:
    """A text of YAML documents, and the changes that are to be made to it.

    :param name: of the text, in errors.
    :raises ConfigError: it is no YAML, or aliases in it have no end; or there is no PyYAML.
    """

    def __init__(self, text: str, name: str) -> None:
        self._yaml = yaml = load_yaml()
        self._text = text
        self._name = name
        self._edits: dict[int, tuple[int, str]] = {}
        self._newline = "\r\n" if "\r\n" in text else "\n"
        try:
            self.documents: list[Node] = [node for node in yaml.compose_all(text, yaml.SafeLoader) if node is not None]
        except (yaml.YAMLError, RecursionError) as error:
            raise ConfigError(name, _said(error), _HINT) from error
        sizes: dict[int, int] = {}
        if sum(self._size(node, sizes) for node in self.documents) > MOST_MEANT:
            raise ConfigError(name, f"its aliases stand for more than {MOST_MEANT} values", _HINT)
        self._meant = Counter(id(child) for node in _every(self.documents) for child in _children(node))

    def mapping(self, node: Node) -> dict[str, Node]:
        """Return the values of a mapping by their keys; empty for anything else."""
        if not isinstance(node, self._yaml.MappingNode):
            return {}
        return {key.value: value for key, value in node.value if isinstance(key, self._yaml.ScalarNode)}

    def items(self, node: Node) -> list[Node]:
        """Return the items of a sequence; empty for anything else."""
        return list(node.value) if isinstance(node, self._yaml.SequenceNode) else []

    def value(self, node: Node) -> Any:  # Any: YAML
        """Return what a node means, ``None`` where it is no value of YAML's own tags, or too deep."""
        try:
            return self._yaml.SafeLoader("").construct_document(deepcopy(node))  # it writes into what it reads
        except (self._yaml.YAMLError, ValueError, RecursionError):
            return None

    def line(self, node: Node) -> int:
        """Return the number of the line where a node begins."""
        number: int = node.start_mark.line
        return number + 1

    def put(self, node: Node, path: tuple[str, ...], value: str) -> None:
        """Set a text within a mapping, by the keys that lead to it; those that are missing are made.

        :raises Shared: a part of the path is an alias, or has one.
        :raises TypeError: something in the path is no mapping.
        """
        key, *rest = path
        found = self.mapping(node).get(key)
        if not isinstance(node, self._yaml.MappingNode):
            raise TypeError(f"line {self.line(node)}: no mapping")
        if found is None and _MERGE in self.mapping(node):
            raise Shared(f"line {self.line(node)}: {key} may come from an alias ({_MERGE})")
        if found is None:
            self._insert(node, key, tuple(rest), value)
        elif self._meant[id(found)] > 1:
            raise Shared(f"line {self.line(found)}: {key} is shared by an alias")
        elif not rest or self._is_null(found):
            self._replace(found, _flow(tuple(rest), value))
        else:
            self.put(found, tuple(rest), value)

    def edited(self) -> str:
        """Return the text with its changes."""
        text = self._text
        for start, (end, new) in sorted(self._edits.items(), reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def _size(self, node: Node, sizes: dict[int, int]) -> int:
        """Return how many nodes one stands for.

        :param sizes: of those that are known, by `id`; 0: of those that it is within.
        """
        known = sizes.get(id(node))
        if known == 0:
            raise ConfigError(self._name, f"line {self.line(node)}: an alias of what it is a part of", _HINT)
        if known is None:
            sizes[id(node)] = 0
            known = sizes[id(node)] = 1 + sum(self._size(child, sizes) for child in _children(node))
        return known

    def _is_null(self, node: Node) -> bool:
        return bool(node.tag == "tag:yaml.org,2002:null")

    def _replace(self, node: Node, new: str) -> None:
        start, end = node.start_mark.index, node.end_mark.index
        self._edits[start] = (end, new if start < end else f" {new}")

    def _insert(self, node: Node, key: str, rest: tuple[str, ...], value: str) -> None:
        """Put a key before the first one, or into the braces of an empty mapping."""
        if not node.value:
            place = self._text.index("{", node.start_mark.index) + 1
            self._edits[place] = (place, f'"{key}": {_flow(rest, value)}')
            return
        place, column = self._first(node)
        if node.flow_style:
            new = f'"{key}": {_flow(rest, value)}, '
        else:
            lines = _block((key, *rest), value)
            new = "".join(f"{line}{self._newline}{' ' * column}" for line in lines)
        self._edits[place] = (place, new)

    def _first(self, node: Node) -> tuple[int, int]:
        """Return index and column of the first key of a mapping, or of the ``?`` before it."""
        mark = node.value[0][0].start_mark
        before = self._text[: mark.index].rstrip(" ")
        if not before.endswith("?"):
            return mark.index, mark.column
        return len(before) - 1, mark.column - (mark.index - len(before) + 1)


def _flow(path: tuple[str, ...], value: str) -> str:
    """Return a value as JSON has it, which every YAML takes."""
    return "".join(f'{{"{key}": ' for key in path) + f'"{value}"' + "}" * len(path)


def _block(path: tuple[str, ...], value: str) -> Iterator[str]:
    """Give the lines of a block, each below its neighbour, without their common indentation."""
    for depth, key in enumerate(path):
        last = depth == len(path) - 1
        yield f"{'  ' * depth}{key}:{f' {value}' if last else ''}"


def _every(documents: list[Node]) -> Iterator[Node]:
    """Give each node once, however often it is meant."""
    seen: set[int] = set()
    waiting = list(documents)
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting.extend(_children(node))


def _children(node: Node) -> list[Node]:
    if node.id == "mapping":
        return [part for pair in node.value for part in pair]
    return list(node.value) if node.id == "sequence" else []


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
