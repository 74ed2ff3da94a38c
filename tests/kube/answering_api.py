"""An API client that answers what a test wants, where a real API server could not be made to."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred


class AnsweringApi:
    """Stands in for `meshtx.kube.api.KubeApi`: each request is kept, and answered by the next of `answers`.

    An answer is returned, or raised where it is an exception; without any left a request waits.
    """

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, Any]] = []

    async def post(self, path: str, body: Any) -> Any:
        return await self._answer("POST", path, body)

    async def patch(self, path: str, body: Any) -> Any:
        return await self._answer("PATCH", path, body)

    async def _answer(self, method: str, path: str, body: Any) -> Any:
        self.asked.append((method, path, body))
        answer = self.answers.pop(0) if self.answers else Deferred()
        if isinstance(answer, Exception):
            raise answer
        return await answer if isinstance(answer, Deferred) else answer
