"""A sidecar's directory by itself, of whichever release runs it: says who is behind an address whenever it is another.

    PYTHON tests/kube/finder.py FOLDER HOST PORT DIRECTORY ADDRESS

FOLDER has its certificate, key and anchors; DIRECTORY is the name that the one at HOST and PORT must prove; ADDRESS is
IP:PORT. It imports nothing of the tests, which another release does not have, and runs until it is ended.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater, react

from meshtx.directory.remote import RemoteDirectory
from meshtx.directory.target import NotReady
from meshtx.net.contexts import Contexts
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.name import Name
from meshtx.rpc.connect import Connection, Connector
from meshtx.wire.address import Address

BETWEEN = 0.02
"""Seconds between two looks."""


async def find(reactor: Any, folder: Path, connector: Connector, address: Address) -> None:
    trust = TrustBundle.from_pem((folder / "anchors.crt").read_text())
    credentials = Credentials.from_pem((folder / "tls.crt").read_text(), (folder / "tls.key").read_text())
    contexts = Contexts(credentials, trust)

    def connect(contexts: Contexts) -> Deferred[Connection]:
        return ensureDeferred(connector.connect(contexts))

    directory = RemoteDirectory(connect, lambda: contexts, reactor, rng=Random(1), registry=CollectorRegistry())
    directory.startService()
    before = ""
    while True:
        try:
            now = str((await directory.find(address)).security)
        except NotReady:
            now = "not ready"
        if now != before:
            print(now, flush=True)
        before = now
        await deferLater(reactor, BETWEEN)


def main(reactor: Any, folder: str, host: str, port: str, directory: str, address: str) -> Deferred[None]:
    connector = Connector(reactor, host, int(port), Name.parse(directory))
    return ensureDeferred(find(reactor, Path(folder), connector, Address.parse(address)))


if __name__ == "__main__":
    react(main, sys.argv[1:])
