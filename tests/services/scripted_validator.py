"""A token validator that does what the token says, for a real ``meshidentity`` that finds it as any user's plugin."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.plugin import IPlugin
from zope.interface import implementer

from meshtx.identity.validator import ValidatorUnavailable
from meshtx.interfaces import ITokenValidator
from meshtx.pki.name import MeshScope

MODULE = "from tests.services.scripted_validator import Scripted\n\nscripted = Scripted()\n"
"""What stands in a file of ``meshtx/plugins/``."""


@implementer(ITokenValidator, IPlugin)
class Scripted:
    """Believes each token that has nothing to say."""

    name = "scripted"

    def validate(self, token: bytes, scope: MeshScope, _now: float) -> Any:
        match token:
            case b"unavailable":
                raise ValidatorUnavailable("the cluster is out of reach")
            case b"failing":
                raise KeyError(token)
            case b"no name":
                return token
            case _ if token.startswith(b"silent"):
                return Deferred()
            case _:
                return scope.name("emojivoto", "web")
