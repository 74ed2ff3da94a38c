"""How the tap API is called: its group, what registers it, who serves it."""

from __future__ import annotations

GROUP, VERSION = "tap.meshtx.io", "v1alpha1"
PATH = f"/apis/{GROUP}/{VERSION}"
API_SERVICE = f"{VERSION}.{GROUP}"
SERVICE = "meshtx-directory"
