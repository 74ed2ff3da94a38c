"""A sidecar's place at the directory and nothing else: asks once for some addresses, and writes down what it is told.

    python -m tests.kube.follower FOLDER HOST DIRECTORY ADDRESS...

FOLDER has its certificate, key and anchors; DIRECTORY is the name that the one at HOST must prove; an ADDRESS is
IP:PORT. Writes a line for each message: when it came (seconds since the epoch), and its bytes in hexadecimal.
It ends when the stream does: from then on it would know less than a sidecar.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react

from meshtx.directory.messages import endpoint
from meshtx.net.contexts import Contexts
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.name import Name
from meshtx.rpc.connect import Connector
from meshtx.rpc.messages.directory_pb2 import FollowRequest, Update
from meshtx.rpc.methods import DIRECTORY_FOLLOW
from meshtx.wire.address import Address

PORT = 8086


def note(update: Update) -> None:
    print(f"{time.time():.3f} {update.SerializeToString().hex()}", flush=True)


async def follow(reactor: Any, folder: Path, host: str, directory: Name, addresses: list[Address]) -> None:
    trust = TrustBundle.from_pem((folder / "anchors.crt").read_text())
    credentials = Credentials.from_pem((folder / "tls.crt").read_text(), (folder / "tls.key").read_text())
    connection = await Connector(reactor, host, PORT, directory).connect(Contexts(credentials, trust))
    request = FollowRequest(known=[endpoint(each) for each in addresses])
    await connection.client.stream(DIRECTORY_FOLLOW, request, note)


def main(folder: str, host: str, directory: str, *addresses: str) -> None:
    known = [Address.parse(each) for each in addresses]
    react(lambda reactor: ensureDeferred(follow(reactor, Path(folder), host, Name.parse(directory), known)))


if __name__ == "__main__":
    main(*sys.argv[1:])
