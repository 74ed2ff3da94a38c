"""Which record layer is taken: the fast one, and the public one where this pyOpenSSL does not allow it."""

from __future__ import annotations

from runpy import run_path
from typing import Any

from OpenSSL import SSL, _util
from twisted.trial.unittest import SynchronousTestCase

from meshtx.net import openssl
from meshtx.net.contexts import Contexts
from meshtx.net.records import FastRecords, PublicRecords, records
from meshtx.net.socket_records import FastSocketRecords, SocketRecords, socket_records
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf
from tests.net.record_ends import SocketEnd

CA = make_ca()
CLIENT = Contexts(make_leaf(CA, WEB), CA.trust)


class ChoiceTests(SynchronousTestCase):
    def test_the_fast_one_is_taken(self) -> None:
        self.assertIs(type(records(CLIENT.client(VOTING))), FastRecords)

    def test_without_the_handles_it_is_the_public_one(self) -> None:
        def without(self: FastRecords, connection: SSL.Connection) -> None:
            raise AttributeError("_into_ssl")

        self.patch(FastRecords, "__init__", without)
        self.assertIs(type(records(CLIENT.client(VOTING))), PublicRecords)

    def test_without_the_functions_it_is_the_public_one(self) -> None:
        self.patch(openssl, "AVAILABLE", False)
        self.assertIs(type(records(CLIENT.client(VOTING))), PublicRecords)
        self.assertIs(type(self.on_a_socket()), SocketRecords)

    def test_the_fast_one_is_taken_on_a_socket(self) -> None:
        self.assertIs(type(self.on_a_socket()), FastSocketRecords)

    def test_without_the_handles_it_is_the_public_one_on_a_socket(self) -> None:
        def without(connection: SSL.Connection) -> None:
            raise AttributeError("_into_ssl")

        self.patch(openssl, "handles", without)
        self.assertIs(type(self.on_a_socket()), SocketRecords)

    def on_a_socket(self) -> Any:
        """Return the layer that is chosen there."""
        return SocketEnd(self, socket_records, CLIENT.client(VOTING)).records  # type: ignore[arg-type]

    def test_a_pyopenssl_without_the_functions_can_be_imported(self) -> None:
        self.patch(_util, "lib", object())
        self.assertFalse(run_path(openssl.__file__)["AVAILABLE"])
