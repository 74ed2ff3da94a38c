"""Who speaks first on a port, as it is learned."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshtx.proxy.speakers import GRACE, MAX_PORTS, SILENCE, Speaker, Speakers, patience


class SpeakersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.speakers = Speakers()

    def heard(self, *who: str) -> Speaker:
        for each in who:
            (self.speakers.server_spoke if each == "server" else self.speakers.client_spoke)(25)
        return self.speakers.of(25)

    def test_nothing_is_known_at_first(self) -> None:
        self.assertEqual(self.speakers.of(25), Speaker.UNKNOWN)

    def test_one_connection_tells(self) -> None:
        self.assertEqual(self.heard("server"), Speaker.SERVER_FIRST)
        self.assertEqual(self.speakers.of(26), Speaker.UNKNOWN)

    def test_clients_that_speak_first(self) -> None:
        self.assertEqual(self.heard("client"), Speaker.CLIENT_FIRST)
        self.assertEqual(self.heard("client"), Speaker.CLIENT_FIRST)

    def test_a_wrong_guess_corrects_itself(self) -> None:
        self.assertEqual(self.heard("client", "server"), Speaker.SERVER_FIRST)

    def test_one_client_out_of_turn_does_not_silence_a_server(self) -> None:
        self.assertEqual(self.heard("server", "client"), Speaker.UNKNOWN)
        self.assertEqual(self.heard("server", "client", "client"), Speaker.CLIENT_FIRST)

    def test_the_ports_that_are_remembered_are_bounded(self) -> None:
        speakers = Speakers(limit=2)
        for port in (1, 2, 1, 3):
            speakers.server_spoke(port)
        self.assertEqual(len(speakers), 2)
        self.assertEqual([speakers.of(port) is Speaker.SERVER_FIRST for port in (1, 2, 3)], [False, True, True])
        self.assertLessEqual(MAX_PORTS, 65536)

    def test_for_how_long_silence_is_listened_to(self) -> None:
        told = {speaker: patience(speaker) for speaker in Speaker}
        self.assertEqual(told, {Speaker.UNKNOWN: GRACE, Speaker.SERVER_FIRST: 0.0, Speaker.CLIENT_FIRST: SILENCE})
        told = {speaker: patience(speaker, may_be_meshed=False) for speaker in Speaker}
        self.assertEqual(told, {Speaker.UNKNOWN: 0.0, Speaker.SERVER_FIRST: 0.0, Speaker.CLIENT_FIRST: SILENCE})
