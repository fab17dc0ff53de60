"""The people who look at Airflow in one test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import StorageState
    from services.airflow_home import AirflowHome
    from services.browser import Browser, Visitor

__all__ = ["Visitors"]


@dataclass
class Visitors:
    """
    Opens windows, and knows what happened in all of them.

    :param browser: in which they open.
    :param home: of the Airflow that is visited unless another one is named.
    :param signed_in: the state of a window just after each user has signed in, by the address and the name. A browser
        keeps it for all tests: each form is filled in once, and not before every page.
    """

    browser: Browser
    home: AirflowHome
    signed_in: dict[tuple[str, str], StorageState]
    windows: list[Visitor] = field(default_factory=list)

    def visit(self, *, at: AirflowHome | None = None, dark: bool = False) -> Visitor:
        """
        Open a window for somebody who has not signed in.

        :param at: home of another API server.
        :param dark: whether their system prefers dark pages.
        """
        return self._open((at or self.home).url, dark=dark)

    def sign_in(self, username: str, *, at: AirflowHome | None = None, dark: bool = False) -> Visitor:
        """
        Open a window in which a user has signed in, by the form if they are new to this browser.

        :param username: ``admin``, ``viewer``, or somebody who was added to another API server.
        :param at: home of that other API server.
        :param dark: whether their system prefers dark pages.
        """
        home = at or self.home
        if state := self.signed_in.get((home.url, username)):
            return self._open(home.url, dark=dark, state=state)
        visitor = self._open(home.url, dark=dark)
        visitor.sign_in(username, home.passwords[username])
        if at is not None:
            # On FAB's own form a script about time zones fails, for want of another that the form does not load.
            visitor.observation.take_problems()
        self.signed_in[home.url, username] = visitor.state()
        return visitor

    @property
    def problems(self) -> list[str]:
        return [problem for visitor in self.windows for problem in visitor.observation.problems]

    @property
    def hosts(self) -> set[str]:
        return {host for visitor in self.windows for host in visitor.observation.hosts}

    def take_screenshots(self, name: str) -> None:
        """Take a picture of every window."""
        for number, visitor in enumerate(self.windows, start=1):
            visitor.screenshot(f"{name}-{number}")

    def _open(self, url: str, *, dark: bool, state: StorageState | None = None) -> Visitor:
        self.windows.append(self.browser.visit(url, dark=dark, state=state))
        return self.windows[-1]

    def leave(self) -> None:
        for visitor in self.windows:
            visitor.leave()
