"""The trial on a laptop and on servers: what it types."""

from twisted.trial.unittest import SynchronousTestCase

from tools.readme import blocks, section
from tools.servers import SERVERS


class TestReadme(SynchronousTestCase):
    def test_a_block_has_a_language_and_a_text(self) -> None:
        self.assertEqual(blocks("More"), [])
        self.assertEqual([language for language, _ in blocks("On one laptop")], ["sh", "toml", "sh", "sh", ""])

    def test_a_section_that_is_not_there_is_an_error(self) -> None:
        self.assertRaises(ValueError, section, "On two laptops")


class TestServers(SynchronousTestCase):
    def test_the_readme_installs_has_an_authority_and_a_proxy(self) -> None:
        install, authority, proxy = (text for _, text in blocks(SERVERS))
        self.assertIn("/opt/meshtx/bin/pip install", install)
        self.assertIn("meshtx unit identity |", authority)
        for command in ("unit sysusers |", "unit proxy |", "unit redirect --skip-inbound 22,8080 |"):
            self.assertIn(f"meshtx {command}", proxy)
        self.assertEqual(proxy.count('"web.shop.'), 1)  # the name that is another on the second machine
