"""Saying what is being waited for: on an updating line at a terminal, on plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rich.console import Console

__all__ = ["Progress"]


class Progress:
    """
    The stages of something that takes a while.

    :param console: where they are shown.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, title: str) -> Generator[Callable[[str], None]]:
        """Show one stage while it lasts, and how long it took. Yields a function that tells more about it."""
        started_at = time.monotonic()
        if self._console.is_terminal:
            with self._console.status(f"{title} ...") as status:
                yield lambda detail: status.update(f"{title}: {detail}")
        else:
            self._console.print(f"{title} ...")
            yield self._print_changes()
        self._console.print(f"{title}: {time.monotonic() - started_at:.0f} s")

    def _print_changes(self) -> Callable[[str], None]:
        last = ""

        def print_change(detail: str) -> None:
            nonlocal last
            if detail != last:
                last = detail
                self._console.print(f"  {detail}")

        return print_change
