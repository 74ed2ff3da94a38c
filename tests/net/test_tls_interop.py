"""Another implementation's client, with what ours never asks for: short records and key updates."""

from __future__ import annotations

from pathlib import Path
from shutil import which

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol

from meshtx.net.contexts import Contexts
from meshtx.net.tls import Session
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf
from tests.net.tls_wire import Half, Side, WireCase, listen

CA = make_ca()
SERVER = Contexts(make_leaf(CA, VOTING), CA.trust)


class Client(ProcessProtocol):
    """``openssl s_client``: takes lines, of which K asks for a key update of both sides, k sends one, Q ends."""

    def __init__(self) -> None:
        self.out = b""
        self.ended: Deferred[None] = Deferred()
        self._waiting: tuple[bytes, int, Deferred[None]] | None = None

    def says(self, what: bytes, times: int = 1) -> Deferred[None]:
        """Fire when it has printed this so many times."""
        said: Deferred[None] = Deferred()
        self._waiting = what, times, said
        self._look()
        return said

    def line(self, text: bytes) -> None:
        self.transport.write(text + b"\n")

    def childDataReceived(self, _descriptor: int, data: bytes) -> None:
        self.out += data
        self._look()

    def _look(self) -> None:
        if self._waiting and self.out.count(self._waiting[0]) >= self._waiting[1]:
            said, self._waiting = self._waiting[2], None
            said.callback(None)

    def processEnded(self, _reason: object) -> None:
        self.ended.callback(None)


class OpenSslTests(WireCase):
    timeout = 20.0
    if which("openssl") is None:
        skip = "openssl is not installed"

    def start(self, port: int, *options: str) -> Client:
        folder = Path(self.mktemp())
        folder.mkdir()
        leaf = make_leaf(CA, WEB)
        (folder / "anchors").write_text(CA.pem)
        (folder / "leaf").write_bytes(leaf.chain_pem() + leaf.key_pem())
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", str(VOTING)]
        trust = ["-CAfile", str(folder / "anchors"), "-verify_return_error", "-cert", str(folder / "leaf")]
        client = Client()
        reactor.spawnProcess(client, which("openssl"), [*command, *trust, *options], env=None)
        self.addCleanup(lambda: client.transport.pid and client.transport.signalProcess("KILL"))
        return client

    async def test_it_talks_with_short_records_and_key_updates(self) -> None:
        for options in ([], ["-maxfraglen", "512"]):
            side = Side(SERVER.server(), Half())
            client = self.start(listen(self, side.tls), *options)
            session = await side.outcome
            assert isinstance(session, Session), session
            self.assertEqual((session.peer, session.server_name), (WEB, str(VOTING)))
            await client.says(b"Verify return code: 0 (ok)")
            for number, update in enumerate((b"K", b"k"), 1):
                client.line(update)
                await client.says(b"KEYUPDATE", number)
                client.line(b"hello")
                await side.app.has(number * 6)
                side.app.transport.write(b"x" * 20_000 + b"<end>")
                await client.says(b"<end>", number)
                self.assertEqual(client.out.count(b"x" * 512) >= 39 * number, True)
            client.line(b"Q")
            await side.app.eof
            side.app.transport.loseConnection()
            await side.app.lost
            await client.ended
            self.assertEqual(side.app.data, b"hello\nhello\n")
