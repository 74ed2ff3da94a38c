"""All that TLS over real connections is tested for, once more on quick transports: TLS has the socket itself."""

from meshtx.net.poller import Transports
from tests.net import (
    test_legs_sockets,
    test_tls,
    test_tls_back_pressure,
    test_tls_interop,
    test_tls_refusals,
    test_tls_transport,
)


class QuickHandshakeTests(test_tls.HandshakeTests):
    transports = Transports.QUICK


class QuickRefusalTests(test_tls_refusals.RefusalTests):
    transports = Transports.QUICK


class QuickOpenSslTests(test_tls_interop.OpenSslTests):
    transports = Transports.QUICK


class QuickLingerTests(test_tls_back_pressure.LingerTests):
    transports = Transports.QUICK


class QuickBackPressureTests(test_tls_back_pressure.BackPressureTests):
    transports = Transports.QUICK


class QuickEndsTests(test_tls_transport.EndsTests):
    transports = Transports.QUICK


class QuickPiecesTests(test_tls_transport.PiecesTests):
    transports = Transports.QUICK


class QuickCallsTests(test_tls_transport.CallsTests):
    transports = Transports.QUICK


class QuickLegTests(test_legs_sockets.ExchangeTests):
    transports = Transports.QUICK


class QuickPlainLegTests(test_legs_sockets.PlainTests):
    transports = Transports.QUICK


class QuickTlsLegTests(test_legs_sockets.TlsTests):
    transports = Transports.QUICK


class QuickPressureTests(test_legs_sockets.PressureTests):
    transports = Transports.QUICK
