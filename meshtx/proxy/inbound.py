"""Inbound: from wherever to the workload.

    accepted ─▶ who speaks ─┬─ ClientHello for us ─▶ mutual TLS ─▶ leg, header, or the port itself ─┬▶ policy ─▶ Permit
                            ├─ anything else, to a port of the workload ────────────────────────────┤         │
                            ├─ the workload, dialled early: it is plaintext ────────────────────────┘         │
                            └─ anything else, to our own port ─▶ refused        relay ◀─ the workload ◀─ dial ┘

Whoever speaks first decides; nobody is waited for. While a client is silent the workload is dialled (`early`), if a
peer that proves nothing may come to it. One thing is waited for, within a bound: the rest of a ClientHello that was
begun, for those bytes are ours to read or nobody's; what the workload says meanwhile stays unread. Where both have
said nothing by then, they are joined as they are; a client for whom there was no place to dial early waits on, and
costs a descriptor. Ports that are opaque or skipped are not looked at.

Where a declared balancer connects, its PROXY header comes before all this. Where the workload is to be told who
connects, a header of ours comes before the client's bytes, and nothing is dialled early.
"""

from __future__ import annotations

from functools import partial
from typing import cast

from twisted.internet.interfaces import IAddress, IProtocol, IPushProducer
from twisted.internet.protocol import ServerFactory

from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.legs import LegCall
from meshtx.net.tls import Session
from meshtx.observe.flow import Direction, Mtls, NoTls, NoTlsReason, Refusal, Security
from meshtx.observe.flows import FlowHandle
from meshtx.proxy import mesh_tls
from meshtx.proxy.arrival import Arrival
from meshtx.proxy.balancer_header import BalancerHeader
from meshtx.proxy.balancers import sends_header
from meshtx.proxy.crowd import Place, source_of
from meshtx.proxy.early import EarlyDial
from meshtx.proxy.ends import End
from meshtx.proxy.goal import Goal, Goals
from meshtx.proxy.header import HeaderEnd
from meshtx.proxy.introduction import Client
from meshtx.proxy.mesh_tls import Carrier
from meshtx.proxy.parts import Ends, Parts, endpoints
from meshtx.proxy.peer import Hangup
from meshtx.proxy.policy import Denied, Permit, decide
from meshtx.proxy.source import Source, of_leg
from meshtx.proxy.speakers import Speaker
from meshtx.proxy.work import Refused, Work
from meshtx.proxy.workload import Workload
from meshtx.wire.address import Address
from meshtx.wire.client_hello import Hello, NotTls
from meshtx.wire.leg_frames import Open
from meshtx.wire.proxy_header import NOBODY, ProxyHeader
from meshtx.wire.transport_header import TransportHeader


class Inbound(ServerFactory):
    """Serves the connections of one inbound listener."""

    noisy = False

    def __init__(self, parts: Parts, workload: Workload, goal: Goals) -> None:
        self.parts = parts
        self.workload = workload
        self._goal = goal

    def buildProtocol(self, addr: IAddress | None) -> Arrival:  # noqa: ARG002 - Twisted's signature
        """Return the protocol that awaits a new connection's first bytes."""
        return Arrival(self._accepted, self.parts.clock, self.parts.patience.handshake)

    def _accepted(self, arrival: Arrival) -> None:
        transport = arrival.transport
        ends = endpoints(transport)
        flow = self.parts.flows.open(Direction.IN, *ends)
        work = Work(self.parts.live, flow, lambda _: transport.abortConnection())
        work.undecided(self.parts.limits.undecided)
        arrival.gone = work.client_gone
        work.attempt(lambda: self._begin(arrival, work, ends))

    def _begin(self, arrival: Arrival, work: Work, ends: Ends) -> None:
        goal = self._goal(arrival.transport)
        _Connection(self, work, arrival, goal, ends).begin(arrival)


