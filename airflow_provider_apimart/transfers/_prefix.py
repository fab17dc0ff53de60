"""Which folder the pictures of all runs have in common: the asset that other DAGs can wait for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jinja2 import Environment

__all__ = ["stable_prefix"]

#: Names in a template that mean the same in every run. A Variable changes too, but then a person has changed it.
_CONSTANT: Final = frozenset({"dag", "task", "var"})


def stable_prefix(s3_key: str) -> str:
    """
    Return the leading folders of a key template, up to the first that depends on the run or on the picture.

    :param s3_key: as the DAG author wrote it, Jinja included.
    :return: a template, without a slash at its end; empty where the first folder differs already.
    """
    from jinja2 import Environment, TemplateSyntaxError  # noqa: PLC0415 - a DAG file that imports us needs no Jinja

    environment = Environment()  # noqa: S701 - nothing is rendered here
    stable = ""
    try:
        for folders, literal in _beginnings(environment, s3_key):
            if not _is_constant(environment, folders, literal):
                break
            stable = folders
    except TemplateSyntaxError:  # A block goes over several folders; or Airflow says what is wrong, when it renders.
        pass
    return stable.rstrip("/")


def _beginnings(environment: Environment, s3_key: str) -> Iterator[tuple[str, str]]:
    """Yield the first folder, the first two, and so on, each with its text outside of Jinja, where slashes count."""
    folders = literal = ""
    for _, kind, text in environment.lex(s3_key):
        for character in text if kind == "data" else ():
            if character == "/":
                yield folders, literal
            folders += character
            literal += character
        folders += "" if kind == "data" else text


def _is_constant(environment: Environment, folders: str, literal: str) -> bool:
    from jinja2.meta import find_undeclared_variables  # noqa: PLC0415

    return "{" not in literal and find_undeclared_variables(environment.parse(folders)) <= _CONSTANT
