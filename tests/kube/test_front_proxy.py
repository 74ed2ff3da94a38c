from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from meshtx.errors import CredentialsError
from meshtx.kube.api_errors import ApiUnavailable
from meshtx.kube.front_proxy import EVERY, RETRY, FrontProxy, FrontProxyWatch, Unauthenticated, User
from meshtx.pki.pem import read_certificates
from tests.kube.credentials import FRONT, Authority, Pair

NOW = datetime.now(UTC)
ASKED = {
    "X-Remote-User": ["jane"],
    "X-Remote-Group": ["ops", "system:authenticated"],
    "X-Remote-Uid": ["u-1"],
    "X-Remote-Extra-Scopes": ["a", "b"],
    "X-Remote-Extra-Example.org%2fteam": ["mesh"],
}
JANE = User("jane", ("ops", "system:authenticated"), "u-1", {"scopes": ["a", "b"], "example.org/team": ["mesh"]})


class FrontProxyCase(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.authority = Authority(folder, "front-ca")
        (folder / "other").mkdir()
        self.other = Authority(folder / "other", "front-ca")
        self.front = self.chain(self.authority.client(FRONT))

    def chain(self, pair: Pair) -> tuple[x509.Certificate, ...]:
        return read_certificates(pair.certificate.read_text(), "client")

    def config_map(self, **changed: Any) -> dict[str, Any]:
        said: dict[str, Any] = {
            "client-ca-file": self.authority.file.read_text(),
            "allowed-names": [FRONT],
            "username-headers": ["X-Remote-User"],
            "uid-headers": ["X-Remote-Uid"],
            "group-headers": ["X-Remote-Group"],
            "extra-headers-prefix": ["X-Remote-Extra-"],
        } | {key.replace("_", "-"): value for key, value in changed.items()}
        texts = {key: each if isinstance(each, str) else json.dumps(each) for key, each in said.items()}
        return {"data": {f"requestheader-{key}": text for key, text in texts.items()}}


class FrontProxyTests(FrontProxyCase):
    def user(self, chain: tuple[x509.Certificate, ...], headers: dict[str, list[str]] = ASKED, **changed: Any) -> User:
        return FrontProxy.read(self.config_map(**changed)).user(chain, Headers(headers), NOW)

    def test_who_asks_is_who_the_front_proxy_says(self) -> None:
        self.assertEqual(self.user(self.front), JANE)
        self.assertEqual(
            JANE.as_review(), {"user": "jane", "groups": list(JANE.groups), "uid": "u-1", "extra": JANE.extra}
        )

    def test_nobody_else_is_believed(self) -> None:
        for chain, words in (
            ((), "a certificate of the cluster's front proxy is needed"),
            (self.chain(self.other.client(FRONT)), "does not verify"),
            (self.chain(self.authority.client("somebody")), "not the front proxy's"),
            (self.chain(self.authority.server(FRONT, "front.example")), "not one of a client"),
        ):
            error = self.assertRaises(Unauthenticated, self.user, chain)
            self.assertIn(words, str(error))

    def test_a_certificate_that_has_expired_is_none(self) -> None:
        late = NOW + timedelta(days=3650)
        front = FrontProxy.read(self.config_map())
        self.assertRaises(Unauthenticated, front.user, self.front, Headers(ASKED), late)

    def test_without_a_list_of_names_any_of_the_authority_will_do(self) -> None:
        self.assertEqual(self.user(self.chain(self.authority.client("somebody")), allowed_names=[]), JANE)

    def test_a_request_of_nobody_is_nobodys(self) -> None:
        for headers in ({}, {"X-Remote-User": [""]}, {"X-Remote-Group": ["system:masters"]}):
            self.assertRaises(Unauthenticated, self.user, self.front, headers)

    def test_only_the_headers_that_the_cluster_names_count(self) -> None:
        self.assertRaises(Unauthenticated, self.user, self.front, username_headers=["X-Other-User"])
        user = self.user(self.front, group_headers=["X-Other-Group"], extra_headers_prefix=[""], uid_headers=[])
        self.assertEqual(user, User("jane", (), "", {}))

    def test_a_config_map_that_does_not_say_whom_to_believe_is_refused(self) -> None:
        for changed in (
            {"client_ca_file": ""},
            {"client_ca_file": "x"},
            {"username_headers": []},
            {"allowed_names": "x"},
            {"allowed_names": "{}"},
        ):
            self.assertRaises(CredentialsError, FrontProxy.read, self.config_map(**changed))
        self.assertRaises(CredentialsError, FrontProxy.read, {})


class WatchTests(FrontProxyCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.said: Any = ApiUnavailable("away")
        self.looks = 0
        watch: Any = FrontProxyWatch(self, self.clock, lambda: NOW)  # type: ignore[arg-type]  # what it uses of it
        self.watch = watch

    async def get(self, _path: str) -> Any:
        self.looks += 1
        if isinstance(self.said, Exception):
            raise self.said
        return self.said

    def look(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.watch.look()))

    def user(self) -> User:
        user: User = self.watch.user(self.front, Headers(ASKED))
        return user

    def test_until_it_is_known_whom_to_believe_nobody_is(self) -> None:
        self.assertRaises(Unauthenticated, self.user)
        self.look()
        self.assertRaises(Unauthenticated, self.user)
        self.said = self.config_map()
        self.look()
        self.assertEqual(self.user(), JANE)

    def test_trouble_and_nonsense_change_nothing(self) -> None:
        self.said = self.config_map()
        self.look()
        for said in (ApiUnavailable("away"), {}, self.config_map(client_ca_file="x")):
            self.said = said
            self.look()
            self.assertEqual(self.user(), JANE)

    def test_another_authority_is_taken_up(self) -> None:
        self.said = self.config_map()
        self.watch.startService()
        self.addCleanup(self.watch.stopService)
        self.said = self.config_map(client_ca_file=self.other.file.read_text())
        self.assertEqual(self.user(), JANE)
        self.clock.advance(EVERY)
        self.assertRaises(Unauthenticated, self.user)

    def test_a_defect_does_not_end_it(self) -> None:
        self.said = ZeroDivisionError()
        self.watch.startService()
        self.addCleanup(self.watch.stopService)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.said = self.config_map()
        self.clock.advance(RETRY)
        self.assertEqual(self.user(), JANE)

    def test_it_looks_more_often_while_nobody_is_believed(self) -> None:
        self.watch.startService()
        self.clock.advance(RETRY)
        self.assertEqual(self.looks, 2)
        self.watch.stopService()
        self.clock.advance(EVERY)
        self.assertEqual(self.looks, 2)
