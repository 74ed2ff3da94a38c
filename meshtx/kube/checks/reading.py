"""Reads what the checks look at, a few requests at a time; a key is forgotten before anything is kept of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore, FirstError, ensureDeferred, gatherResults

from meshtx import __version__
from meshtx.errors import MeshtxError
from meshtx.kube.api_errors import ApiForbidden, ApiRefused, ApiUnavailable, Object
from meshtx.kube.checks.install import needed_rights
from meshtx.kube.checks.resources import RESOURCES, Resource
from meshtx.kube.checks.snapshot import Absent, Found, Key, Read, Server, Snapshot, Unread, expected
from meshtx.kube.injected_values import server_version
from meshtx.kube.pages import pages
from meshtx.kube.self_check import Rule, missing

AT_ONCE = 6
"""Requests."""
_PAGES_ANEW = 2
"""Tries of a list whose next page has expired."""
_SELF_REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

A = TypeVar("A")
B = TypeVar("B")


class IsApi(Protocol):
    """What is asked of the API."""

    async def get(self, path: str, **query: str | int | bool) -> Object:
        """Return an object."""

    async def post(self, path: str, body: Object, **query: str | int | bool) -> Object:
        """Create one."""


class Reader:
    """Reads a cluster.

    :param url: of the API server, for the user.
    :param now: gives an aware time.
    """

    def __init__(self, api: IsApi, url: str, namespace: str, now: Callable[[], datetime]) -> None:
        self._api = api
        self._url = url
        self._namespace = namespace
        self._now = now
        self._places = DeferredSemaphore(AT_ONCE)

    async def installed(self) -> Snapshot:
        """Return all that is looked at after an installation.

        :raises ApiError: the API does not answer, or does not know the user.
        """
        server = await self._server()
        objects = await self._objects()
        everywhere = ("Namespace", "Pod", "Service")
        namespaces, pods, services = await self._several(self._list, [(RESOURCES[kind], "") for kind in everywhere])
        slices = await self._list((RESOURCES["EndpointSlice"], self._namespace))
        return Snapshot(self._namespace, __version__, self._now(), server, objects, namespaces, pods, services, slices)

    async def before(self) -> Snapshot:
        """Return all that is looked at before an installation.

        :raises ApiError: as for `installed`.
        """
        server = await self._server()
        objects = await self._objects()
        rights = needed_rights(expected(self._namespace).values())
        allowed = await self._several(self._is_allowed, rights)
        return Snapshot(
            self._namespace,
            __version__,
            self._now(),
            server,
            objects,
            rights=dict(zip(rights, allowed, strict=True)),
        )

    async def _server(self) -> Server:
        said = await self._api.get("/version")
        try:
            version = server_version(said)
        except MeshtxError as error:
            raise ApiUnavailable(str(error)) from error
        before = self._now()
        try:
            review = await self._api.post(_SELF_REVIEWS, {})
        except (ApiForbidden, ApiRefused) as error:
            if error.status == 401:
                raise
            return Server(self._url, version, str(said.get("gitVersion", "")))
        user = ((review.get("status") or {}).get("userInfo") or {}).get("username", "")
        made = (review.get("metadata") or {}).get("creationTimestamp")
        return Server(self._url, version, str(said.get("gitVersion", "")), user, _ahead(made, before, self._now()))

    async def _objects(self) -> Mapping[Key, Read[Object]]:
        keys = [*expected(self._namespace)]
        found = await self._several(self._object, keys)
        return dict(zip(keys, found, strict=True))

    async def _object(self, key: Key) -> Read[Object]:
        resource = RESOURCES[key.kind]
        try:
            found = await self._api.get(resource.path(key.namespace, key.name))
        except ApiForbidden as error:
            return _forbidden(error, resource.rule("get", key.namespace, key.name))
        except ApiRefused as error:
            if error.status != 404:
                raise
            return Absent()
        return Found(_kept(found, key.kind))

    async def _list(self, what: tuple[Resource, str]) -> Read[Sequence[Object]]:
        resource, namespace = what
        for last in (*[False] * (_PAGES_ANEW - 1), True):
            try:
                return Found(await self._pages(resource.path(namespace)))
            except ApiForbidden as error:
                return _forbidden(error, resource.rule("list", namespace))
            except ApiRefused as error:
                if error.status != 410 or last:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _pages(self, path: str) -> list[Object]:
        return [_kept(each) async for page in pages(self._api, path) for each in page.get("items") or ()]

    async def _is_allowed(self, rule: Rule) -> bool:
        return not await missing(self._api, [rule])

    async def _several(self, ask: Callable[[A], Awaitable[B]], of: Iterable[A]) -> list[B]:
        def one(each: A) -> Deferred[B]:
            return ensureDeferred(_awaited(ask(each)))

        running = [self._places.run(one, each) for each in of]
        try:
            return await gatherResults(running, consumeErrors=True)
        except FirstError as error:
            for each in running:
                each.cancel()
            error.subFailure.raiseException()


async def _awaited(answer: Awaitable[B]) -> B:
    return await answer


def _forbidden(error: ApiForbidden, rule: Rule) -> Unread:
    """Return what is not known; who is not known to the server at all has a problem of another sort."""
    if error.status == 401:
        raise error
    return Unread(f"the user may not {rule}")


def _kept(found: Object, kind: str = "") -> Object:
    """Return what is kept of an object: no key, and not who wrote which field."""
    found["metadata"].pop("managedFields", None)
    if kind == "Secret":
        data = found.get("data") or {}
        found["data"] = {name: text for name, text in data.items() if name.endswith(".crt")}
        (found["metadata"].get("annotations") or {}).clear()  # `kubectl apply` keeps a whole copy there
    return found


def _ahead(made: object, before: datetime, after: datetime) -> float | None:
    """Return by how many seconds at least a clock is ahead that said whole seconds between two times of ours."""
    try:
        said = datetime.strptime(str(made), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    if said > after:
        return (said - after).total_seconds()
    return min((said - before).total_seconds() + 1.0, 0.0)
