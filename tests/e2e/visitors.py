"""The people who look at Airflow in one test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.airflow_home import AirflowHome
    from services.browser import Browser, Visitor

__all__ = ["Visitors"]


@dataclass
class Visitors:
    """
    Opens windows, and knows what happened in all of them.

    :param browser: in which they open.
    :param home: of the Airflow that is visited unless another one is named.
    """

    browser: Browser
    home: AirflowHome
    windows: list[Visitor] = field(default_factory=list)

    def visit(self, *, at: AirflowHome | None = None, dark: bool = False) -> Visitor:
        """
        Open a window for somebody who has not signed in.

        :param at: home of another API server.
        :param dark: whether their system prefers dark pages.
        """
        self.windows.append(self.browser.visit((at or self.home).url, dark=dark))
        return self.windows[-1]

    def sign_in(self, username: str, *, at: AirflowHome | None = None, dark: bool = False) -> Visitor:
        """
        Open a window in which a user has signed in.

        :param username: ``admin``, ``viewer``, or somebody who was added to another API server.
        :param at: home of that other API server.
        :param dark: whether their system prefers dark pages.
        """
        visitor = self.visit(at=at, dark=dark)
        visitor.sign_in(username, (at or self.home).passwords[username])
        if at is not None:
            # On FAB's own form a script about time zones fails, for want of another that the form does not load.
            visitor.observation.take_problems()
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

    def leave(self) -> None:
        for visitor in self.windows:
            visitor.leave()
