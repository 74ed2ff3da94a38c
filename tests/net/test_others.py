"""Who else listens in this network namespace, by the kernel's own table."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshtx.net.others import TABLES, others_listen

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LISTEN, ESTABLISHED = "0A", "01"


def line(state: str, uid: int) -> str:
    return f"   0: 00000000:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 {uid:5} 0 1 1\n"


class TableTests(SynchronousTestCase):
    def listen(self, *lines: str) -> bool:
        table = Path(self.mktemp())
        table.write_text("".join([HEADING, *lines]))
        return others_listen([Path("/nowhere"), table])

    def test_the_listeners_of_others_count(self) -> None:
        own, other = os.geteuid(), os.geteuid() + 1
        self.assertTrue(self.listen(line(LISTEN, own), line(LISTEN, other)))
        self.assertFalse(self.listen(line(LISTEN, own)))
        self.assertFalse(self.listen(line(ESTABLISHED, other)))
        self.assertFalse(self.listen())

    def test_the_search_ends_with_the_listeners(self) -> None:
        """Which the kernel lists first: there may be tens of thousands of connections."""
        other = os.geteuid() + 1
        self.assertFalse(self.listen(line(ESTABLISHED, other), line(LISTEN, other)))

    def test_a_table_that_cannot_be_read_tells_of_nobody(self) -> None:
        self.assertFalse(others_listen([Path("/nowhere"), Path("/")]))


_ALONE = """
import os, socket, sys
from meshtx.net.others import others_listen
seen = [others_listen()]
own = socket.create_server(("127.0.0.1", 0))
seen.append(others_listen())
listener = socket.socket(socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET)
os.seteuid(2102)
other = socket.socket(listener.family)
other.bind(("::1" if sys.argv[1] == "6" else "127.0.0.1", 0))
other.listen()
os.seteuid(0)
client = socket.create_connection(other.getsockname()[:2])
seen.append(others_listen())
other.close()
seen.append(others_listen())
print(seen)
"""


class KernelTests(SynchronousTestCase):
    def test_in_a_namespace_of_its_own(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root may make a network namespace")
        for family in "46":
            command = ["unshare", "--net", "sh", "-c", f"ip link set lo up && exec {sys.executable} - {family}"]
            done = subprocess.run(command, input=_ALONE, capture_output=True, text=True, check=False)
            self.assertEqual(done.stdout, "[False, False, True, False]\n", done.stderr)

    def test_here_a_listener_of_our_own_is_none(self) -> None:
        before = others_listen(TABLES)
        with socket.create_server(("127.0.0.1", 0)):
            self.assertIs(others_listen(TABLES), before)
