"""Lists in pages, however long their objects are."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.api_errors import ApiRefused, ApiTooLong, Object
from meshtx.kube.pages import PAGE, pages
from tests.kube.scripted_watch import item, page


class Api:
    """Has objects, of which an answer may have as many as are short enough together."""

    def __init__(self, lengths: list[int], longest: int) -> None:
        self.lengths = lengths
        self.longest = longest
        self.asked: list[tuple[int, int]] = []
        self.end: Exception | None = None

    async def get(self, path: str, **query: str | int | bool) -> Object:
        begin, limit = int(query.get("continue", 0)), int(query["limit"])
        self.asked.append((begin, limit))
        if self.end is not None and begin:
            raise self.end
        end = begin + limit
        if sum(self.lengths[begin:end]) > self.longest:
            raise ApiTooLong(f"GET {path}: the answer is longer than {self.longest} bytes")
        names = (str(number) for number in range(begin, min(end, len(self.lengths))))
        return page(7, *(item(name, 1) for name in names), more=str(end) if end < len(self.lengths) else "")


class PagesTests(SynchronousTestCase):
    def listed(self, api: Api) -> Deferred[list[str]]:
        async def names() -> list[str]:
            return [each["metadata"]["name"] async for got in pages(api, "/pods") for each in got["items"] or ()]

        return Deferred.fromCoroutine(names())

    def test_a_list_is_the_objects_of_its_pages(self) -> None:
        for count in (0, 1, PAGE, PAGE + 1, 3 * PAGE):
            api = Api([1] * count, PAGE)
            self.assertEqual(self.successResultOf(self.listed(api)), [str(number) for number in range(count)])
            self.assertEqual(len(api.asked), max(1, -(-count // PAGE)))

    def test_where_so_many_are_too_long_fewer_are_asked_for(self) -> None:
        api = Api([1] * PAGE + [60] * 20, PAGE)
        self.assertEqual(len(self.successResultOf(self.listed(api))), PAGE + 20)
        self.assertEqual(api.asked, [(0, 500), (500, 500), (500, 62), (500, 7), (507, 7), (514, 7)])

    def test_one_that_is_too_long_alone_is_trouble(self) -> None:
        self.failureResultOf(self.listed(Api([1, 9], 5)), ApiTooLong)

    def test_other_trouble_is_as_it_is(self) -> None:
        api = Api([1] * PAGE * 2, PAGE)
        api.end = ApiRefused("GET: 410 Expired", 410, "Expired")
        self.failureResultOf(self.listed(api), ApiRefused)
