"""What becomes of a call that the server says it has not looked at, against a peer made of h2 alone."""

from __future__ import annotations

import itertools

from google.protobuf.wrappers_pb2 import BytesValue
from h2.errors import ErrorCodes
from h2.events import RequestReceived
from h2.settings import SettingCodes
from twisted.internet.defer import Deferred

from meshtx.rpc.client import MAX_DOUBLINGS, PAUSE
from meshtx.rpc.frame_filter import encode_goaway
from meshtx.rpc.status import RpcError, Status
from tests.rpc.support import REPEAT, message
from tests.rpc.test_client import HEAD, OK, ClientCase, framed


class Refusals(ClientCase):
    def takes(self, most: int) -> None:
        self.server.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: most})
        self.server.flush()

    def refuse(self, stream_id: int) -> None:
        self.server.h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
        self.server.flush()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.server.flush()

    def begun(self) -> list[int]:
        return [event.stream_id for event in self.server.of(RequestReceived)]

    def end(self, *calls: Deferred[BytesValue]) -> None:
        self.client.close()
        for call in calls:
            self.failureResultOf(call, RpcError)

    def test_a_refused_call_waits_until_another_has_ended_and_is_the_next(self) -> None:
        self.takes(3)
        first, second, refused, fourth = (self.call() for _ in range(4))
        self.refuse(5)
        self.assertEqual(self.begun(), [1, 3, 5])
        self.answer(1, HEAD, framed(b"1"), OK)
        self.assertEqual(self.begun(), [1, 3, 5, 7])
        self.answer(7, HEAD, framed(b"3"), OK)
        self.assertEqual([self.successResultOf(each) for each in (first, refused)], [message(b"1"), message(b"3")])
        self.end(second, fourth)

    def test_a_server_that_refused_one_is_given_one_more_after_each_pause_up_to_what_it_takes(self) -> None:
        self.takes(4)
        calls = [self.call() for _ in range(6)]
        self.refuse(7)
        self.refuse(5)
        begun = []
        for seconds in (2 * PAUSE, 2 * PAUSE, 5):
            self.advance(seconds)
            begun.append(self.begun()[4:])
        self.assertEqual(begun, [[9], [9, 11], [9, 11]])
        self.assertEqual(len(self.clock.getDelayedCalls()), len(calls), "a pause though the server has what it takes")
        self.end(*calls)

    def test_a_server_that_refuses_a_call_whenever_it_is_asked_is_asked_ever_less_until_the_deadline(self) -> None:
        call = self.call(timeout=10)
        times = []
        while self.clock.seconds() < 10 and len(times) < 1000:
            if len(self.begun()) > len(times):
                times.append(self.clock.seconds())
                self.refuse(self.begun()[-1])
            self.advance(PAUSE / 8)
        pauses = [round((later - time) / PAUSE) for time, later in itertools.pairwise(times)]
        self.assertEqual(pauses[: MAX_DOUBLINGS + 2], [2, 4, 8, 16, 32, 64, 64, 64])
        self.assertEqual(
            self.refused(call), (Status.DEADLINE_EXCEEDED, f"no answer within 10 s, refused {len(times)} times")
        )

    def test_new_settings_end_the_wait(self) -> None:
        calls = [self.call(), self.call()]
        self.refuse(3)
        self.refuse(1)
        self.takes(2)
        self.assertEqual(self.begun(), [1, 3, 5, 7])
        self.end(*calls)

    def test_a_server_that_goes_away_is_not_asked_again(self) -> None:
        call = self.call()
        self.client.dataReceived(encode_goaway(2**31 - 1))
        self.refuse(1)
        self.assertEqual(self.refused(call), (Status.UNAVAILABLE, "the server reset the stream: REFUSED_STREAM"))

    def test_a_call_that_was_answered_in_part_is_not_tried_again(self) -> None:
        got: list[bytes] = []
        stream = self.client.stream(REPEAT, message(), lambda each: got.append(each.value))
        self.server.flush()
        self.server.h2.send_headers(1, HEAD)
        self.server.h2.send_data(1, framed(b"1"))
        self.refuse(1)
        self.assertEqual(self.refused(stream), (Status.UNAVAILABLE, "the server reset the stream: REFUSED_STREAM"))
        self.assertEqual(got, [b"1"])
