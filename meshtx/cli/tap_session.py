"""What ``meshtx tap`` does once it is understood: get a certificate, open the taps, print until the end.

    own certificate: by token from the identity service, or from files
      └─▶ mutual TLS to each proxy, whose name is known beforehand ─▶ events ─▶ lines

A proxy's name comes from the command line or from the directory file, never from the proxy: an
address alone proves nothing, and whoever holds it could show us what it likes.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from meshtx.config_values import Endpoint
from meshtx.directory.file import FileDirectory
from meshtx.directory.target import Meshed
from meshtx.errors import ConfigError, MeshtxError, PeerError
from meshtx.files import read_file
from meshtx.identity.certify import CertifyArguments
from meshtx.identity.certify_client import CertifyClient
from meshtx.identity.keeper_service import MAX_TOKEN
from meshtx.net.contexts import Contexts
from meshtx.net.dial import DialFailed, Dialler
from meshtx.net.sockets import SocketOptions
from meshtx.observe.printable import printable
from meshtx.observe.tap_client import TapClient
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.csr import make_csr
from meshtx.pki.keys import new_key
from meshtx.pki.name import MeshScope, Name
from meshtx.rpc.connect import resolve
from meshtx.rpc.messages.tap_pb2 import ObserveRequest, TapEvent
from meshtx.wire.address import Address, refuse_zone
from meshtx.wire.ports import PROXY_TAP

ANY_PORT = 0
"""Asks the directory for a workload whatever it skips."""
CONNECT_TIMEOUT = 5.0
"""Seconds for each address of a proxy."""
CERTIFY_TIMEOUT = 30.0
"""Seconds to get the certificate."""


@dataclass(frozen=True, slots=True)
class ProxyTarget:
    """One proxy to tap.

    :param name: as the user wrote it, ``""`` where the directory is to say it.
    """

    endpoint: Endpoint
    name: str

    @classmethod
    def parse(cls, text: str) -> ProxyTarget:
        """Read ``[NAME@]HOST[:PORT]``.

        :raises ValueError: it is not that.
        """
        name, _, place = text.rpartition("@")
        return cls(_endpoint(place), name)

    def __str__(self) -> str:
        return str(self.endpoint)


@dataclass(frozen=True, slots=True)
class FromFiles:
    """The own certificate is in files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class ByToken:
    """The own certificate comes from the identity service.

    :param service_name: what the service must prove to be.
    """

    name: Name
    service: Endpoint
    service_name: Name
    token: Path


@dataclass(frozen=True, slots=True)
class TapPlan:
    """All that the user wants.

    :param directory: the file that names the proxies which the user did not.
    """

    targets: tuple[ProxyTarget, ...]
    own: FromFiles | ByToken
    trust_anchors: Path
    directory: Path | None


NameOf = Callable[[ProxyTarget, Address], Awaitable[Name]]


