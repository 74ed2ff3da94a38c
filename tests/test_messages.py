"""The messages that programs of two releases send each other keep to ``messages.txt``, field by field.

Protobuf passes over a field that it does not know, and reads one that is missing as empty. So a field may be added, and
nothing else may change: a number means the same for ever.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from twisted.trial.unittest import SynchronousTestCase

from meshtx.rpc import messages as rpc_messages
from meshtx.wire import messages as wire_messages

RECORD = Path(__file__).with_name("messages.txt")
CHANGED = (
    "removed, renumbered or of another type: programs of the last release would misread it. Leave it as it is, and add"
    " a field with a number of its own, as docs/upgrades.md says"
)
ADDED = f"new, and from its first release on for ever; add these lines to tests/{RECORD.name}"


def files() -> Iterator[FileDescriptor]:
    for package in (rpc_messages, wire_messages):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(module.name).DESCRIPTOR


def described(file: FileDescriptor) -> Iterator[str]:
    for message in file.message_types_by_name.values():
        yield from _message(message)
    for enum in file.enum_types_by_name.values():
        yield from (f"{enum.full_name} {value.number} {value.name}" for value in enum.values)
    for service in file.services_by_name.values():
        for method in service.methods:
            answer = "stream " * method.server_streaming + method.output_type.full_name
            yield f"/{service.full_name}/{method.name} {method.input_type.full_name} -> {answer}"


def _message(message: Descriptor) -> Iterator[str]:
    for field in message.fields:
        yield f"{message.full_name} {field.number} {field.name} {_type(field)}"
    for nested in message.nested_types:
        yield from _message(nested)
    for enum in message.enum_types:
        yield from (f"{enum.full_name} {value.number} {value.name}" for value in enum.values)


def _type(field: FieldDescriptor) -> str:
    kinds = {getattr(FieldDescriptor, name): name[5:].lower() for name in vars(FieldDescriptor) if name[:5] == "TYPE_"}
    named = field.message_type or field.enum_type
    words = ["repeated"] if field.is_repeated else []
    words.append(named.full_name if named else kinds[field.type])
    if field.containing_oneof:
        words.append(f"in {field.containing_oneof.name}")
    return " ".join(words)


class MessagesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.recorded = set(RECORD.read_text().splitlines())
        self.found = {line for file in files() for line in described(file)}

    def test_what_a_release_has_said_once_is_said_the_same_way(self) -> None:
        self.assertEqual(sorted(self.recorded - self.found), [], CHANGED)

    def test_what_is_new_is_recorded(self) -> None:
        self.assertEqual(sorted(self.found - self.recorded), [], ADDED)
