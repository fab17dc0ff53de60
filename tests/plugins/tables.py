"""The tables of a page, as a person reads them."""

from __future__ import annotations

from html.parser import HTMLParser

__all__ = ["read_tables"]


class _Tables(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] | None = None
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if heading := dict(attrs).get("aria-labelledby"):
            self._rows = self.found.setdefault(heading, [])
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in {"th", "td"} and self._rows is not None:
            self._rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in {"th", "td"}:
            self._in_cell = False
        elif tag == "table":
            self._rows = None

    def handle_data(self, data: str) -> None:
        if self._in_cell and self._rows is not None:
            self._rows[-1][-1] = " ".join(f"{self._rows[-1][-1]} {data}".split())


def read_tables(html: str) -> dict[str, list[list[str]]]:
    """Return the rows of each table, the one with the titles included, by the id of the heading that names it."""
    reader = _Tables()
    reader.feed(html)
    return reader.found
