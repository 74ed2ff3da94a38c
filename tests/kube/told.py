"""What a town's directory tells a sidecar, and what it has to: that of a directory which has just listed everything."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from meshtx.config_load import load
from meshtx.demo.lab import TimedOut, wait_until
from meshtx.directory.messages import address as address_of
from meshtx.directory.messages import endpoint
from meshtx.kube.cluster import Cluster
from meshtx.kube.cluster_watch import NEEDED, OPTIONAL
from meshtx.kube.directory_service import DirectoryService
from meshtx.kube.manifests.shapes import ISSUER_SECRET
from meshtx.kube.settings.directory import DirectoryConfig
from meshtx.pki.authority import Authority
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.csr import make_csr, parse_csr
from meshtx.pki.issuer import Issuer
from meshtx.pki.keys import new_key
from meshtx.pki.name import Name
from meshtx.rpc.messages.directory_pb2 import FollowRequest, Update
from meshtx.services.directory import settings_of
from meshtx.wire.address import Address
from tests.identity.made import write_credentials
from tests.kube import follower
from tests.kube.fake_call import FakeCall
from tests.kube.town import CONTROL_PLANE, KubeTown
from tests.pki.made import SCOPE
from tests.services.directory_files import DIRECTORY, flags

State = dict[Address | None, Update]
"""The newest message about each address; about none: the table."""


class Told:
    """Follows a town's directory from now on, on one stream.

    :param name: as whom.
    :param addresses: those that are asked for; there need not be anybody yet.
    """

    def __init__(self, town: KubeTown, name: Name, addresses: Iterable[Address]) -> None:
        self._town = town
        self._name = name
        self._addresses = tuple(addresses)
        self._folder = town.folder / "follower"
        self._folder.mkdir()
        self._write_credentials()
        known = map(str, self._addresses)
        self._process, self._file = town.beside(
            follower.__name__, str(self._folder), town.address("directory"), str(DIRECTORY), *known
        )
        self._until(lambda: len(self._now()) == 1 + len(self._addresses), "the first answers", 30)

    def until_reached(self, at: Address, backends: Iterable[Address], seconds: float = 30) -> float:
        """Wait until these alone are behind a Service's address; return when that was told."""
        wanted = set(backends)

        def last() -> tuple[float, Update]:
            return [each for each in self._updates() if _about(each[1]) == at][-1]

        self._until(lambda: _behind(last()[1]) == wanted, f"{wanted} behind {at}", seconds)
        return last()[0]

    def until_all_is_known(self, seconds: float = 90) -> None:
        """Wait until what was told last is what a full list of the API's objects leads to, and nothing else."""
        try:
            self._until(lambda: self._now() == self._listed(), "all that is listed", seconds)
        except TimedOut as error:
            told, listed = self._now(), self._listed()
            differ = [f"told: {told.get(at)}\nlisted: {listed[at]}" for at in listed if told.get(at) != listed[at]]
            raise AssertionError("\n".join([str(error), *differ])) from None

    def _until(self, fact: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait for a fact that comes true while the stream lasts."""

        def there() -> bool:
            if self._process.poll() is not None:
                raise AssertionError(f"the directory's stream has ended:\n{self._file.read_text()[-2000:]}")
            return fact()

        wait_until(there, what, seconds)

    def _now(self) -> State:
        return _state(update for _, update in self._updates())

    def _updates(self) -> Iterator[tuple[float, Update]]:
        for line in self._file.read_text().rpartition("\n")[0].splitlines():
            when, _, message = line.partition(" ")
            yield float(when), Update.FromString(bytes.fromhex(message))

    def _listed(self) -> State:
        config = load(DirectoryConfig, flags(self._folder), {})  # no more of the cluster than `meshtx install` tells it
        service = DirectoryService(Cluster(SCOPE, settings_of(config)), Clock(), lambda: True)
        for resource in (*NEEDED, OPTIONAL):
            for item in self._town.cluster.api.call("GET", resource.path)["items"]:
                service.changed(None, resource.read(item))
        service.known()
        call = FakeCall(self._name)
        request = FollowRequest(known=map(endpoint, self._addresses))
        ensureDeferred(service.follow(request, call)).addErrback(lambda _: None).cancel()
        return _state(call.sent)

    def _write_credentials(self) -> None:
        """Write what the identity service would give a pod of that name, as who may read the issuer's Secret can."""
        path = f"/api/v1/namespaces/{CONTROL_PLANE}/secrets/{ISSUER_SECRET}"
        data = self._town.cluster.api.call("GET", path)["data"]
        anchors, certificate, issuer_key = (base64.b64decode(data[name]) for name in ("ca.crt", "tls.crt", "tls.key"))
        trust, now, key = TrustBundle.from_pem(anchors), datetime.now(UTC), new_key()
        issuer = Issuer.from_pem(certificate, issuer_key, trust, now)
        chain = Authority(issuer).issue(parse_csr(make_csr(key, self._name)), self._name, now)
        (self._folder / "anchors.crt").write_bytes(anchors)
        write_credentials(self._folder, Credentials.from_chain(key, chain.ders(), self._name, trust, now))


def _about(update: Update) -> Address | None:
    return address_of(update.answer.address) if update.WhichOneof("what") == "answer" else None


def _behind(update: Update) -> set[Address]:
    return {address_of(each.address) for each in update.answer.service.ready}


def _state(updates: Iterable[Update]) -> State:
    """Return what these come to, without a session's name and the order in which the API has said what."""
    state = {_about(update): update for update in updates}
    for about, update in state.items():
        if about is None:
            update.table.session = ""
        elif update.answer.WhichOneof("what") == "service":
            update.answer.service.ready.sort(key=lambda each: each.SerializeToString())
    return state