class TapSession:
    """Opens all taps of a plan and waits for their ends.

    :param reactor: connects, keeps time, resolves. (Any: a reactor has no one type.)
    :param request: makes what every proxy is asked for; gets the own name's scope, by which short names are completed.
    :param on_event: prints; gets the own mesh with each event. What it raises is raised by `run`.
    :param say: tells the user how it goes.
    """

    def __init__(
        self,
        reactor: Any,
        plan: TapPlan,
        request: Callable[[MeshScope], ObserveRequest],
        on_event: Callable[[ProxyTarget, TapEvent, MeshScope], None],
        say: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._plan = plan
        self._make_request = request
        self._on_event = on_event
        self._say = say
        self._dialler = Dialler(reactor, SocketOptions(), CONNECT_TIMEOUT)
        self._running: list[Deferred[object]] = []
        self._failed = 0
        self._over: Deferred[None] = Deferred()

    async def run(self) -> bool:
        """Return once every tap has ended; say whether all went well. Cancel it to interrupt.

        :raises MeshtxError: before any tap was opened.
        """
        names = _Names(self._plan, self._reactor)
        trust = TrustBundle.from_pem(read_file(self._plan.trust_anchors), str(self._plan.trust_anchors))
        credentials = await self._credentials(trust)
        scope = credentials.name.scope
        taps = TapClient(self._reactor, self._dialler, Contexts(credentials, trust))
        request = self._make_request(scope)

        async def name_of(target: ProxyTarget, address: Address) -> Name:
            return await names.of(target, address, scope)

        def observe(target: ProxyTarget) -> Awaitable[None]:
            return self._observe(taps, target, name_of, request, scope)

        self._running = [ensureDeferred(self._tap(target, observe)) for target in self._plan.targets]
        for running in tuple(self._running):
            running.addBoth(self._ended, running)
        try:
            await self._over
        finally:
            self.stop()
        return not self._failed

    def stop(self) -> None:
        """End all taps."""
        for running in tuple(self._running):
            running.cancel()

    def _ended(self, outcome: object, running: Deferred[object]) -> None:
        self._running.remove(running)
        if isinstance(outcome, Failure) and not self._over.called:  # a defect: it must not look like an end
            self._over.errback(outcome)
        if not self._running and not self._over.called:
            self._over.callback(None)

    async def _tap(self, target: ProxyTarget, observe: Callable[[ProxyTarget], Awaitable[None]]) -> None:
        try:
            await observe(target)
            self._say(f"{target}: the proxy has ended the tap")
        except CancelledError:
            pass
        except MeshtxError as error:
            self._failed += 1
            self._say(f"{target}: {printable(str(error))}")

    async def _observe(
        self, taps: TapClient, target: ProxyTarget, name_of: NameOf, request: ObserveRequest, scope: MeshScope
    ) -> None:
        def on_event(event: TapEvent) -> None:
            if event.HasField("flow") or event.HasField("lost"):
                self._on_event(target, event, scope)
            else:
                self._say(f"{target}: the tap is open")

        addresses = await resolve(self._reactor, target.endpoint.host, target.endpoint.port)
        failures: list[str] = []
        for address in addresses:
            try:
                await taps.observe(address, await name_of(target, address), request, on_event)
                return
            except DialFailed as error:
                failures.append(str(error))
        raise PeerError("; ".join(failures) or f"the host name {target.endpoint.host} has no address")

    async def _credentials(self, trust: TrustBundle) -> Credentials:
        now = datetime.fromtimestamp(time.time(), UTC)
        own = self._plan.own
        if isinstance(own, FromFiles):
            pair = read_file(own.certificate), read_file(own.key)
            credentials = Credentials.from_pem(*pair, str(own.certificate), key_what=str(own.key))
            credentials.check(credentials.name, trust, now)
            return credentials
        token = read_file(own.token, "write a token of 'meshtx token create' there", MAX_TOKEN)
        key = new_key()
        arguments = CertifyArguments(own.name, token, make_csr(key, own.name), trust, None)
        client = CertifyClient(self._reactor, own.service.host, own.service.port, own.service_name)
        try:
            answer = await client.certify(arguments).addTimeout(CERTIFY_TIMEOUT, self._reactor)
        except DeferredTimeout:
            raise PeerError(f"no answer from the identity service {own.service} in {CERTIFY_TIMEOUT:g} s") from None
        except PeerError as error:
            raise PeerError(f"the identity service {own.service} gives no certificate: {error}") from error
        return Credentials.from_chain(key, (answer.leaf, *answer.intermediates), own.name, trust, now)


class _Names:
    """Knows whom a proxy must prove to be.

    :raises ConfigError: the directory file is wrong, or missing for a proxy without a name.
    """

    def __init__(self, plan: TapPlan, clock: IReactorTime) -> None:
        self._directory = FileDirectory(plan.directory, clock) if plan.directory else None
        for target in plan.targets:
            if not target.name and self._directory is None:
                raise ConfigError(
                    str(target),
                    "nobody says whom to expect there",
                    f"write NAME@{target}, or give --proxy-name or --directory-file",
                )

    async def of(self, target: ProxyTarget, address: Address, scope: MeshScope) -> Name:
        """Return the name.

        :raises MeshtxError: it is none, or the directory has none for this address.
        """
        if target.name or self._directory is None:
            return scope.complete(target.name)
        security = (await self._directory.find(Address(address.ip, ANY_PORT))).security
        if isinstance(security, Meshed):
            return security.name
        raise PeerError(f"the directory file has no name for {address.ip}; write NAME@{target}")


def _endpoint(place: str) -> Endpoint:
    refuse_zone(place)
    bare = place[1:-1] if place.startswith("[") and place.endswith("]") else place
    try:
        return Endpoint(str(ip_address(bare)), PROXY_TAP)
    except ValueError:
        return Endpoint.parse(place if ":" in place else f"{place}:{PROXY_TAP}")
