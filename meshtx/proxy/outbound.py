"""Outbound: from the workload to wherever it wants to go.

    accepted ─▶ where to? ─▶ directory.find ─┬─ meshed ─▶ its proxy, mutual TLS, leg or header ─┐
                                             └─ not ────▶ the destination itself ──────────────┴▶ relay

The workload's bytes stay in the kernel until the other side is there. Plaintext is what the directory says,
never what an error leads to: a peer that cannot be reached or does not prove its name ends in a reset.

A client that goes before the other side is there is not seen to have gone. What that costs, a descriptor and a dial,
lasts as long as the deadlines of directory, dial and handshake allow, by default 18 s.

Where clients connect to an explicit listener, others than the workload may come, and the proxy is their gateway: who
they are is found out as inbound does, by a declared balancer's PROXY header or by their address, and OPEN tells it
to the peer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import assert_never

from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IAddress, ITCPTransport
from twisted.internet.protocol import ServerFactory

from meshtx.directory.target import Meshed, NotReady, Target
from meshtx.observe.flow import Direction, NoTls, NoTlsReason, Refusal
from meshtx.proxy.balancer_header import BalancerHeader
from meshtx.proxy.balancers import sends_header
from meshtx.proxy.ends import End
from meshtx.proxy.parts import Parts, endpoints
from meshtx.proxy.source import Source, classify
from meshtx.proxy.work import Refused, Work
from meshtx.wire.address import IP, Address
from meshtx.wire.leg_frames import Open
from meshtx.wire.proxy_header import ProxyHeader

Destination = Callable[[ITCPTransport], Address]
"""Tells where an accepted connection was going; raises `NoOriginalDestination`."""


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
        near = End()
        near.made.addCallback(lambda _: self._accepted(near))
        return near

    def _accepted(self, near: End) -> None:
        src, local = endpoints(near.transport)
        flow = self._parts.flows.open(Direction.OUT, src, local)
        work = Work(self._parts.live, flow, lambda _: near.transport.abortConnection())
        near.gone = work.client_gone
        work.attempt(lambda: self._begin(work, near, src, local))

    def _begin(self, work: Work, near: End, src: Address, local: Address) -> None:
        if not self._explicit:
            work.start(self._serve(work, near, classify(src, ()), {src.ip, local.ip}))
        elif sends_header(self._parts.balancers, src.ip, local.port):
            self._await_header(work, near, src, local)
        else:
            work.start(self._serve(work, near, self._parts.source(src), {local.ip}))

    def _await_header(self, work: Work, near: End, src: Address, local: Address) -> None:
        def arrived(header: ProxyHeader, rest: bytes) -> None:
            near.take_back()
            work.attempt(lambda: work.start(self._serve(work, near, self._parts.source(src, header), {local.ip}, rest)))

        work.flow.addressed(dst=self._destination(near.transport), known=self._parts.source(src).known)
        work.undecided(self._parts.limits.undecided)
        patience = self._parts.patience.handshake
        near.lend(BalancerHeader(arrived, work.failed, work.client_gone, self._parts.clock, patience))

    async def _serve(self, work: Work, near: End, source: Source, ours: Collection[IP], prefix: bytes = b"") -> None:
        """Serve one connection.

        :param ours: this host's addresses, as far as the connection shows them.
        :param prefix: what was read already.
        """
        dst = self._destination(near.transport)
        work.flow.addressed(source.client, dst, known=source.known)
        own = dst.ip in ours
        if own and dst.port in self._parts.own_ports:
            raise Refused(Refusal.LOOP, f"{dst} is this proxy itself")
        target = await self._find(dst)
        if target.opaque:
            work.flow.opaque()
        far = End()
        match target.security:
            case Meshed() as meshed:
                request = Open(dst.port, target.authority, source.client, source.known.value)
                work.flow.secured(await self._parts.peers.reach(meshed, request, far))
            case NoTls(reason):
                undiscovered = reason is NoTlsReason.NOT_DISCOVERED
                work.flow.plaintext(NoTls(NoTlsReason.LOOPBACK if own and undiscovered else reason))
                await self._parts.dialler.dial(target.address, far)
            case _:
                assert_never(target.security)
        work.relay(near, far, prefix)

    async def _find(self, dst: Address) -> Target:
        patience = self._parts.patience.directory
        try:
            return await self._parts.directory.find(dst).addTimeout(patience, self._parts.clock)
        except DeferredTimeout:
            raise Refused(Refusal.DIRECTORY_NOT_READY, f"no answer within {patience:g} s") from None
        except NotReady as error:
            raise Refused(Refusal.DIRECTORY_NOT_READY, str(error)) from None
