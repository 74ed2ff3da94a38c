"""Programs, as text, that tests of the redirect run in network namespaces."""

from __future__ import annotations

LISTENER = """
import selectors, socket, sys
from meshtx.net.origdst import NoOriginalDestination, original_destination
from meshtx.wire.address import Address
ready = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        sock = socket.socket(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen()
        ready.register(sock, selectors.EVENT_READ, port)
print("ready", flush=True)
while True:
    for key, _ in ready.select():
        peer, _ = key.fileobj.accept()
        try:
            original = original_destination(peer, Address.of(*peer.getsockname()[:2]))
            said = f"{key.data} {original.address} {original.redirected}"
        except NoOriginalDestination:
            said = f"{key.data} unknown"
        peer.sendall(said.encode())
        peer.close()
"""
"""Answers each connection with its port, the original destination, and whether it was redirected."""

CLIENT = """
import json, os, socket, sys
from meshtx.net.sockets import SocketOptions, set_mark
uid, gid, mark, *targets = sys.argv[1:]
if gid: os.setgid(int(gid))
if uid: os.setuid(int(uid))
said = []
for target in targets:
    host, _, port = target.rpartition(":")
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.settimeout(5)
    set_mark(sock, SocketOptions(mark=int(mark) if mark else None))
    try:
        sock.connect((host.strip("[]"), int(port)))
        said.append(sock.recv(200).decode())
    except OSError as why:
        said.append(type(why).__name__)
print(json.dumps(said))
"""


STRAY = """
import socket, struct, sys
source, target = map(socket.inet_aton, sys.argv[1:])
head = [40000, 8080, 1000, 2000, 0x5019, 1000, 0, 0]  # ports, sequence, acknowledged, FIN+PSH+ACK, window, sum, urgent
pseudo = source + target + struct.pack("!HH", socket.IPPROTO_TCP, 20)
total = sum(struct.unpack("!16H", pseudo + struct.pack("!HHIIHHHH", *head)))
head[6] = ~(total + (total >> 16)) & 0xFFFF
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP).sendto(
    struct.pack("!HHIIHHHH", *head), (sys.argv[2], 0))
"""
"""Sends one segment of a connection that there is not."""

FORGET = """
import socket, struct
def forget():
    tracking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)  # NETLINK_NETFILTER
    tracking.send(struct.pack("=IHHIIBBH", 20, 1 << 8 | 2, 5, 1, 0, socket.AF_INET, 0, 0))  # IPCTNL_MSG_CT_DELETE: all
    assert struct.unpack("=i", tracking.recv(100)[16:20])[0] == 0
"""
"""Has connection tracking forget all connections."""

FORGOTTEN = (
    FORGET
    + """
import sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
sock.recv(200)
forget()
sock.sendall(b"a secret")
"""
)
"""Sends on a connection that connection tracking has forgotten meanwhile."""

SAME_PORT = (
    FORGET
    + """
import sys
from meshtx.net.origdst import AlreadyGone, original_destination
from meshtx.wire.address import Address
def dial(port):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close by a reset
    sock.bind(("", 45000))
    sock.connect((sys.argv[1], port))
    return sock
listener = socket.create_server(("127.0.0.1", 4999))
dial(7001).close()
forget()  # as it does of itself, ten seconds later
second = dial(7002)
for sock in (listener.accept()[0], listener.accept()[0]):
    try:
        print(original_destination(sock, Address.of(*sock.getsockname())).address)
    except AlreadyGone as why:
        print(why)
"""
)
"""Accepts a connection that was reset, when its port has another one already; says where each was going."""


ENDED_LONG_AGO = (
    FORGET
    + """
import sys, time
from meshtx.net import origdst
from meshtx.net.origdst import AlreadyGone, original_destination
from meshtx.wire.address import Address
origdst._LONGEST_ENDED = 100
def new():
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", 45000))
    return sock
listener = socket.create_server(("127.0.0.1", 4999))
first = new()
first.connect((sys.argv[1], 7001))
first.sendall(b"for 7001")
first.close()
time.sleep(0.3)
forget()  # as it does of itself, 60 s after the client's FIN
second = new()
second.setblocking(False)
second.connect_ex((sys.argv[1], 7002))
sock = listener.accept()[0]
try:
    print(original_destination(sock, Address.of(*sock.getsockname())).address)
except AlreadyGone as why:
    print(why)
"""
)
"""Accepts a connection that was ended 0.3 s ago, when its port begins another one; says where it was going."""

NO_RESETS = """
table inet lossy {
  chain output {
    type filter hook output priority 0;
    tcp flags & rst == rst drop
  }
}
"""
"""Loses the segment by which the second connection would reset the first one; on a real network it only takes time."""
