"""Who runs where in the demo, and who asks whom."""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from pathlib import Path

from meshtx.demo.verdict import Pair, Party
from meshtx.errors import ConfigError
from meshtx.pki.name import MeshScope, Name

SCOPE = MeshScope()
NAMESPACE = "emojivoto"
OPERATOR = SCOPE.name(NAMESPACE, "operator")
"""Who may tap."""
IDENTITY = SCOPE.name("meshtx", "meshtx-identity")

LIST, VOTE = "GET /api/list", "POST /api/vote"
LIST_ALL = "POST /emojivoto.v1.EmojiService/ListAll"
VOTE_ONE = "POST /emojivoto.v1.VotingService/Vote"

SECRETS = (b"/api/list", b"/api/vote", b"emojivoto.v1.", b":doughnut:", b"shortcode", b"User-Agent", b"Content-Type")
"""Parts of paths, headers and bodies of the traffic: none may be seen between meshed workloads."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One example service or client.

    :param program: its file in `examples/emojivoto`.
    :param port: where it listens, 0 if it does not.
    :param asks: workloads that it is told the addresses of, by the option that takes them.
    """

    name: str
    program: str
    port: int = 0
    asks: tuple[tuple[str, str], ...] = ()
    meshed: bool = True

    @property
    def identity(self) -> Name:
        """Its name, if it is meshed."""
        return SCOPE.name(NAMESPACE, self.name)


WEB = Workload("web", "web.py", 80, (("--emoji", "emoji"), ("--voting", "voting")))
EMOJI = Workload("emoji", "emoji.py", 8080)
VOTING = Workload("voting", "voting.py", 8080)
BOT = Workload("vote-bot", "vote_bot.py", asks=(("--web", "web"),))
OUTSIDE = Workload("outside", "vote_bot.py", asks=(("--web", "web"),), meshed=False)

SERVERS = (EMOJI, VOTING, WEB)
CLIENTS = (BOT, OUTSIDE)
WORKLOADS = (*SERVERS, *CLIENTS)
ADDRESSES = {"web": 2, "emoji": 3, "vote-bot": 4, "voting": 5, "identity": 10, "outside": 20, "operator": 30}
"""The last octet of each host's address."""

_ASKED = ((BOT, WEB, (LIST, VOTE)), (OUTSIDE, WEB, (LIST, VOTE)), (WEB, EMOJI, (LIST_ALL,)), (WEB, VOTING, (VOTE_ONE,)))


def pairs(addresses: dict[str, str]) -> list[Pair]:
    """Return who asks whom.

    :param addresses: by host, its IP address on the wire.
    """

    def party(workload: Workload) -> Party:
        return Party(workload.name, addresses[workload.name], str(workload.identity) if workload.meshed else "")

    return [Pair(party(client), party(server), requests) for client, server, requests in _ASKED]


def asked_by(client: Workload) -> list[Workload]:
    """Return the servers that a client asks."""
    return [server for server in SERVERS if any(name == server.name for _, name in client.asks)]


def directory(addresses: dict[str, str], meshed: tuple[Workload, ...], inbound_port: int) -> str:
    """Return the mesh's directory file."""
    lines = [f"[mesh]\nnetworks = [{', '.join(sorted({repr(_network(a)) for a in addresses.values()}))}]\n"]
    lines += [
        f'[[workload]]\naddresses = ["{addresses[w.name]}"]\nidentity = "{w.identity}"\n'
        f'authority = "{w.name}-svc.{NAMESPACE}"\ninbound_port = {inbound_port}\n'
        for w in meshed
    ]
    return "\n".join(lines)


def _network(address: str) -> str:
    return address.rpartition(".")[0] + ".0/24"


def examples() -> Path:
    """Return the folder of the example services: in a checkout, or where an installed package has put it.

    :raises ConfigError: it is in neither.
    """
    checkout = Path(__file__).parents[2] / "examples" / "emojivoto"
    installed = Path(sysconfig.get_path("data")) / "share" / "meshtx" / "examples" / "emojivoto"
    for folder in (checkout, installed):
        if (folder / "web.py").is_file():
            return folder
    raise ConfigError(
        "demo", f"the example services are neither in {checkout} nor in {installed}", "install meshtx anew"
    )
