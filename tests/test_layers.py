"""The rooms: each may import from rooms below it and from nowhere else. See ARCHITECTURE.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "meshtx"

LAYERS: list[set[str]] = [
    {"errors", "plugins"},
    {"files", "extensions", "watch"},
    {"wire"},
    {"pki"},
    {"net"},
    {"rpc"},
    {"observe.flow"},
    {"interfaces"},
    {"observe"},
    {"plugins.*"},
    {"identity", "directory"},
    {"proxy"},
    {"config"},
    {"kube"},
    {"services", "supervisor"},
    {"demo"},
    {"cli"},
]
"""Lowest first. Rooms of one layer do not know each other.

``observe.flow`` holds the values that interfaces speak of. ``plugins`` is the empty package alone, where plugins
are looked for; ``plugins.*`` are those of ours, which stand on `observe` as a user's do.
"""

LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

NEVER = {
    "wire": {
        "twisted",
        "zope",
        "OpenSSL",
        "cryptography",
        "socket",
        "select",
        "ssl",
        "time",
        "os",
        "pathlib",
        "asyncio",
    },
    "pki": {"twisted", "zope", "OpenSSL.SSL", "socket", "select", "ssl", "time", "os", "pathlib", "asyncio"},
}
"""No I/O, no clock and no transport in the pure rooms."""

Import = tuple[str, int, bool]
"""A module, the line, and whether the import stands at the top of the file."""


def sources(under: Path) -> list[Path]:
    return sorted(path for path in under.rglob("*.py") if not path.name.endswith("_pb2.py"))


def room(module: str) -> str:
    """Return the room of a module of ours, by its name without ``meshtx.``."""
    first, _, rest = module.partition(".")
    if f"{module}.".startswith("observe.flow."):
        return "observe.flow"
    if module == "__main__":
        return "cli"
    if first == "plugins" and rest:
        return "plugins.*"
    return first.partition("_")[0]  # config_load belongs to config


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(tree: ast.Module) -> Iterator[Import]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) not in inside
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (node.module or "")
            for alias in node.names:
                yield f"{prefix}.{alias.name}", node.lineno, id(node) not in inside


def below(there: str, here: str) -> bool:
    return there == here or (there in LEVEL and here in LEVEL and LEVEL[there] < LEVEL[here])


def offences(path: Path, source: str) -> list[str]:
    """Return what a file of the package imports and may not."""
    here = room(module_of(path))
    found = []
    for module, line, at_top in imports(ast.parse(source)):
        place = f"{path.relative_to(ROOT)}:{line}: {here} imports {module}"
        ours = module.removeprefix("meshtx.")
        if module.startswith("."):
            found.append(f"{place}: write the whole name")
        if ours not in {module, "__version__"} and not below(room(ours), here):
            found.append(f"{place}: {room(ours)} is not below {here}")
        if any(f"{module}.".startswith(f"{never}.") for never in NEVER.get(here, ())):
            found.append(f"{place}: never in {here}")
        if module == "twisted.internet.reactor":
            if here not in {"services", "demo", "cli"} or at_top:
                found.append(f"{place}: take the reactor as an argument")
        elif not at_top and here != "cli":
            found.append(f"{place}: put it at the top")
    return found


class TestLayers(SynchronousTestCase):
    maxDiff = None

    def test_imports_point_one_way(self) -> None:
        found = [offence for path in sources(PACKAGE) for offence in offences(path, path.read_text())]
        self.assertEqual("\n".join(found), "")

    def test_every_room_has_its_place(self) -> None:
        rooms = {room(module_of(path)) for path in sources(PACKAGE) if path != PACKAGE / "__init__.py"}
        self.assertEqual(rooms - set(LEVEL), set())

    def test_the_plugin_file_imports_nothing_of_ours(self) -> None:
        """Every twistd command loads it, also those that have nothing to do with us."""
        plugin = ROOT / "twisted" / "plugins" / "meshtx_plugins.py"
        self.assertEqual(
            [module for module, _, _ in imports(ast.parse(plugin.read_text()))],
            ["twisted.application.reactors.Reactor", "twisted.application.service.ServiceMaker"],
        )

    def test_twisted_folders_are_no_packages(self) -> None:
        """Else they would hide Twisted's own plugins, or be left out of the wheel."""
        self.assertEqual(sorted((ROOT / "twisted").rglob("__init__.py")), [])


class TestTheTestItself(SynchronousTestCase):
    def offences(self, file: str, source: str) -> int:
        return len(offences(PACKAGE / file, source))

    def test_what_it_finds(self) -> None:
        for file, source in (
            ("wire/x.py", "from meshtx.net.tls import TlsProtocol"),
            ("wire/x.py", "import meshtx.net.tls"),
            ("wire/x.py", "from meshtx import net"),
            ("wire/x.py", "from ..net import tls"),
            ("wire/x.py", "import socket"),
            ("pki/x.py", "from OpenSSL import SSL"),
            ("pki/x.py", "from twisted.python import usage"),
            ("observe/flow.py", "from meshtx.interfaces import IDetector"),
            ("observe/flow.py", "from meshtx.observe.tap import TapHub"),
            ("observe/x.py", "from meshtx.plugins.meshtx_http import http1"),
            ("identity/x.py", "from meshtx.directory.table import Table"),
            ("proxy/x.py", "from meshtx.config_load import load"),
            ("proxy/x.py", "from meshtx.nowhere import x"),
            ("net/x.py", "from twisted.internet import reactor"),
            ("services/x.py", "from twisted.internet import reactor"),
            ("net/x.py", "def f():\n    import json"),
            ("net/x.py", "if TYPE_CHECKING:\n    from meshtx.proxy import inbound"),
        ):
            self.assertGreater(self.offences(file, source), 0, source)

    def test_what_it_lets_through(self) -> None:
        for file, source in (
            ("net/x.py", "from meshtx.wire.address import Address"),
            ("net/x.py", "from meshtx.net.tls import TlsProtocol\nimport os"),
            ("observe/x.py", "import meshtx.plugins\nfrom meshtx.observe.flow import Flow"),
            ("plugins/x.py", "from meshtx.observe.detectors import Http1Detector"),
            ("config_x.py", "from meshtx.config_load import load"),
            ("config_x.py", "from meshtx import __version__"),
            ("services/x.py", "def f():\n    from twisted.internet import reactor"),
            ("cli/x.py", "def f():\n    import json"),
            ("net/x.py", "if TYPE_CHECKING:\n    from meshtx.wire.address import Address"),
        ):
            self.assertEqual(self.offences(file, source), 0, source)
