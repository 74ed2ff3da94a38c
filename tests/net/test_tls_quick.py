"""All that TLS over real connections is tested for, once more on quick transports: TLS has the socket itself."""

import sys
from fcntl import ioctl
from termios import FIONREAD

from meshtx.net.poller import Transports
from tests.net import (
    test_legs_sockets,
    test_tls,
    test_tls_back_pressure,
    test_tls_interop,
    test_tls_refusals,
    test_tls_transport,
)
from tests.net.tls_pair import Case
from tests.net.tls_wire import Half, Side, turns


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


class Heads(Half):
    """Takes the head of whatever it may."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[bytes] = []

    def take_head(self, plain: memoryview, size: int) -> int:
        self.asked.append(bytes(plain[:4]))
        return 4


class HeadTests(Case):
    transports = Transports.QUICK

    async def paused(self) -> tuple[Side, Heads]:
        """Return an end that has more than a record to read, and waits to be resumed, and its protocol."""
        app = Heads()
        c, s = await self.pair(server=app)
        app.transport.pauseProducing()
        await turns()
        c.app.transport.write(b"head" + b"x" * 40_000)
        while int.from_bytes(ioctl(s.tcp.fileno(), FIONREAD, bytes(4)), sys.byteorder) < 40_000 + 3 * 22:
            await turns()
        return s, app

    async def test_it_is_not_copied(self) -> None:
        _, app = await self.paused()
        app.transport.resumeProducing()
        while len(app.data) < 40_000:
            await turns()
        self.assertEqual((app.asked, app.data), ([b"head"], b"x" * 40_000))

    async def test_not_if_the_protocol_does_not_get_it_at_once(self) -> None:
        """For what was kept before would come behind the head then."""
        s, app = await self.paused()
        s.tcp.doRead()
        app.transport.resumeProducing()
        while len(app.data) < 40_004:
            await turns()
        self.assertEqual((app.asked, app.data), ([], b"head" + b"x" * 40_000))


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
