"""Redis for meshtx: every command becomes a request, its name the method. Keys and values are not looked at."""

from __future__ import annotations

import re
from collections import deque

from twisted.plugin import IPlugin
from zope.interface import implementer

from meshtx.interfaces import Detection, IDetector, IObserver
from meshtx.observe.flow import Flow, Request, Response, ResponseEnd, Seen
from meshtx_redis.resp import RespReader, Value

MAX_WAITING = 10_000
"""Pipelined commands without an answer."""
OK, ERROR = 0, 1
"""What stands for an HTTP status."""

_COMMAND = re.compile(rb"\*[1-9][0-9]{0,6}\r\n\$[0-9]")
_BEGUN = re.compile(rb"\*(?:[1-9][0-9]{0,6}(?:\r(?:\n\$?)?)?)?")
_NOT_ONE_TO_ONE = {"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR", "SYNC", "PSYNC"}
"""After these the server speaks unasked."""


@implementer(IPlugin, IDetector)
class RedisDetector:
    """Knows a connection by its first command, an array of strings."""

    name = "redis"

    def detect(self, first: bytes) -> Detection:
        if _COMMAND.match(first):
            return Detection.YES
        return Detection.MORE if _BEGUN.fullmatch(first) else Detection.NO

    def observer(self, flow: Flow) -> IObserver:
        return RedisObserver()


@implementer(IObserver)
class RedisObserver:
    """Matches answers to commands in their order."""

    def __init__(self) -> None:
        self.detached = False
        self._commands = RespReader()
        self._answers = RespReader()
        self._waiting: deque[int] = deque()
        self._count = 0

    def client_data(self, data: bytes) -> list[Seen]:
        seen: list[Seen] = []
        for value in self._commands.receive_data(data):
            if not isinstance(value, Value) or value.kind != "*" or len(self._waiting) >= MAX_WAITING:
                self.detached = True
                break
            command = value.word.upper()
            seen.append(Request(self._count, "redis", command, authority="", path=""))
            self._waiting.append(self._count)
            self._count += 1
            if command in _NOT_ONE_TO_ONE:
                self.detached = True
                break
        return seen

    def server_data(self, data: bytes) -> list[Seen]:
        seen: list[Seen] = []
        for value in self._answers.receive_data(data):
            if isinstance(value, Value) and value.kind == ">":  # a push: nobody asked
                continue
            if not isinstance(value, Value) or not self._waiting:
                self.detached = True
                break
            command = self._waiting.popleft()
            seen.append(Response(command, ERROR if value.kind in "-!" else OK))
            seen.append(ResponseEnd(command, value.size))
        return seen

    def ended(self, orderly: bool) -> list[Seen]:
        cut: list[Seen] = [ResponseEnd(command, 0, reset=-1) for command in self._waiting]
        self._waiting.clear()
        return cut
