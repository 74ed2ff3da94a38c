from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshtx.observe.flow import Direction
from meshtx.observe.tap_match import BadMatch, Place
from meshtx.observe.tap_query import TapQuery
from meshtx.pki.name import MeshScope
from meshtx.rpc.messages.tap_pb2 import Match, ObserveRequest
from tests.observe.cases import WEB

SCOPE = MeshScope()
FULL = TapQuery(
    methods=("get", "Ping"),
    path="/api,v1",
    authority="web:80",
    peer="web.emojivoto",
    proxy=Direction.OUT,
    sources=(Place.parse("10.1.0.0/16"), Place.parse("[fd00::1]:80")),
    destinations=(Place.parse("10.1.0.2:80"),),
    headers=True,
)


class TapQueryTests(SynchronousTestCase):
    def test_a_method_of_http_may_be_written_small_and_another_stands_as_it_is(self) -> None:
        self.assertEqual(FULL.match(SCOPE).methods, frozenset({"GET", "Ping"}))

    def test_the_rest_is_taken_as_it_stands(self) -> None:
        match = FULL.match(SCOPE)
        self.assertEqual(
            (match.path_prefix, match.authority, match.peer, match.direction),
            ("/api,v1", "web:80", WEB, Direction.OUT),
        )

    def test_a_url_says_the_same(self) -> None:
        for query in (TapQuery(), FULL):
            self.assertEqual(TapQuery.read({key: [text] for key, text in query.query().items()}), query)
        self.assertEqual(TapQuery().query(), {})

    def test_a_list_may_name_its_key_again(self) -> None:
        self.assertEqual(TapQuery.read({"method": ["GET", "PUT,HEAD"]}).methods, ("GET", "PUT", "HEAD"))

    def test_headers_are_sent_only_if_they_are_asked_for(self) -> None:
        self.assertEqual(TapQuery(path="/a").request(SCOPE), ObserveRequest(match=Match(path_prefix="/a")))
        self.assertTrue(FULL.request(SCOPE).headers)

    def test_what_makes_no_sense_is_said(self) -> None:
        for query, words in (
            ({"paths": ["/a"]}, "'paths' is no filter"),
            ({"src": ["x"]}, "'x'"),
            ({"proxy": ["sideways"]}, "write in or out"),
            ({"headers": ["yes"]}, "write true or false"),
            ({"path": ["/a", "/b"]}, "path is given twice"),
        ):
            error = self.assertRaises(BadMatch, TapQuery.read, query)
            self.assertIn(words, str(error))
        self.assertRaises(BadMatch, TapQuery(peer="web").match, SCOPE)
