"""A mesh on the loopback network whose programs are restarted in place, under load, by a service manager of the tests.

    python -m tests.mesh.restarts COUNT
    python -m tests.mesh.restarts HOST PORT     the load alone, until standard input ends: for other meshes

    clients ─▶ "client", its proxy ══▶ "web", its proxy ─▶ web_server        each program run by a `Manager`
                                 identity

Each restart is of another program. It writes how many requests were answered, and what became of the others; no
privilege is needed.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from itertools import cycle, islice
from pathlib import Path

from meshtx.identity import ca_folder
from tests.mesh import web_server
from tests.mesh.town import SCOPE, environment, name, twistd
from tests.services.manager import Manager

CLIENT, SERVER = "127.0.0.1", "127.0.0.2"
NAMESPACE = "town"
CLIENTS = 2
"""Of each kind."""
REQUESTS_KEPT = 20
"""Requests on a connection of a client that keeps its connection for a while; others make one for each."""
PAUSE = 0.005
"""Seconds between two requests of a client."""
PATIENCE = 30.0
"""Seconds for an answer: a restart is waited for, and the machine may be busy."""


def free_port(ip: str) -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind((ip, 0))
        return int(sock.getsockname()[1])


class Load:
    """Clients that ask until they are told to stop."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._ends = threading.Event()
        self.results: Counter[str] = Counter()
        kinds = (1, REQUESTS_KEPT) * CLIENTS
        self._threads = [threading.Thread(target=self._ask, args=[requests]) for requests in kinds]
        for thread in self._threads:
            thread.start()

    def _ask(self, requests: int) -> None:
        while not self._ends.is_set():
            connection = HTTPConnection(self._host, self._port, timeout=PATIENCE)
            for _ in range(requests):
                result = _asked(connection)
                self.results[result] += 1
                if result != "answered":
                    break
                time.sleep(PAUSE)
            connection.close()

    def end(self) -> Counter[str]:
        """Have the clients end, and return what became of their requests."""
        self._ends.set()
        for thread in self._threads:
            thread.join()
        return self.results


def _asked(connection: HTTPConnection) -> str:
    try:
        connection.request("POST", "/", "again")
        answer = connection.getresponse().read()
    except (OSError, HTTPException) as error:
        return repr(error)
    return "answered" if answer == b"again" else f"answered {answer!r}"


class Restarts:
    """The mesh, of which everything runs and is ready.

    :param folder: empty.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        ca_folder.init(folder / "ca", SCOPE, datetime.now(UTC))
        identity, way_in = f"{CLIENT}:{free_port(CLIENT)}", free_port(SERVER)
        application, self.port = free_port(SERVER), free_port(CLIENT)
        (folder / "mesh.toml").write_text(
            f'[[workload]]\naddresses = ["{SERVER}"]\nidentity = "{name("web")}"\ninbound_port = {way_in}\n'
        )
        self.programs = {
            "identity": self._manager(
                "identity",
                *("meshidentity", "--listen", identity, "--admin-listen", f"{CLIENT}:{free_port(CLIENT)}"),
                *("--issuer", f"{folder}/ca/issuer", "--token-key-file", f"{folder}/ca/token.pub"),
            ),
            "web": self._proxy("web", SERVER, identity, "--inbound-listen", f"{SERVER}:{way_in}", "--outbound-listen="),
            "client": self._proxy(
                "client",
                CLIENT,
                identity,
                *("--inbound-listen=", "--outbound-listen="),
                *("--outbound-forward", f"{CLIENT}:{self.port}={SERVER}:{application}"),
            ),
        }
        server = self._manager("server", command=[sys.executable, "-m", web_server.__name__, SERVER, str(application)])
        server.start()
        server.until(lambda: "serving" in server.log.read_text(), "it serves")
        for program in self.programs.values():
            program.start()
            program.until_ready()

    def _manager(self, what: str, *options: str, command: list[str] | None = None) -> Manager:
        folder = self._folder / what
        folder.mkdir()
        manager = Manager(folder, command or twistd(*options), environment())
        self._stack.callback(manager.close)
        return manager

    def _proxy(self, account: str, ip: str, identity: str, *options: str) -> Manager:
        folder = self._folder
        token = folder / f"{account}.token"
        token.write_text(ca_folder.create_token(folder / "ca", NAMESPACE, account, time.time()))
        return self._manager(
            account,
            *("meshproxy", "--name", str(name(account)), "--token-file", str(token), "--identity-address", identity),
            *("--trust-anchors-file", f"{folder}/ca/ca-bundle.crt", "--directory-file", f"{folder}/mesh.toml"),
            *("--tap-listen", f"{ip}:{free_port(ip)}", "--admin-listen", f"{ip}:{free_port(ip)}"),
            *options,
        )

    def restart(self, count: int) -> Iterator[str]:
        """Restart one program after the other; yield which it was."""
        for what in islice(cycle(self.programs), count):
            self.programs[what].restart()
            yield what


def summary(results: Counter[str]) -> str:
    """Return what became of requests, as `Load.end` gives it: a line, and one more for each kind of error."""
    refused = sum(count for result, count in results.items() if result.startswith(ConnectionRefusedError.__name__))
    lost = results.total() - results["answered"] - refused
    errors = [f"{count} times {result}" for result, count in results.items() if result != "answered"]
    return "\n".join([f"{results['answered']} answered, {refused} refused, {lost} lost", *errors])


@contextmanager
def mesh() -> Iterator[Restarts]:
    """Run the mesh for a while."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        yield Restarts(Path(folder), stack)


def main(count: int) -> None:
    """Restart `count` times under load, and write what became of the requests."""
    with mesh() as running:
        load = Load(CLIENT, running.port)
        try:
            done = Counter(running.restart(count))
        finally:
            results = load.end()
        print(f"restarts: {dict(done)}")
        print(f"requests: {summary(results)}")


def ask(host: str, port: int) -> None:
    """Ask until standard input ends, and write what became of the requests."""
    load = Load(host, port)
    sys.stdin.read()
    print(json.dumps(load.end()))


if __name__ == "__main__":
    main(int(sys.argv[1])) if len(sys.argv) == 2 else ask(sys.argv[1], int(sys.argv[2]))
