"""Patches say what they must, and applied they give what was wanted."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.json_patch import difference

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["a", "b"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b/c", "d~e", ""]), inner),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "b/c", "d~e", ""]), VALUES)


def apply(value: Any, patch: list[dict[str, Any]]) -> Any:
    """Apply a patch as RFC 6902 has it: a parent that is not there is an error."""
    value = {"root": deepcopy(value)}
    for operation in patch:
        *parents, last = [
            "root",
            *(part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]),
        ]
        where: Any = value
        for part in parents:
            where = where[int(part)] if isinstance(where, list) else where[part]
        if isinstance(where, list):
            assert operation["op"] == "add"
            assert int(last) <= len(where)
            where.insert(int(last), operation["value"])
        elif operation["op"] == "add":
            where[last] = operation["value"]
        else:
            assert last in where
            if operation["op"] == "remove":
                del where[last]
            else:
                where[last] = operation["value"]
    return value["root"]


class DifferenceTests(SynchronousTestCase):
    @given(OBJECTS, OBJECTS)
    def test_applied_it_gives_the_later_value(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        self.assertEqual(apply(before, difference(before, after)), after)

    def test_equal_values_need_none(self) -> None:
        self.assertEqual(difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}), [])

    def test_a_parent_that_is_missing_comes_whole_and_keys_are_escaped(self) -> None:
        self.assertEqual(
            difference({"m": {}}, {"m": {"annotations": {"meshtx.io/a~b": "c"}}}),
            [{"op": "add", "path": "/m/annotations", "value": {"meshtx.io/a~b": "c"}}],
        )
        self.assertEqual(
            difference({"a": {}}, {"a": {"meshtx.io/a~b": "c"}}),
            [{"op": "add", "path": "/a/meshtx.io~1a~0b", "value": "c"}],
        )

    def test_what_is_put_into_a_list_leaves_the_rest_of_it(self) -> None:
        self.assertEqual(
            difference({"l": [1, 2]}, {"l": [0, 1, 5, 2, 6]}),
            [
                {"op": "add", "path": "/l/0", "value": 0},
                {"op": "add", "path": "/l/2", "value": 5},
                {"op": "add", "path": "/l/4", "value": 6},
            ],
        )

    def test_any_other_change_of_a_list_replaces_it(self) -> None:
        self.assertEqual(difference({"l": [1, 2]}, {"l": [2, 1]}), [{"op": "replace", "path": "/l", "value": [2, 1]}])
