"""``meshtx install`` over an installation of the release before, as docs/upgrades.md says, and the way back."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import yaml
from twisted.internet.threads import deferToThread

from meshtx.identity import ca_folder
from meshtx.kube.manifests.shapes import ISSUER_SECRET, TRUST_CONFIG_MAP
from meshtx.kube.manifests.values import Program
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.name import MeshScope
from tests import release_before
from tests.kube.check_case import CheckCase
from tests.kube.plain_api import Document
from tests.kube.test_install import MANY, line
from tests.mesh.town import MESHTX, by_another

CHANGELOG = release_before.ROOT / "CHANGELOG.md"
FRAGMENTS = release_before.ROOT / "newsfragments"


def line_before(*arguments: str) -> str:
    """Return what ``meshtx`` of the release before prints."""
    command = by_another(release_before.python(), [*MESHTX, *arguments])
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def names(manifests: str) -> set[str]:
    """Return which objects there are, with the API that each is of."""
    return {f"{each['apiVersion']} {each['kind']} {each['metadata']['name']}" for each in yaml.safe_load_all(manifests)}


class UpgradeTests(CheckCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.folder = Path(self.mktemp())
        ca_folder.init(self.folder, MeshScope(self.mesh), datetime.now(UTC))
        self.trust = TrustBundle.from_pem((self.folder / "ca-bundle.crt").read_bytes())
        self.anew = (f"--namespace={self.mesh}", f"--ca-folder={self.folder}")
        self.kept = (f"--namespace={self.mesh}", "--keep-issuer")

    async def before(self, *arguments: str) -> str:
        return await deferToThread(line_before, "install", *arguments)

    async def apply(self, manifests: str, *flags: str) -> None:
        """Apply as a user does; what the API server refuses is an error."""
        self.addCleanup(self.uninstall)
        await self.kubectl("apply", *flags, "-f", "-", input=manifests)

    async def trusted(self) -> list[Document]:
        """Return what holds the issuer and the anchors."""
        paths = (f"secrets/{ISSUER_SECRET}", f"configmaps/{TRUST_CONFIG_MAP}")
        return [(await self.object(f"{self.own}/{path}"))["data"] for path in paths]

    async def test_it_is_applied_over_it_and_keeps_its_trust(self) -> None:
        for flags in ((), ("--server-side",)):
            for more in ((), MANY):
                await self.apply(await self.before(*self.anew, *more), *flags)
                trusted = await self.trusted()
                await self.apply(line("install", *self.kept, *more), *flags)
                self.assertEqual(await self.trusted(), trusted)
                await self.apply(line("install", *self.anew, *more), *flags)
                self.assertEqual(await self.trusted(), trusted)
            await self.uninstall()
            await self.wait_until(self.is_gone, 30, "nothing of ours is left")

    async def test_nothing_of_the_release_before_is_left_in_its_objects(self) -> None:
        await self.apply(await self.before(*self.anew, *MANY))
        await self.apply(line("install", *self.anew))
        upgraded = await self.rendered()
        await self.uninstall()
        await self.wait_until(self.is_gone, 30, "nothing of ours is left")
        await self.apply(line("install", *self.anew))
        self.assertEqual(upgraded, await self.rendered())

    async def rendered(self) -> dict[str, Document]:
        """Return everything of ours, without what the server and others keep beside it."""
        found = {}
        for each in await self.installed():
            for chosen in ("clusterIP", "clusterIPs"):
                each.get("spec", {}).pop(chosen, None)
            parts = {key: part for key, part in each.items() if key not in {"metadata", "status"}}
            found[f"{each['kind']} {each['metadata']['name']}"] = {**parts, "labels": each["metadata"]["labels"]}
        return found

    async def test_the_way_back_is_open(self) -> None:
        await self.apply(line("install", *self.anew))
        trusted = await self.trusted()
        await self.apply(await self.before(*self.kept))
        self.assertEqual(await self.trusted(), trusted)

    async def test_a_check_passes_after_it(self) -> None:
        await self.apply(await self.before(*self.anew))
        await self.run_control_plane()
        old = set(await self.pods())
        await self.apply(line("install", *self.kept))

        async def new() -> list[str]:
            found = sorted(set(await self.pods()) - old)
            return found if len(found) == len(Program) else []

        for number, name in enumerate(await self.wait_until(new, 30, "a new pod of each program"), 11):
            await self.run_pod(name, f"10.8.0.{number}", namespace=self.mesh)
        await self.certify_injector()
        await self.serve_tap()
        await self.meshed_pod("web", "10.9.0.1")

        async def passed() -> bool:
            return (await self.looked()).passed

        await self.wait_until(passed, 30, "every check passes")

    async def pods(self) -> list[str]:
        return [each["metadata"]["name"] for each in (await self.object(f"{self.own}/pods"))["items"]]

    async def test_what_this_release_renders_no_more_is_named(self) -> None:
        """It stays in the cluster, where nobody would look for it: who upgrades has to be told."""
        gone = names(await self.before(*self.kept)) - names(line("install", *self.kept))
        told = "".join(path.read_text() for path in [CHANGELOG, *FRAGMENTS.glob("*.md")])
        untold = [each for each in sorted(gone) if each.split(" ")[-1] not in told]
        self.assertEqual(untold, [], "say in a newsfragment that 'kubectl delete' is to take it away")
