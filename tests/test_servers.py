"""The trial on servers under systemd: what it types."""

from twisted.trial.unittest import SynchronousTestCase

from tools.servers import blocks


class TestServers(SynchronousTestCase):
    def test_the_readme_installs_has_an_authority_and_a_proxy(self) -> None:
        install, authority, proxy = blocks()
        self.assertIn("/opt/meshtx/bin/pip install", install)
        self.assertIn("meshtx unit identity |", authority)
        for command in ("unit sysusers |", "unit proxy |", "unit redirect --skip-inbound 22,8080 |"):
            self.assertIn(f"meshtx {command}", proxy)
        self.assertEqual(proxy.count('"web.shop.'), 1)  # the name that is another on the second machine
