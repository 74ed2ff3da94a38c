"""A name has exactly one spelling."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.pki.name import InvalidName, MeshScope, Name

LABELS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20)


class NameTests(SynchronousTestCase):
    def test_the_parts_are_found(self) -> None:
        self.assertEqual(
            Name.parse("web.emojivoto.serviceaccount.identity.linkerd.prod.example.org"),
            Name("web", "emojivoto", MeshScope("linkerd", "prod.example.org")),
        )

    def test_the_spiffe_form(self) -> None:
        self.assertEqual(MeshScope().name("shop", "web").spiffe, "spiffe://cluster.local/ns/shop/sa/web")

    @given(LABELS, LABELS, LABELS, st.lists(LABELS.map("d".__add__), min_size=1, max_size=4))
    def test_what_is_printed_parses_to_the_same(self, sa: str, ns: str, control: str, domain: list[str]) -> None:
        name = MeshScope(control, ".".join(domain)).name(ns, sa)
        self.assertEqual(Name.parse(str(name)), name)

    @given(LABELS, LABELS, LABELS, st.lists(LABELS.map("d".__add__), min_size=1, max_size=4))
    def test_a_short_name_is_completed_to_the_same(self, sa: str, ns: str, control: str, domain: list[str]) -> None:
        scope = MeshScope(control, ".".join(domain))
        name = scope.name(ns, sa)
        self.assertEqual(scope.shorten(str(name)), f"{sa}.{ns}")
        self.assertEqual(scope.complete(scope.shorten(str(name))), name)
        self.assertEqual(MeshScope.parse(str(scope)), scope)

    def test_only_names_of_the_own_mesh_are_short(self) -> None:
        own = MeshScope()
        for scope in (
            MeshScope("linkerd"),
            MeshScope("meshtx", "example.org"),
            MeshScope("a", f"b.serviceaccount.identity.{own}"),  # ends as the own ones do
        ):
            text = str(scope.name("shop", "web"))
            self.assertEqual(own.shorten(text), text)
        self.assertEqual(own.shorten(""), "")

    @given(st.text(max_size=80))
    def test_what_parses_prints_as_it_was(self, text: str) -> None:
        try:
            name = Name.parse(text)
        except InvalidName:
            return
        self.assertEqual(str(name), text)

    def test_other_spellings_are_refused(self) -> None:
        good = "web.shop.serviceaccount.identity.meshtx.cluster.local"
        for text in (
            "",
            "web",
            good + ".",
            "." + good,
            good.upper(),
            "Web" + good[3:],
            good + "\n",
            " " + good,
            "*" + good[3:],
            good.replace("serviceaccount", "pod"),
            good.replace("identity", "id"),
            good.replace(".cluster.local", ""),
            good.replace("shop.", ""),
            good.replace("shop", "-shop"),
            good.replace("shop", "shop-"),
            good.replace("shop", "sh_op"),
            good.replace("shop", "shöp"),
            good.replace("shop", "s" * 64),
            good.replace("web.", "web.v2."),
            good.replace("local", "42"),
            good.replace("local", ".".join(["x" * 63] * 4)),
            "1.2.3.4",
        ):
            with self.assertRaises(InvalidName, msg=text):
                Name.parse(text)

    def test_the_longest_name(self) -> None:
        scope = MeshScope("c", ".".join(["x" * 63, "y" * 63, "z" * 60]))
        room = 253 - len(str(scope.name("n", "s"))) + 1
        self.assertEqual(len(str(scope.name("n", "s" * room))), 253)
        self.assertRaises(InvalidName, scope.name, "n", "s" * (room + 1))

    def test_the_message_says_which_part_is_wrong(self) -> None:
        error = self.assertRaises(InvalidName, MeshScope().name, "shop", "web.v2")
        self.assertEqual(
            str(error),
            "service account 'web.v2' is not a DNS label (lower-case letters, digits and '-', at most 63)",
        )


class MeshScopeTests(SynchronousTestCase):
    def test_parts_that_are_no_labels_are_refused(self) -> None:
        for control, domain in (("a.b", "c"), ("", "c"), ("a", ""), ("a", "c."), ("a", "C"), ("a", "1.2"), ("a", "*")):
            with self.assertRaises(InvalidName, msg=(control, domain)):
                MeshScope(control, domain)
