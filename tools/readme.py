"""The README's commands, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def section(title: str) -> str:
    """Return the text of a section.

    :param title: what its heading begins with.
    :raises ValueError: there is no such section.
    """
    _, heading, rest = (ROOT / "README.md").read_text().partition(f"\n## {title}")
    if not heading:
        raise ValueError(f"README.md has no section {title!r}")
    return rest.partition("\n## ")[0]


def blocks(title: str) -> list[tuple[str, str]]:
    """Return the fenced blocks of a section, each as its language and its text.

    :param title: what the section's heading begins with.
    :raises ValueError: there is no such section.
    """
    return re.findall(r"^```(\w*)\n(.*?)^```$", section(title), re.DOTALL | re.MULTILINE)
