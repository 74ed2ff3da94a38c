"""HAProxy and nginx, as balancers in front and as the application: it sees the real client, and no forged one."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.mesh import teller
from tests.mesh.balancing import ask, haproxy, haproxy_tells, nginx
from tests.mesh.town import Town, why_not

FORGED = "198.51.100.66"
LINE = rf"PROXY TCP4 {FORGED} 203.0.113.1 1 443\r\n"
REQUEST = r"GET / HTTP/1.0\r\n\r\n"

IN_FRONT = {
    "haproxy, version 1": "send-proxy",
    "haproxy, version 2": "send-proxy-v2",
    "haproxy, version 2 and checks": "send-proxy-v2 check inter 100ms",
    "nginx, version 1": "",
}
BEHIND = {"haproxy": 8001, "nginx": 8002}


class Tale(SynchronousTestCase):
    skip = why_not("haproxy", "nginx")

    def setUp(self) -> None:
        self.town = Town(["server", "peer"], ["client", "balancer"])
        self.addCleanup(self.town.remove)
        self.server, self.client, self.balancer = (
            self.town.addresses[each] for each in ("server", "client", "balancer")
        )
        self.fronts: dict[tuple[str, str], int] = {}
        self.town.identity()
        declared = f"--proxy-protocol-from={self.balancer}=8001-8002"
        self.sidecar = self.town.sidecars(declared, "--proxy-protocol-to=8001-8002", "--admin-plaintext-metrics")[
            "server"
        ]
        self.application()
        self.balancers()

    def application(self) -> None:
        haproxy(self.town, "server", haproxy_tells(self.server, 8001), 8001)
        temporary = "".join(
            f"{each}_temp_path {self.town.folder}/{each};\n"
            for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        told = " ".join(f"$proxy_protocol_{each}" for each in ("addr", "port", "server_addr", "server_port"))
        nginx(
            self.town,
            "server",
            f"http {{ access_log off; {temporary} server {{\n"
            f'listen {self.server}:8002 proxy_protocol; return 200 "{told}"; }} }}\n',
            8002,
        )

    def balancers(self) -> None:
        of_haproxy, of_nginx, port = "", "", 9000
        for front, options in IN_FRONT.items():
            for behind, goal in BEHIND.items():
                port += 1
                self.fronts[front, behind] = port
                if front.startswith("haproxy"):
                    of_haproxy += f"listen l{port}\n mode tcp\n bind {self.balancer}:{port}\n"
                    of_haproxy += f" server app {self.server}:{goal} {options}\n"
                else:
                    of_nginx += f"server {{ listen {self.balancer}:{port}; proxy_pass {self.server}:{goal};"
                    of_nginx += " proxy_protocol on; }\n"
        haproxy(self.town, "balancer", of_haproxy, self.fronts["haproxy, version 1", "haproxy"])
        nginx(self.town, "balancer", f"stream {{\n{of_nginx}}}\n", self.fronts["nginx, version 1", "nginx"])

    def tell(self, host: str, address: str, port: int, text: str) -> str:
        return self.town.python(host, teller, address, str(port), text).answer()

    def test_the_application_sees_the_real_client(self) -> None:
        tap = self.town.tap("server", options=["-o", "json"])
        ports = []
        for (front, behind), port in self.fronts.items():
            told = ask(self.town, "client", self.balancer, port)
            self.assertEqual(
                told, [self.client, told[-1], self.balancer, str(port), self.client, told[-1]], (front, behind)
            )
            ports.append(told[-1])
        for port in BEHIND.values():
            told = ask(self.town, "peer", self.server, port)
            peer = self.town.addresses["peer"]
            self.assertEqual(told, [peer, told[-1], self.server, str(port), peer, told[-1]])
        for port in ports:
            tap.says(f'"{self.client}:{port}"')
        lines = [line for line in tap.lines if f'"{self.client}:' in line]
        self.assertEqual([line for line in lines if '"known":"proxy_header"' not in line.replace(" ", "")], [])
        refused = [each for each in self.town.metrics("server") if each.startswith("tcp_refused_total")]
        self.assertEqual(refused, [])

    def test_nobody_else_can_say_who_a_client_is(self) -> None:
        for port in BEHIND.values():
            told = ask(self.town, "client", self.server, port)
            self.assertEqual(told, [self.client, told[-1], self.server, str(port), self.client, told[-1]])
            self.assertIn("400 Bad", self.tell("client", self.server, port, LINE + REQUEST))
        for port in self.fronts.values():
            self.assertIn("400 Bad", self.tell("client", self.balancer, port, LINE + REQUEST))
        for port in BEHIND.values():
            self.assertEqual(self.tell("balancer", self.server, port, REQUEST), "reset")
            self.sidecar.says(f"-> {self.server}:{port} refused: proxy_header (no PROXY header)")
        key = 'tcp_refused_total{direction="inbound",reason="proxy_header"}'
        self.assertEqual(self.town.metrics("server")[key], 2)
        self.assertNotIn(FORGED, self.sidecar.log)
