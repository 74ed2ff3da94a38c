"""A list of the API in pages: fewer objects at a time where so many would be too long an answer.

How long objects are is their authors' affair: whoever may make pods could else keep all of them from being listed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from meshtx.kube.api_errors import ApiTooLong, Object
from meshtx.kube.watch_events import metadata_of

PAGE = 500
"""Objects in one answer, where they are as long as most are."""


class Gets(Protocol):
    """What is needed of `meshtx.kube.api.KubeApi`."""

    async def get(self, path: str, **query: str | int | bool) -> Object:
        """Return an object."""
        ...


async def pages(api: Gets, path: str, **query: str) -> AsyncIterator[Object]:
    """Give the pages of a list, one after another.

    :raises ApiError: as for `meshtx.kube.api.KubeApi.get`; with the status 410, the list has changed too much to go on.
    """
    limit = PAGE
    more: dict[str, str] = {}
    while True:
        try:
            page = await api.get(path, limit=limit, **query, **more)
        except ApiTooLong:
            if limit == 1:
                raise
            limit = max(limit // 8, 1)
            continue
        yield page
        following = metadata_of(page).get("continue")
        if not following:
            return
        more = {"continue": str(following)}