class _Connection:
    """One accepted connection, once it is known what it is addressed to."""

    def __init__(self, listener: Inbound, work: Work, arrival: Arrival, goal: Goal, ends: Ends) -> None:
        self._parts = parts = listener.parts
        self._workload = listener.workload
        self._work = work
        self._transport = arrival.transport
        self._goal = goal
        self._src, _ = ends
        self._early: EarlyDial | None = None
        self._held: Place | None = None
        self._header = NOBODY
        self._source = parts.source(self._src, self._goal.ip, goal.port)

    def begin(self, arrival: Arrival) -> None:
        """Find out who is connecting, where a balancer says it, then who speaks first."""
        self._comes_from(self._source)
        if self._goal.direct:
            self._listen(arrival)
            return
        self._work.flow.addressed(dst=self._workload.address(self._goal.ip, self._goal.port))
        if sends_header(self._parts.balancers, self._src.ip, self._goal.port):
            self._await_header(arrival)
        else:
            self._go_on(arrival)

    def _comes_from(self, source: Source) -> None:
        self._source = source
        self._work.flow.addressed(src=source.client, known=source.known, hidden_by=source.hidden_by)

    def _await_header(self, arrival: Arrival) -> None:
        def arrived(header: ProxyHeader, rest: bytes) -> None:
            arrival.gone = self._work.client_gone
            arrival.take_back()
            self._work.attempt(lambda: self._introduced(arrival, header, rest))

        patience = self._parts.patience.handshake
        arrival.become(BalancerHeader(arrived, self._work.failed, self._work.client_gone, self._parts.clock, patience))

    def _introduced(self, arrival: Arrival, header: ProxyHeader, rest: bytes) -> None:
        self._header = header
        self._comes_from(self._parts.source(self._src, self._goal.ip, self._goal.port, header))
        self._go_on(arrival, rest)

    def _go_on(self, arrival: Arrival, rest: bytes = b"") -> None:
        """Serve the port of the workload that is meant.

        :param rest: what was read already.
        """
        if self._opaque(self._goal.port, self._work.flow):
            arrival.held = rest
            self.plaintext(arrival, NoTlsReason.PORT_SKIPPED)
            return
        self._listen(arrival, rest)

    def _opaque(self, port: int, flow: FlowHandle) -> bool:
        """Return whether the bytes to this port are not to be looked at."""
        facts = self._parts.directory.own_port(Address(self._goal.ip, port))
        if opaque := facts.opaque or facts.skipped:
            flow.opaque()
        return opaque

    # Who speaks first, and what.

    def _listen(self, arrival: Arrival, rest: bytes = b"") -> None:
        """Listen to the client and, where that is allowed and it has not begun, to the workload."""
        arrival.sniff(lambda seen: self._work.attempt(lambda: self.sniffed(arrival, seen)))
        arrival.begins = lambda: self._begun(arrival)
        arrival.finishes = lambda: self._finished(arrival)
        arrival.leaves = lambda hello: hello.sni is not None and hello.sni == self._parts.tls.server_name
        if rest:
            arrival.dataReceived(rest)
        elif permit := self._early_permit():
            self._dial_early(arrival, permit)

    def _dial_early(self, arrival: Arrival, permit: Permit) -> None:
        early = self._early = EarlyDial(
            self._parts.early,
            permit.port,
            lambda far: self._workload.connect(permit, self._goal.ip, far),
            lambda: self._work.attempt(lambda: self.plaintext(arrival, NoTlsReason.NO_TLS_FROM_REMOTE)),
            self._work.failed,
        )
        self._work.at_end(lambda: self._give_up(arrival))
        early.wait(self._parts.clock, may_be_meshed=self._source.may_be_meshed)

    def _begun(self, arrival: Arrival) -> None:
        """Keep what the client has sent, which does not say yet what it is."""
        if self._early is not None:
            self._early.hush()
        if self._held is None:
            self._held = self._work.takes(self._parts.limits.held_bytes, "too many bytes say nothing", 0)
        self._held.weigh(arrival.kept)

    def _finished(self, arrival: Arrival) -> bool:
        """Go on with a client that has ended its direction without a word, where servers speak first: say whether.

        Elsewhere it was a probe, as it is from whoever stands for others; a hello that was begun is not to come.
        """
        if arrival.held:
            self._work.attempt(lambda: self.sniffed(arrival, None))
            return True
        server_first = self._parts.early.speakers.of(self._goal.port) is Speaker.SERVER_FIRST
        if not server_first or self._source.probes or self._silent_permit() is None:
            return False
        self._work.attempt(lambda: self.plaintext(arrival, NoTlsReason.NO_TLS_FROM_REMOTE, finished=True))
        return True

    def _wait_on(self, arrival: Arrival, early: EarlyDial) -> None:
        """Wait on for who speaks first: for an early dial there was no place, and perhaps there is now."""
        arrival.sniff(lambda seen: self._work.attempt(lambda: self.sniffed(arrival, seen)))
        early.dial()

    def _give_up(self, arrival: Arrival) -> None:
        early, self._early = self._early, None  # no cycle is to keep a finished connection in memory
        if early is not None:
            early.give_up(orderly=arrival.orderly)

    def _early_permit(self) -> Permit | None:
        """Return the leave of a peer that proves nothing; there is none to a peer that will say which port it means.

        Nor is there to a port whose workload is told what the peer proves.
        """
        if self._parts.introductions.wanted(self._goal.port):
            return None
        return self._silent_permit()

    def _silent_permit(self) -> Permit | None:
        port = self._goal.port
        if self._goal.direct or port in self._parts.own_ports:
            return None
        permit = decide(self._parts.policy, NoTls(NoTlsReason.NO_TLS_FROM_REMOTE), port)
        return permit if isinstance(permit, Permit) else None

    def sniffed(self, arrival: Arrival, seen: Hello | NotTls | None) -> None:
        """Go on by the first bytes.

        :param seen: ``None``: not enough in time.
        """
        if self._early is not None:
            self._early.hush()
        ours = self._parts.tls.server_name
        match seen:
            case None if self._source.probes and not arrival.held and self._silent_permit() is None:
                self._work.silent()
            case None if not arrival.held and self._early is not None and not self._early.made:
                self._wait_on(arrival, self._early)
            case Hello(sni) if sni is not None and sni == ours:
                self._terminate(arrival)
            case Hello() if self._goal.direct and ours is None:
                self._work.refuse(Refusal.NO_CREDENTIALS, self._parts.tls.missing)
            case Hello(sni) if self._goal.direct:
                self._work.closes_by(lambda _: self._unrecognized())
                self._work.refuse(Refusal.TLS_REQUIRED, f"TLS to {sni or 'no name'}, and this is {ours}")
            case _ if self._goal.direct:
                self._work.refuse(Refusal.TLS_REQUIRED, f"no TLS to {ours}")
            case Hello():
                self.plaintext(arrival, NoTlsReason.PASSTHROUGH)
            case None if arrival.begun:
                self._work.refuse(Refusal.TLS_UNDECIDED, "a ClientHello was begun and not finished")
            case _:
                self.plaintext(arrival, NoTlsReason.NO_TLS_FROM_REMOTE)

    def _unrecognized(self) -> None:
        self._transport.write(mesh_tls.UNRECOGNIZED_NAME)
        self._transport.loseConnection()

    def plaintext(self, arrival: Arrival, reason: NoTlsReason, *, finished: bool = False) -> None:
        """Serve the bytes as they are; `finished`: there are none, and none will come."""
        if self._early is not None and arrival.held:
            self._early.client_spoke()
        near = End()
        near.gone = self._work.client_gone
        arrival.become(near)
        if finished:
            near.readConnectionLost()
        self._work.start(self._serve(NoTls(reason), near, self._goal.port, arrival.held))

    async def _serve(self, security: Security, near: End, port: int, prefix: bytes = b"") -> None:
        if isinstance(security, Mtls):
            self._work.flow.secured(security)
        else:
            self._work.flow.plaintext(security)
        destination = self._header.destination or Address(self._goal.ip, port)
        client = Client(self._work.flow.src, destination, tlvs=self._header.tlvs)
        far = await self._connect(security, port, client)
        self._work.relay(near, far, prefix)

    async def _connect(self, security: Security, port: int, client: Client) -> End:
        permit = self._permit(security, port)
        early, self._early = self._early, None
        if early is not None:
            made = await early.take(unspoken=isinstance(security, Mtls))
            if made is not None:
                return made
        far = End(self._parts.introductions.greeting(port, client, security))
        await self._workload.connect(permit, self._goal.ip, far)
        return far

    def _permit(self, security: Security, port: int) -> Permit:
        """Return the leave of this peer.

        :raises Refused: there is none.
        """
        if port in self._parts.own_ports:
            raise Refused(Refusal.LOOP, f"port {port} is this proxy itself")
        permit = decide(self._parts.policy, security, port)
        if isinstance(permit, Denied):
            raise Refused(permit.reason, permit.detail)
        return permit

    # Mutual TLS.

    def _terminate(self, arrival: Arrival) -> None:
        contexts = self._parts.tls.contexts
        if contexts is None:
            self._work.refuse(Refusal.NO_CREDENTIALS, self._parts.tls.missing)
            return
        begun = self._parts.clock.seconds()

        def established(session: Session) -> IProtocol:
            self._parts.flows.metrics.handshake(Direction.IN, self._parts.clock.seconds() - begun)
            above = self._established(session)
            tls.settled()
            return above

        tls = Carrier(
            contexts.server(mesh_tls.PROTOCOLS if self._goal.direct else ()),
            established,
            self._failed,
            self._parts.clock,
            self._parts.patience.handshake,
            lost=lambda _: self._work.client_gone(),
        )
        arrival.release()
        self._work.decided()
        self._work.takes(self._parts.limits.handshakes, "too many handshakes")
        tls.start_on(self._transport, untouched=not arrival.held)
        self._in_turn(tls, arrival.held)

    def _in_turn(self, tls: Carrier, hello: bytes) -> None:
        """Answer the ClientHello, in its turn; what comes behind it stays in the kernel until then."""
        transport = cast("IPushProducer", self._transport)

        def begin() -> None:
            transport.resumeProducing()
            tls.dataReceived(hello)

        turn = self._parts.limits.turns.ask(source_of(self._source.client.ip), begin)
        if turn.waits:
            transport.pauseProducing()
            self._work.until_decided(turn.give_up)

    def _failed(self, error: TlsError) -> None:
        self._work.closes_by(mesh_tls.alerted)
        self._work.failed(error)

    def _established(self, session: Session) -> IProtocol:
        if session.peer is None:
            raise TypeError("a peer without a name came through")
        mtls = Mtls(session.peer, session.alpn)
        if not self._goal.direct:
            near = End()
            near.gone = self._work.client_gone
            near.made.addCallback(lambda _: self._work.start(self._serve(mtls, near, self._goal.port)))
            return near
        match session.alpn:
            case mesh_tls.MESHTX:
                self._work.drop()  # from here on each of its connections is served by itself
                del self._work  # a leg lasts
                return self._parts.served.leg(self._src.ip, partial(self._opened, mtls, session))
            case mesh_tls.LINKERD:
                return self._header_end(mtls)
            case _:
                self._work.refuse(TlsFailure.NO_ALPN, f"{session.peer} offers none of {mesh_tls.PROTOCOLS}")
                return Hangup()

    def _header_end(self, mtls: Mtls) -> HeaderEnd:
        def arrived(near: HeaderEnd, header: TransportHeader) -> None:
            near.gone = self._work.client_gone
            self._work.attempt(lambda: self._meant(mtls, near, header.port))

        return HeaderEnd(arrived, self._work.failed, self._parts.clock, self._parts.patience.handshake)

    def _meant(self, mtls: Mtls, near: HeaderEnd, port: int) -> None:
        self._work.flow.addressed(dst=self._workload.address(self._goal.ip, port))
        self._opaque(port, self._work.flow)
        self._work.start(self._serve(mtls, near, port))

    # On a leg, any number of connections, one after another.

    def _opened(self, mtls: Mtls, session: Session, request: Open, call: LegCall) -> None:
        source = of_leg(self._source, mtls.peer, request, self._parts.gateways)
        dst = self._workload.address(self._goal.ip, request.port)
        flow = self._parts.flows.open(Direction.IN, source.client, dst, source.known, source.hidden_by)
        work = Work(self._parts.live, flow, call.refuse)
        call.on_lost(lambda _: work.client_gone())
        work.attempt(lambda: self._answer(work, mtls, session, request, call))

    def _answer(self, work: Work, mtls: Mtls, session: Session, request: Open, call: LegCall) -> None:
        expires = session.peer_expires
        if expires is not None and expires.timestamp() <= self._parts.clock.seconds():
            raise Refused(TlsFailure.EXPIRED, f"{mtls.peer}'s certificate, since {expires:%Y-%m-%d %H:%M:%S} UTC")
        self._opaque(request.port, work.flow)
        work.flow.secured(mtls)
        client = Client(work.flow.src, Address(self._goal.ip, request.port), request.authority)
        far = End(self._parts.introductions.greeting(request.port, client, mtls))

        def connected(_: object) -> None:
            near = End()
            call.accept(near)
            work.closes_by(near.reset)
            work.relay(near, far)

        permit = self._permit(mtls, request.port)
        work.follow(self._workload.connect(permit, self._goal.ip, far).addCallback(connected))
