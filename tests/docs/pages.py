"""The pages, and what is in them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

__all__ = ["DOCS", "PAGES", "blocks", "described", "run_page"]

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"
PAGES = [CHECKOUT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language on a page."""
    fence = re.compile(rf"^( *)```{language}\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(code) for _, code in fence.findall(page.read_text(encoding="utf-8"))]


def run_page(page: Path) -> dict[str, Any]:
    """Run the Python of a page from top to bottom, and return what it defined."""
    defined: dict[str, Any] = {"__name__": page.stem}
    for number, code in enumerate(blocks(page, "python"), start=1):
        # Not inherited: each block says for itself whether its annotations are evaluated.
        exec(compile(code, f"{page.name}, block {number}", "exec", dont_inherit=True), defined)  # noqa: S102
    return defined


def described(page: Path, heading: str) -> dict[str, list[str]]:
    """The rows of all tables whose first column has this heading, by what that column holds in backquotes."""
    found = {}
    for table in re.finditer(rf"^\| {heading} \|.*\n(?:\|.*\n?)*", page.read_text(encoding="utf-8"), re.MULTILINE):
        for row in table[0].splitlines()[2:]:
            first, *others = (cell.strip() for cell in row.strip("|").split("|"))
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", first), others)
    return found
