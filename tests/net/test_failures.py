"""OpenSSL's errors mean one reason each."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from meshtx.net.failures import TlsFailure, translate
from meshtx.pki.peer_name import PeerNameReason


class TranslateTests(SynchronousTestCase):
    def check(self, texts: list[str], reason: TlsFailure, detail: str) -> None:
        error = translate(SSL.Error([("SSL routines", "", text) for text in texts]))
        self.assertEqual((error.reason, error.detail, str(error)), (reason, detail, f"{reason}: {detail}"))

    def test_each_text_of_openssl_has_its_reason(self) -> None:
        for text, reason in (
            ("unsupported protocol", TlsFailure.VERSION),
            ("tlsv1 alert protocol version", TlsFailure.VERSION),
            ("peer did not return a certificate", TlsFailure.NO_CERTIFICATE),
            ("no application protocol", TlsFailure.NO_ALPN),
            ("tlsv1 alert no application protocol", TlsFailure.NO_ALPN),
            ("tlsv1 alert unknown ca", TlsFailure.REJECTED),
            ("tlsv13 alert certificate required", TlsFailure.REJECTED),
            ("tls alert certificate expired", TlsFailure.REJECTED),
            ("ssl/tls alert handshake failure", TlsFailure.REJECTED),
            ("sslv3 alert bad certificate", TlsFailure.REJECTED),
            ("tlsv1 unrecognized name", TlsFailure.WRONG_NAME),
            ("tlsv1 unsupported extension", TlsFailure.REJECTED),
            ("unknown alert type", TlsFailure.OTHER),
            ("tls illegal exporter label", TlsFailure.OTHER),
            ("http request", TlsFailure.OTHER),
        ):
            self.check([text], reason, text)

    def test_any_entry_may_carry_the_reason(self) -> None:
        self.check(
            ["unsupported protocol", "record layer failure", "record layer failure"],
            TlsFailure.VERSION,
            "unsupported protocol; record layer failure",
        )

    def test_openssl_may_give_no_reason(self) -> None:
        self.check([], TlsFailure.OTHER, "OpenSSL gives no reason")
        self.assertEqual(translate(SSL.Error()).detail, "OpenSSL gives no reason")

    def test_an_error_of_the_system_is_told_by_its_text(self) -> None:
        error = translate(SSL.SysCallError(-1, "Unexpected EOF"))
        self.assertEqual((error.reason, error.detail), (TlsFailure.OTHER, "Unexpected EOF"))

    def test_what_is_wrong_with_a_name_is_a_reason_of_its_own(self) -> None:
        self.assertLessEqual({reason.value for reason in PeerNameReason}, {failure.value for failure in TlsFailure})
