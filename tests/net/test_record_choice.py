"""Which record layer is taken: a fast one, and the public one where this pyOpenSSL does not allow it."""

from __future__ import annotations

from runpy import run_path
from typing import Any

from OpenSSL import SSL, _util
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.net import openssl
from meshtx.net.contexts import Contexts
from meshtx.net.records import FastRecords, PublicRecords
from meshtx.net.socket_records import SocketRecords
from meshtx.net.tls import TlsProtocol
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf
from tests.net.record_ends import SocketEnd

CA = make_ca()
CLIENT = Contexts(make_leaf(CA, WEB), CA.trust)


class ChoiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.transport = SocketEnd(self, SocketRecords, CLIENT.client(VOTING)).tcp

    def chosen(self, *, untouched: bool) -> type[object]:
        """Return the layer that is chosen for a quick transport.

        :param untouched: nothing was read from it.
        """
        clock = Clock()
        tls: Any = TlsProtocol(CLIENT.client(VOTING), lambda _: Protocol(), lambda _: None, clock, 10.0)
        tls.start_on(self.transport, untouched=untouched)
        return type(tls._records)

    def test_a_fast_one_is_taken(self) -> None:
        self.assertIs(self.chosen(untouched=False), FastRecords)
        self.assertIs(self.chosen(untouched=True), SocketRecords)

    def test_without_the_functions_it_is_the_public_one(self) -> None:
        """On a socket too: there a peer's key updates could keep its read from ever coming back."""
        self.patch(openssl, "AVAILABLE", False)
        for untouched in (False, True):
            self.assertIs(self.chosen(untouched=untouched), PublicRecords)

    def test_a_pyopenssl_without_the_functions_can_be_imported(self) -> None:
        self.patch(_util, "lib", object())
        self.assertFalse(run_path(openssl.__file__)["AVAILABLE"])

    def test_so_can_one_whose_connections_have_no_handles(self) -> None:
        self.patch(SSL, "Connection", lambda _context: object())
        self.assertFalse(run_path(openssl.__file__)["AVAILABLE"])
