from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshtx import extensions
from meshtx.errors import ConfigError
from meshtx.identity.validators import load_validator
from meshtx.interfaces import ITokenValidator
from meshtx.pki.name import MeshScope, Name


@implementer(ITokenValidator)
class Good:
    name = "good"

    def validate(self, token: bytes, scope: MeshScope, now: float) -> Name:
        return scope.name("default", token.decode())


@implementer(ITokenValidator)
class Broken:
    name = "broken"


class ValidatorsTests(SynchronousTestCase):
    def offer(self, *plugins: object) -> None:
        self.patch(extensions, "getPlugins", lambda *_: list(plugins))

    def problem(self, name: str) -> str:
        with self.assertRaises(ConfigError) as caught:
            load_validator(name)
        return str(caught.exception)

    def test_the_one_of_that_name(self) -> None:
        good = Good()
        self.offer(Broken(), good)
        self.assertIs(load_validator("good"), good)

    def test_none_of_that_name(self) -> None:
        self.offer(Good())
        self.assertEqual(self.problem("godo"), "validator: there is no validator 'godo'; did you mean 'good'?")
        self.assertEqual(
            self.problem("x"), "validator: there is no validator 'x'; known: good, jwks, kubernetes, local"
        )

    def test_several_of_that_name(self) -> None:
        self.offer(Good(), Good())
        self.assertIn("2 validators are called 'good'", self.problem("good"))

    def test_one_that_does_not_fit(self) -> None:
        self.offer(Broken())
        self.assertIn("validator 'broken' is broken: ", self.problem("broken"))
