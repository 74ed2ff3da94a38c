"""Outbound: from the workload to wherever it wants to go.

    accepted ─▶ where to? ─▶ directory.find ─┬─ meshed ─▶ its proxy, mutual TLS, leg or header ─┐
                                    ▲        └─ not ────▶ the destination itself ──────────────┴▶ relay
                                    └──────────── of a service: the next one, if one is not there

The workload's bytes stay in the kernel until the other side is there. Plaintext is what the directory says,
never what an error leads to: a peer that cannot be reached or does not prove its name ends in a reset.

A client that goes before the other side is there is not seen to have gone. What that costs, a descriptor and a dial,
lasts as long as the deadlines of directory, dial and handshake allow, by default 18 s: 27 s where three endpoints of a
service do not answer.

Where clients connect to an explicit listener, others than the workload may come, and the proxy is their gateway: who
they are is found out as inbound does, by a declared balancer's PROXY header or by their address, and OPEN tells it
to the peer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IAddress, ITCPTransport
from twisted.internet.protocol import ServerFactory

from meshtx.directory.target import Choice, Meshed, NoEndpoints, NotReady, Target
from meshtx.net.dial import DialFailed
from meshtx.observe.flow import Direction, NoTls, NoTlsReason, Refusal
from meshtx.proxy.balancer_header import BalancerHeader
from meshtx.proxy.balancers import sends_header
from meshtx.proxy.ends import End
from meshtx.proxy.parts import Parts, endpoints
from meshtx.proxy.places import Places, asks
from meshtx.proxy.source import Source, classify
from meshtx.proxy.work import Refused, Work
from meshtx.wire.address import IP, Address
from meshtx.wire.proxy_header import ProxyHeader

Destination = Callable[[ITCPTransport], Address]
"""Tells where an accepted connection was going; raises `NoOriginalDestination` and `AlreadyGone`."""


class Outbound(ServerFactory):
    """Serves the connections of one outbound listener.

    :param explicit: clients connect to the listener itself, so they may be others than the workload.
    """

    noisy = False

    def __init__(self, parts: Parts, destination: Destination, *, explicit: bool = False) -> None:
        self._parts = parts
        self._destination = destination
        self._explicit = explicit

    def buildProtocol(self, addr: IAddress | None) -> End:  # noqa: ARG002 - Twisted's signature
        """Return the near end of a new connection."""
        return End(begun=self._accepted)

    def _accepted(self, near: End) -> None:
        src, local = endpoints(near.transport)
        flow = self._parts.flows.open(Direction.OUT, src, local)
        work = Work(self._parts.live, flow, near.reset)
        near.gone = work.client_gone
        work.attempt(lambda: self._begin(work, near, src, local))

    def _begin(self, work: Work, near: End, src: Address, local: Address) -> None:
        if not self._explicit:
            self._serve(work, near, classify(src, ()), (src.ip, local.ip))
        elif sends_header(self._parts.balancers, src.ip, local.port):
            self._await_header(work, near, src, local)
        else:
            self._serve(work, near, self._parts.source(src, local.ip, local.port), (local.ip,))

    def _await_header(self, work: Work, near: End, src: Address, local: Address) -> None:
        def arrived(header: ProxyHeader, rest: bytes) -> None:
            near.take_back()
            work.attempt(lambda: self._serve(work, near, told(header), (local.ip,), rest))

        told = partial(self._parts.source, src, local.ip, local.port)
        source = told()
        work.flow.addressed(dst=self._destination(near.transport), known=source.known, hidden_by=source.hidden_by)
        work.undecided(self._parts.limits.undecided)
        patience = self._parts.patience.handshake
        near.lend(BalancerHeader(arrived, work.failed, work.client_gone, self._parts.clock, patience))

    def _serve(self, work: Work, near: End, source: Source, ours: Collection[IP], prefix: bytes = b"") -> None:
        """Serve one connection.

        :param ours: this host's addresses, as far as the connection shows them.
        :param prefix: what was read already.
        """
        dst = self._destination(near.transport)
        work.flow.addressed(source.client, dst, known=source.known, hidden_by=source.hidden_by)
        if dst.port in self._parts.own_ports and dst.ip in ours:
            raise Refused(Refusal.LOOP, f"{dst} is this proxy itself")
        wish = _Wish(work, near, End(), source, dst, ours, prefix)
        asked = self._parts.directory.find(dst)
        target = asked.result if asked.called else None
        if not (isinstance(target, Target) and self._rides(wish, target)):
            work.start(self._reach(wish, asked))

    def _rides(self, wish: _Wish, target: Target) -> bool:
        """Serve a wish by an idle leg, if there is one, as there is most of the time: there is nothing to wait for."""
        if not isinstance(target.security, Meshed):
            return False
        places = None if target.choice is None else wish.places(target, target.choice)
        mtls = self._parts.peers.ride(target.security, asks(target, wish.source), wish.far, places)
        if mtls is None:
            return False
        wish.work.decided()
        wish.work.flow.secured(mtls)
        wish.join(target)
        return True

    async def _reach(self, wish: _Wish, asked: Deferred[Target]) -> None:
        target = await self._found(asked)
        if target.choice is not None:
            target = await self._reach_one(wish, wish.places(target, target.choice))
        elif isinstance(target.security, NoTls):
            wish.plaintext(target.security)
            await self._parts.dialler.dial(target.address, wish.far)
        else:
            peers = self._parts.peers
            wish.work.flow.secured(await peers.reach(target.security, asks(target, wish.source), wish.far))
        wish.join(target)

    async def _reach_one(self, wish: _Wish, places: Places) -> Target:
        """Connect to one endpoint of a service, and return it."""
        while True:
            target = places.target
            try:
                if isinstance(target.security, Meshed):
                    reached = self._parts.peers.reach(target.security, places.request, wish.far, places)
                    wish.work.flow.secured(await reached)
                else:
                    await self._parts.dialler.dial(target.address, wish.far)
                    wish.plaintext(target.security)
            except DialFailed as error:
                if not places.moves_anywhere(error):
                    raise
            else:
                return target

    async def _found(self, asked: Deferred[Target]) -> Target:
        patience = self._parts.patience.directory
        try:
            return await (asked if asked.called else asked.addTimeout(patience, self._parts.clock))
        except DeferredTimeout:
            raise Refused(Refusal.DIRECTORY_NOT_READY, f"no answer within {patience:g} s") from None
        except NotReady as error:
            raise Refused(Refusal.DIRECTORY_NOT_READY, str(error)) from None
        except NoEndpoints as error:
            raise Refused(Refusal.NO_ENDPOINTS, str(error)) from None


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a connection is to become.

    :param dst: where it was going.
    :param ours: this host's addresses.
    :param prefix: what was read from it already.
    """

    work: Work
    near: End
    far: End
    source: Source
    dst: Address
    ours: Collection[IP]
    prefix: bytes

    def places(self, target: Target, choice: Choice) -> Places:
        """Return the endpoints to choose from, this one first, which is held for as long as the work lasts."""
        self.work.at_end(choice.ended)
        return Places(target, choice, self.source, self.work.flow)

    def plaintext(self, security: NoTls) -> None:
        """Note that it is plaintext, and why."""
        to_itself = security.reason is NoTlsReason.NOT_DISCOVERED and self.dst.ip in self.ours
        self.work.flow.plaintext(NoTls(NoTlsReason.LOOPBACK) if to_itself else security)

    def join(self, target: Target) -> None:
        """Join its ends."""
        if target.opaque:
            self.work.flow.opaque()
        self.work.relay(self.near, self.far, self.prefix)
