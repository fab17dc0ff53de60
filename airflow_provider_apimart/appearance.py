"""How our tasks look in Airflow's pages: colours, names of mapped task instances, and parameters that can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context
    from jinja2 import Environment

__all__ = ["LABEL_LENGTH", "MAP_INDEX_TEMPLATE", "UI_COLOR", "UI_FGCOLOR", "ShowsResults", "fetched", "map_index_label"]

UI_COLOR: Final = "#d9f0ea"
#: Given besides the background, so that a dark theme cannot put its own light text on it.
UI_FGCOLOR: Final = "#12312a"

#: Each operator has a method of this name. In a template itself, a mistake would fail a task that has paid already.
MAP_INDEX_TEMPLATE: Final = "{{ task.map_index_label(ti.map_index) }}"
#: Characters of a label. Airflow's column takes 250; a list of task instances is easier to read with fewer.
LABEL_LENGTH: Final = 60


def map_index_label(task: BaseOperator, map_index: int | None, text: object, *, keep_end: bool = False) -> str:
    """
    Return what stands for the number of a mapped task instance in Airflow's pages.

    :param map_index: the number. A task that is not mapped has none, or -1, and gets no label.
    :param text: what tells the instance from the others; the number itself where it is empty.
    :param keep_end: whether a long text loses its beginning, as a path does, in place of its end.
    """
    if map_index is None or map_index < 0:
        return ""
    printable = "".join(character if character.isprintable() else " " for character in str(text))
    label = " ".join(printable.split()) or str(map_index)
    if len(label) > LABEL_LENGTH:
        label = _end(label) if keep_end else f"{label[: LABEL_LENGTH - 1].rstrip()}…"
    # A template that renders native objects would make a number of "42", which Airflow refuses once the task is done.
    is_native = getattr(task.get_dag(), "render_template_as_native_obj", False)
    return f"“{label}”" if is_native else label


def _end(path: str) -> str:
    """Return the last folders of a path, as many as there is room for, or else its last characters."""
    end = path[1 - LABEL_LENGTH :]
    _, slash, folders = end.partition("/")
    return f"…/{folders}" if slash else f"…{end.lstrip()}"


class ShowsResults(BaseOperator):
    """
    An operator one of whose parameters holds what other tasks have returned, and can be read in Airflow's pages.

    What a mapped task has returned is a sequence that fetches each item when it is asked for. Of that the page of
    rendered templates would show the name of a class; of a list it shows what is in it.
    """

    #: Name of the parameter.
    results: ClassVar[str]

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """Render a value, and fetch the results if other tasks have them."""
        rendered = super().render_template(content, context, jinja_env, seen_oids)
        return fetched(rendered) if content is getattr(self, self.results) else rendered


def fetched(value: Any) -> Any:
    """Return as a list what would be fetched item by item, and any other value as it is."""
    is_lazy = isinstance(value, Sequence) and not isinstance(value, str | bytes | list | tuple)
    return list(value) if is_lazy else value
