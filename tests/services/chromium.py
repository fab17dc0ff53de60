"""The Chromium of the browser tests: the one that is there, or Debian's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from services.waiting import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["find_chromium", "require_chromium"]

PROGRAMS = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
# Without recommended packages Debian's Chromium brings one wide font only, in which every page looks odd.
PACKAGES = ("chromium", "fonts-liberation")
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
