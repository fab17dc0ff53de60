"""Where the Chromium of the browser tests comes from. The programs are made up; the path leads to nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from services.chromium import require_chromium, say_which_font_is_missing
from services.waiting import ServiceError

if TYPE_CHECKING:
    from pathlib import Path

INSTALLS = """#!/bin/sh
echo "$DEBIAN_FRONTEND $*" >> {folder}/calls
if [ "$1" = install ]; then /bin/ln -s /bin/true {folder}/chromium; fi
"""
FAILS = """#!/bin/sh
echo "E: Some index files failed to download" >&2
echo "E: Unable to locate package chromium" >&2
exit 100
"""


@dataclass
class Machine:
    """The programs of a machine, and what its user was told."""

    folder: Path
    told: list[str] = field(default_factory=list)

    def add(self, name: str, script: str = "#!/bin/sh\n") -> Path:
        file = self.folder / name
        file.write_text(script.format(folder=self.folder))
        file.chmod(0o755)
        return file

    def require_chromium(self, *, is_root: bool = False, **environment: str) -> Path:
        return require_chromium({"PATH": str(self.folder), **environment}, is_root=is_root, tell=self.told.append)

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome"])
def test_the_one_that_is_there_is_used(machine: Machine, name: str) -> None:
    chromium = machine.add(name)

    assert machine.require_chromium(is_root=True) == chromium
    assert machine.told == []


def test_the_one_that_is_named_comes_first(machine: Machine) -> None:
    machine.add("chromium")
    own = machine.add("my-chromium")

    assert machine.require_chromium(CHROME_BIN=str(own)) == own


def test_a_name_without_a_program_is_an_error_even_where_there_is_another(machine: Machine) -> None:
    machine.add("chromium")

    with pytest.raises(ServiceError, match="CHROME_BIN names no program: /nowhere/chromium"):
        machine.require_chromium(CHROME_BIN="/nowhere/chromium")


def test_root_on_debian_gets_the_package_and_is_told_before(machine: Machine) -> None:
    machine.add("apt-get", INSTALLS)

    assert machine.require_chromium(is_root=True) == machine.folder / "chromium"
    assert machine.calls == [
        "noninteractive update",
        "noninteractive install -y --no-install-recommends chromium fonts-liberation",
    ]
    assert len(machine.told) == 1


@pytest.mark.parametrize(("is_root", "apt_get"), [(False, INSTALLS), (True, None), (True, FAILS)])
def test_otherwise_one_line_says_how_to_get_it_and_how_to_do_without(
    machine: Machine, *, is_root: bool, apt_get: str | None
) -> None:
    if apt_get:
        machine.add("apt-get", apt_get)

    with pytest.raises(ServiceError) as caught:
        machine.require_chromium(is_root=is_root)

    (line,) = str(caught.value).splitlines()
    assert "apt-get install chromium" in line
    assert "make test ARGS=\"-m 'not browser'\"" in line


def test_that_line_says_why_the_package_could_not_be_had(machine: Machine) -> None:
    machine.add("apt-get", FAILS)

    with pytest.raises(ServiceError, match="apt-get update failed: E: Unable to locate package chromium"):
        machine.require_chromium(is_root=True)


@pytest.mark.parametrize("name", ["LiberationSans-Regular.ttf", "NotoSans-Bold.otf", "Arial.ttf"])
def test_of_fonts_nothing_is_said_where_there_is_a_common_one(machine: Machine, name: str) -> None:
    (machine.folder / "truetype").mkdir()
    (machine.folder / "truetype" / name).touch()

    say_which_font_is_missing([machine.folder / "nowhere", machine.folder], tell=machine.told.append)

    assert machine.told == []


def test_otherwise_one_line_says_how_to_get_one(machine: Machine) -> None:
    (machine.folder / "DejaVuSans.ttf").touch()

    say_which_font_is_missing([machine.folder], tell=machine.told.append)

    (line,) = machine.told
    assert "apt-get install fonts-liberation" in line


def test_where_fonts_are_kept_elsewhere_nothing_is_said(machine: Machine) -> None:
    say_which_font_is_missing([machine.folder / "nowhere"], tell=machine.told.append)

    assert machine.told == []
