"""``meshtx tap deploy/web``: a stream of the API server's, which the mesh's directory fills."""

from __future__ import annotations

import json
from collections.abc import Callable

from google.protobuf.json_format import ParseDict, ParseError
from twisted.internet.defer import CancelledError, Deferred, succeed

from meshtx.errors import PeerError
from meshtx.kube.api import ApiError, ApiForbidden, ApiRefused, KubeApi
from meshtx.kube.tap_names import API_SERVICE, GROUP
from meshtx.kube.tap_target import VERB, TapTarget
from meshtx.observe.printable import printable
from meshtx.observe.tap_query import TapQuery
from meshtx.pki.name import MeshScope
from meshtx.rpc.messages.tap_pb2 import TapEvent

SILENCE = 35.0
"""Seconds: three times as long as the directory is ever silent, and a little more."""


class ClusterTap:
    """One tap through the API server.

    :param on_event: prints what a pod's proxy saw; gets the cluster's mesh with it, if the directory has said that.
    :param say: tells the user how it goes.
    """

    def __init__(
        self,
        api: KubeApi,
        target: TapTarget,
        query: TapQuery,
        on_event: Callable[[str, TapEvent, MeshScope | None], None],
        say: Callable[[str], None],
    ) -> None:
        self._api = api
        self._target = target
        self._query = query
        self._on_event = on_event
        self._say = say
        self._mesh: MeshScope | None = None
        self._stopped = False
        self._stream: Deferred[None] = succeed(None)

    async def run(self) -> bool:
        """Return once the tap was ended, from the other side or by `stop`. Cancel it to interrupt.

        :raises MeshtxError: there is no tap, or it was cut.
        """
        self._stream = self._api.stream(self._target.path, self._query.query(), self._line, silence=SILENCE)
        try:
            await self._stream
            self._say("the directory has ended the tap")
        except CancelledError:
            if not self._stopped:
                raise
        except ApiError as error:
            raise PeerError(self._words(error)) from error
        finally:
            await self._api.close()
        return True

    def stop(self) -> None:
        """End the tap."""
        self._stopped = True
        self._stream.cancel()

    def _line(self, line: bytes) -> None:
        """Take a line (`meshtx.kube.tap_relay`).

        :raises PeerError: it is none of the directory's.
        """
        try:
            said = json.loads(line)
            pod, event = str(said["pod"]), ParseDict(said.get("event", {}), TapEvent(), ignore_unknown_fields=True)
            if "mesh" in said:
                self._mesh = MeshScope.parse(said["mesh"])
        except (ValueError, TypeError, KeyError, AttributeError, ParseError) as error:
            raise PeerError(f"a line of the API server's makes no sense: {printable(repr(line[:100]))}") from error
        if "event" in said:
            self._on_event(pod, event, self._mesh)
        else:
            self._say(f"{printable(pod)}: {printable(str(said.get('said')))}")

    def _words(self, error: ApiError) -> str:
        """Return what is wrong, and what to do about it."""
        target = self._target
        match error:
            case ApiForbidden(status=401):
                return f"{error}; the cluster does not know you: log in to it anew"
            case ApiForbidden():
                return (
                    f"{error.message or error}; this takes '{VERB}' on {target.right}: ask for the"
                    f" ClusterRole meshtx-tap in namespace {target.namespace}"
                )
            case ApiRefused(status=404, reason="") | ApiRefused(status=404, message=""):
                return f"the cluster has no API {GROUP}: install meshtx there ('meshtx install')"
            case ApiRefused():
                return error.message or str(error)
        return f"{error}; whether the tap API works is said by: kubectl get apiservice {API_SERVICE}"
