"""The Chromium of the browser tests: the one that is there, or Debian's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from services.waiting import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["FONT_FOLDERS", "find_chromium", "require_chromium", "say_which_font_is_missing"]

PROGRAMS = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
# Without recommended packages Debian's Chromium brings one wide font only, in which every page looks odd.
PACKAGES = ("chromium", "fonts-liberation")
#: Families with the widths for which the pages were made.
FONTS = ("liberation", "arial", "helvetica", "arimo", "notosans", "roboto")
FONT_FOLDERS = (
    Path("/usr/share/fonts"),
    Path("/usr/local/share/fonts"),
    Path("~/.fonts"),
    Path("~/.local/share/fonts"),
)
ADVICE = (
    "Install it (Debian: apt-get install chromium), name the program in CHROME_BIN, "
    "or leave the browser tests out: make test ARGS=\"-m 'not browser'\""
)


def find_chromium(environment: Mapping[str, str]) -> Path | None:
    """
    Return the program that ``CHROME_BIN`` names, or the first Chromium or Chrome on the path.

    :raises ServiceError: when ``CHROME_BIN`` names no program.
    """
    path = environment.get("PATH", os.defpath)
    if named := environment.get("CHROME_BIN"):
        if found := shutil.which(named, path=path):
            return Path(found)
        raise ServiceError(f"CHROME_BIN names no program: {named}. {ADVICE}")
    return next((Path(found) for name in PROGRAMS if (found := shutil.which(name, path=path))), None)


def require_chromium(environment: Mapping[str, str], *, is_root: bool, tell: Callable[[str], object]) -> Path:
    """
    Return the Chromium that is there, or install Debian's package where that is allowed.

    :param environment: says where to look, and goes to ``apt-get``.
    :param is_root: whether packages may be installed.
    :param tell: is told before an installation begins.
    :raises ServiceError: when there is none, in one line that says what to do.
    """
    if found := find_chromium(environment):
        return found
    if is_root and (apt_get := shutil.which("apt-get", path=environment.get("PATH", os.defpath))):
        tell("The browser tests need Chromium: installing it with apt-get ...")
        _run(environment, apt_get, "update")
        _run(environment, apt_get, "install", "-y", "--no-install-recommends", *PACKAGES)
        if found := find_chromium(environment):
            return found
    raise ServiceError(f"The browser tests need Chromium. {ADVICE}")


def say_which_font_is_missing(folders: Sequence[Path], *, tell: Callable[[str], object]) -> None:
    """
    Print a hint if the machine lacks a common sans-serif font. The tests pass without it.

    :param folders: where fonts are installed. If none of them is there, fonts are elsewhere on this system.
    """
    there = [folder.expanduser() for folder in folders if folder.expanduser().is_dir()]
    names = (file.name.lower().replace("-", "") for folder in there for file in folder.rglob("*.[ot]t[fc]"))
    if there and not any(name.startswith(FONTS) for name in names):
        tell("Screenshots will look odd without a common sans-serif font (Debian: apt-get install fonts-liberation).")


def _run(environment: Mapping[str, str], apt_get: str, *arguments: str) -> None:
    finished = subprocess.run(
        [apt_get, *arguments],
        env={**environment, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        _, _, complaint = finished.stderr.strip().rpartition("\n")
        raise ServiceError(f"The browser tests need Chromium, and apt-get {arguments[0]} failed: {complaint}. {ADVICE}")
