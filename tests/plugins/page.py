"""A page, read as a person or a browser reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

__all__ = ["Page", "read"]


@dataclass
class Page(HTMLParser):
    """
    What a page consists of.

    :param tags: every element with its attributes, in order.
    :param texts: every piece of text, in order.
    """

    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """Return the attributes of all elements of a kind that have these ones."""
        return [found for name, found in self.tags if name == tag and attributes.items() <= found.items()]

    @property
    def prompts(self) -> list[str]:
        """What the pictures show, in order."""
        return [found["title"] for found in self.all("p", **{"class": "prompt"})]

    @property
    def following(self) -> str | None:
        """The address of the next page."""
        return next((found["href"] for found in self.all("a", rel="next")), None)


def read(answer: httpx.Response) -> Page:
    """Return the page that an answer holds."""
    assert answer.status_code == 200, answer.text
    page = Page()
    page.feed(answer.text)
    return page
