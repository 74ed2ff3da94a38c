"""The leg's table, tried with both ends and whatever can be on its way between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire.leg_state import TABLE, Input, Role, State

IN_FLIGHT = 4
"""Frames on their way in one direction; more show nothing new (the last test)."""

Row = tuple[Role, State, Input]


@dataclass(frozen=True)
class Pair:
    """Both ends of a leg, and the frames between them."""

    client: State = State.IDLE
    server: State = State.IDLE
    to_server: tuple[str, ...] = ()
    to_client: tuple[str, ...] = ()
    client_ended: bool = False
    server_ended: bool = False


def sends(role: Role, state: State) -> Iterator[Input]:
    for before, what in TABLE[role]:
        if before is state and what.name.startswith("SEND_"):
            yield what


def moves(pair: Pair, in_flight: int) -> Iterator[tuple[Row, Pair]]:
    """Yield all that can happen next: each end sends what it may, or receives what comes."""
    if len(pair.to_server) < in_flight and not pair.client_ended:
        for what in sends(Role.CLIENT, pair.client):
            name = what.name.removeprefix("SEND_")
            state = TABLE[Role.CLIENT][pair.client, what]
            yield (
                (Role.CLIENT, pair.client, what),
                replace(pair, client=state, to_server=(*pair.to_server, name), client_ended=name == "END"),
            )
    if len(pair.to_client) < in_flight and not pair.server_ended:
        for what in sends(Role.SERVER, pair.server):
            name = what.name.removeprefix("SEND_")
            state = TABLE[Role.SERVER][pair.server, what]
            yield (
                (Role.SERVER, pair.server, what),
                replace(pair, server=state, to_client=(*pair.to_client, name), server_ended=name == "END"),
            )
    if pair.to_server:
        what = Input[f"RECV_{pair.to_server[0]}"]
        state = TABLE[Role.SERVER][pair.server, what]
        yield (Role.SERVER, pair.server, what), replace(pair, server=state, to_server=pair.to_server[1:])
    if pair.to_client:
        what = Input[f"RECV_{pair.to_client[0]}"]
        state = TABLE[Role.CLIENT][pair.client, what]
        yield (Role.CLIENT, pair.client, what), replace(pair, client=state, to_client=pair.to_client[1:])


def explore(in_flight: int) -> tuple[set[Pair], set[Row]]:
    """Return every pair that can come about, and every row of the tables that is used on the way."""
    seen, rows = {Pair()}, set[Row]()
    todo = deque(seen)
    while todo:
        for row, after in moves(todo.popleft(), in_flight):
            rows.add(row)
            if after not in seen:
                seen.add(after)
                todo.append(after)
    return seen, rows


@dataclass(frozen=True)
class Model:
    """What one end remembers, in plain words, to tell what it may send."""

    role: Role
    asked: bool = False
    accepted: bool = False
    we_finished: bool = False
    peer_finished: bool = False
    retired: bool = False
    over: str = ""

    def may_send(self, what: Input) -> bool:
        client = self.role is Role.CLIENT
        call = self.asked and not self.over
        match what:
            case Input.SEND_OPEN:
                return client and not (self.asked or self.retired or self.over)
            case Input.SEND_ACCEPT | Input.SEND_REFUSE:
                return not client and call and not self.accepted
            case Input.SEND_DATA | Input.SEND_FIN:
                return call and (client or self.accepted) and not self.we_finished
            case Input.SEND_RESET:
                return call and (client or self.accepted)
            case Input.SEND_RETIRE:
                return not client and not (self.retired or self.over)
            case _:
                return self.over not in {"", "closing"} or (client and not self.asked and not self.over)

    def after(self, what: Input) -> Model:
        match what.name.partition("_")[::2]:
            case _, "OPEN":
                return replace(self, asked=True) if not self.over else self
            case _, "ACCEPT":
                return replace(self, accepted=True)
            case _, "RETIRE":
                return replace(self, retired=True)
            case _, ("REFUSE" | "RESET"):
                return replace(self, over=self.over or "over")
            case "SEND", "FIN":
                return replace(self, we_finished=True)._next()
            case "RECV", "FIN":
                return replace(self, peer_finished=True)._next()
            case "SEND", "END":
                return replace(self, over=self.over or "closing")
            case "RECV", "END":
                return replace(self, over="over")
        return self

    def _next(self) -> Model:
        if self.we_finished and self.peer_finished and not self.over:
            return Model(self.role, retired=self.retired)
        return self


def play(role: Role, *inputs: Input, state: State = State.IDLE) -> State:
    for what in inputs:
        state = TABLE[role][state, what]
    return state


class BothEndsTests(SynchronousTestCase):
    """Every interleaving of two ends that keep to the table."""

    def test_no_frame_that_was_allowed_when_it_was_sent_kills_the_other_end(self) -> None:
        pairs, _ = explore(IN_FLIGHT)
        self.assertEqual([pair for pair in pairs if State.DEAD in {pair.client, pair.server}], [])

    def test_the_table_holds_nothing_that_cannot_happen(self) -> None:
        _, rows = explore(IN_FLIGHT)
        self.assertEqual(rows, {(role, *row) for role in Role for row in TABLE[role]})

    def test_both_ends_agree_once_nothing_is_on_its_way(self) -> None:
        agreed = {
            (pair.client, pair.server) for pair in explore(IN_FLIGHT)[0] if not (pair.to_client or pair.to_server)
        }
        s = State
        same = (s.IDLE, s.OPENING, s.OPEN, s.LAST_OPENING, s.LAST_OPEN, s.RETIRED, s.REFUSED, s.CLOSED)
        crossed = {(s.OPENING_FINISHED,) * 2, (s.LAST_OPENING_FINISHED,) * 2, (s.RETIRED, s.RETIRING)}
        halves = {(s.WE_FINISHED, s.PEER_FINISHED), (s.LAST_WE_FINISHED, s.LAST_PEER_FINISHED)}
        late = {(s.LAST_PEER_FINISHED, s.RETIRING_WE_FINISHED)}
        ended = {(s.CLOSING, s.CLOSED), (s.PEER_RESET, s.PEER_RESET), (s.WE_RESET, s.PEER_RESET), (s.REFUSED, s.CLOSED)}
        ended |= {(s.PEER_RESET, s.CLOSED), (s.WE_RESET, s.CLOSED)}
        mirrored = {(b, a) for a, b in halves | ended if State.CLOSING not in {a, b}}
        self.assertEqual(agreed, {(state, state) for state in same} | crossed | halves | late | ended | mirrored)

    def test_more_frames_on_their_way_show_nothing_new(self) -> None:
        states = [{(pair.client, pair.server) for pair in explore(depth)[0]} for depth in (IN_FLIGHT, IN_FLIGHT + 1)]
        self.assertEqual(states[0], states[1])


class OneEndTests(SynchronousTestCase):
    """What one end may do."""

    def test_an_end_may_send_what_the_model_says_and_nothing_else(self) -> None:
        for role in Role:
            start = (State.IDLE, Model(role))
            seen, todo = {start}, deque([start])
            while todo:
                state, model = todo.popleft()
                for what in Input:
                    after = TABLE[role][state, what]
                    if what.name.startswith("SEND_"):
                        self.assertEqual(after is not State.DEAD, model.may_send(what), (role, state, what))
                    pair = (after, model.after(what))
                    if after is not State.DEAD and pair not in seen:
                        seen.add(pair)
                        todo.append(pair)

    def test_the_dead_stay_dead(self) -> None:
        for role, what in product(Role, Input):
            self.assertIs(TABLE[role][State.DEAD, what], State.DEAD)

    def test_what_the_table_does_not_hold_kills(self) -> None:
        for role, state, what in product(Role, State, Input):
            allowed = (state, what) in TABLE[role]
            self.assertEqual(TABLE[role][state, what] is not State.DEAD, allowed)


class TaleTests(SynchronousTestCase):
    """Whole lives of a leg."""

    def test_a_leg_carries_one_connection_after_another(self) -> None:
        once = (Input.SEND_OPEN, Input.RECV_ACCEPT, Input.SEND_FIN, Input.RECV_DATA, Input.RECV_FIN)
        self.assertIs(play(Role.CLIENT, *once, *once, Input.SEND_END, Input.RECV_END), State.CLOSED)

    def test_the_next_connection_waits_for_both_fins(self) -> None:
        self.assertIs(
            play(Role.CLIENT, Input.SEND_OPEN, Input.RECV_ACCEPT, Input.SEND_FIN, Input.SEND_OPEN), State.DEAD
        )

    def test_an_open_that_retire_crosses_is_still_served(self) -> None:
        served = (Input.SEND_RETIRE, Input.RECV_OPEN, Input.SEND_ACCEPT, Input.RECV_FIN, Input.SEND_FIN)
        self.assertIs(play(Role.SERVER, *served), State.RETIRED)
        self.assertIs(play(Role.SERVER, *served, Input.RECV_OPEN), State.DEAD)
        asked = (Input.SEND_OPEN, Input.RECV_RETIRE, Input.RECV_ACCEPT, Input.SEND_FIN, Input.RECV_FIN)
        self.assertIs(play(Role.CLIENT, *asked), State.RETIRED)
        self.assertIs(play(Role.CLIENT, *asked, Input.SEND_OPEN), State.DEAD)

    def test_retire_behind_our_fin_may_cross_the_next_open(self) -> None:
        before = (Input.RECV_OPEN, Input.SEND_ACCEPT, Input.SEND_FIN, Input.SEND_RETIRE, Input.RECV_FIN)
        self.assertIs(play(Role.SERVER, *before, Input.RECV_OPEN), State.LAST_OPENING)

    def test_nothing_comes_behind_a_fin(self) -> None:
        for what in (Input.RECV_DATA, Input.RECV_FIN):
            before = (Input.RECV_OPEN, Input.RECV_FIN)
            self.assertIs(play(Role.SERVER, *before, what), State.DEAD)
            self.assertIs(play(Role.SERVER, *before, Input.SEND_ACCEPT, what), State.DEAD)

    def test_nothing_comes_before_accept(self) -> None:
        for what in (Input.RECV_DATA, Input.RECV_FIN):
            self.assertIs(play(Role.CLIENT, Input.SEND_OPEN, what), State.DEAD)

    def test_an_end_in_mid_connection_kills(self) -> None:
        for role, opened in (
            (Role.CLIENT, (Input.SEND_OPEN, Input.RECV_ACCEPT)),
            (Role.SERVER, (Input.RECV_OPEN, Input.SEND_ACCEPT)),
        ):
            self.assertIs(play(role, *opened, Input.RECV_END), State.DEAD)
            self.assertIs(play(role, *opened, Input.RECV_FIN, Input.RECV_END), State.DEAD)
            self.assertIs(play(role, *opened, Input.SEND_FIN, Input.RECV_END), State.DEAD)
