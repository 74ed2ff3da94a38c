"""The setting that says which probes a proxy makes, and what a kubelet would send for one."""

from twisted.trial.unittest import SynchronousTestCase

from meshtx import __version__
from meshtx.proxy.probes import GrpcProbe, HttpProbe, ProbeFailed, TcpProbe, parse_probes


class ParseTests(SynchronousTestCase):
    def test_each_kind(self) -> None:
        for text, probe in (
            ('{"tcpSocket": {"port": 1}}', TcpProbe(1)),
            ('{"tcpSocket": {"port": 65535}, "timeoutSeconds": 3}', TcpProbe(65535, timeout=3)),
            ('{"tcpSocket": {"port": 1}, "timeoutSeconds": 0}', TcpProbe(1)),
            ('{"grpc": {"port": 1}}', GrpcProbe(1)),
            ('{"grpc": {"port": 1, "service": null}}', GrpcProbe(1)),
            ('{"grpc": {"port": 1, "service": "a.B"}, "timeoutSeconds": 3}', GrpcProbe(1, "a.B", timeout=3)),
            ('{"httpGet": {"port": 1}}', HttpProbe(1)),
            ('{"httpGet": {"port": 1, "scheme": "HTTP", "httpHeaders": null}}', HttpProbe(1)),
            ('{"httpGet": {"port": 1, "path": "healthy"}}', HttpProbe(1, "/healthy")),
            ('{"httpGet": {"port": 1, "path": "/a", "scheme": "HTTPS"}}', HttpProbe(1, "/a", secure=True)),
            (
                '{"httpGet": {"port": 1, "httpHeaders": [{"name": "A", "value": "b"}]}, "timeoutSeconds": 3}',
                HttpProbe(1, headers=(("A", "b"),), timeout=3),
            ),
        ):
            self.assertEqual(parse_probes(f'{{"/probe/web/liveness": {text}}}'), (("/probe/web/liveness", probe),))

    def test_several_and_none(self) -> None:
        both = '{"/a": {"tcpSocket": {"port": 1}}, "/b": {"tcpSocket": {"port": 2}}}'
        self.assertEqual(parse_probes(both), (("/a", TcpProbe(1)), ("/b", TcpProbe(2))))
        self.assertEqual(parse_probes("{}"), ())

    def test_what_is_no_probe(self) -> None:
        for text in (
            "",
            "{",
            "[]",
            "1",
            "[" * 100_000,
            '{"a": {"tcpSocket": {"port": 1}}}',
            '{"/é": {"tcpSocket": {"port": 1}}}',
            '{"/a": 1}',
            '{"/a": {}}',
            '{"/a": {"exec": {"command": ["true"]}}}',
            '{"/a": {"tcpSocket": 1}}',
            '{"/a": {"tcpSocket": {}}}',
            '{"/a": {"tcpSocket": {"port": "web"}}}',
            '{"/a": {"tcpSocket": {"port": 0}}}',
            '{"/a": {"tcpSocket": {"port": 65536}}}',
            '{"/a": {"tcpSocket": {"port": true}}}',
            '{"/a": {"tcpSocket": {"port": 1}, "timeoutSeconds": "x"}}',
            '{"/a": {"tcpSocket": {"port": 1}, "timeoutSeconds": -1}}',
            '{"/a": {"tcpSocket": {"port": 1}, "timeoutSeconds": [1]}}',
            '{"/a": {"httpGet": {"port": 1, "httpHeaders": 1}}}',
            '{"/a": {"httpGet": {"port": 1, "httpHeaders": [1]}}}',
            '{"/a": {"httpGet": {"port": 1, "httpHeaders": [{"name": "A"}]}}}',
        ):
            self.assertRaises(ValueError, parse_probes, text)


class RequestTests(SynchronousTestCase):
    def request(self, host: str = "10.0.0.1", **given: object) -> str:
        return HttpProbe(80, **given).request(host).decode()  # type: ignore[arg-type]

    def test_it_is_the_kubelets(self) -> None:
        self.assertEqual(
            self.request(path="/healthy?a=b"),
            f"GET /healthy?a=b HTTP/1.1\r\nHost: 10.0.0.1:80\r\nUser-Agent: kube-probe/meshtx-{__version__}\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n",
        )

    def test_the_authors_headers_take_the_place_of_the_kubelets(self) -> None:
        headers = (("host", "web"), ("X-A", "1"), ("X-A", "2"), ("accept", "text/plain"), ("user-agent", "me"))
        self.assertEqual(
            self.request(headers=headers),
            "GET / HTTP/1.1\r\nConnection: close\r\nhost: web\r\nX-A: 1\r\nX-A: 2\r\naccept: text/plain\r\n"
            "user-agent: me\r\n\r\n",
        )

    def test_an_address_of_ipv6_has_brackets(self) -> None:
        self.assertIn("\r\nHost: [fd00::1]:80\r\n", self.request("[fd00::1]"))

    def test_a_path_that_is_no_target_is_quoted(self) -> None:
        for path, target in (
            ("/a b", "/a%20b"),
            ("/a%20b", "/a%20b"),
            ("/é", "/%C3%A9"),
            ("/a\r\nB: c", "/a%0D%0AB:%20c"),
        ):
            self.assertTrue(self.request(path=path).startswith(f"GET {target} HTTP/1.1\r\n"), path)

    def test_a_header_cannot_bring_another(self) -> None:
        for header in (("A", "b\r\nC: d"), ("A\n", "b"), ("A", "b\0")):
            self.assertRaises(ProbeFailed, self.request, headers=(header,))
