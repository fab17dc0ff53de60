"""What goes wrong in a browser window, and where its requests go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Request, WebError

__all__ = ["Observation"]

# A page gives up what it still loads when it goes elsewhere.
GIVEN_UP = "net::ERR_ABORTED"


@dataclass
class Observation:
    """
    A record of a window, its frames included.

    :param problems: errors on the console, where refused requests and violations of a content policy are told too;
        exceptions that no script caught; requests without an answer.
    :param hosts: of every request.
    """

    problems: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def watch(self, context: BrowserContext) -> None:
        context.on("console", self._read_console)
        context.on("weberror", self._note_exception)
        context.on("request", self._note_host)
        context.on("requestfailed", self._note_failure)

    def take_problems(self) -> list[str]:
        """Return the problems so far, and forget them: for a test that provokes some."""
        taken, self.problems = self.problems, []
        return taken

    def _read_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(f"Console: {message.text} ({message.location['url']})")

    def _note_exception(self, error: WebError) -> None:
        self.problems.append(f"Exception: {error.error}")

    def _note_host(self, request: Request) -> None:
        # Data that a page makes itself has an address without a host.
        if host := urlsplit(request.url).hostname:
            self.hosts.add(host)

    def _note_failure(self, request: Request) -> None:
        if request.failure != GIVEN_UP:
            self.problems.append(f"No answer: {request.method} {request.url} ({request.failure})")
