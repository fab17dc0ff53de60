"""Pictures as Markdown, for the ``body`` of a ``HITLOperator``, by which Airflow asks people to decide."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

__all__ = ["pictures_as_markdown"]

#: Pictures that are shown; the others are behind the link. Airflow stores the text, and a form is not a gallery.
_MOST_SHOWN: Final = 24
_PUNCTUATION: Final = re.compile(r"([!-/:-@\[-`{-~])")


def pictures_as_markdown(ti: RuntimeTaskInstanceProtocol, task_id: str) -> str:
    """
    Return the pictures that a task has stored in S3 as thumbnails with prompt and cost, the sum, and a link to all.

    This provider's plugin serves the thumbnails to everybody who may read the DAG's XComs. If Airflow is served below a
    path, workers need the setting ``[api] base_url`` too.

    :param ti: the task instance that shows the pictures, in the same DAG run.
    :param task_id: id of an ``ApimartToS3Operator`` or ``ApimartImageDatasetOperator`` that is not mapped.
    :raises ValueError: when that task has not returned such a result.
    """
    from airflow.configuration import conf  # noqa: PLC0415 - reads its files when it is loaded

    result = ti.xcom_pull(task_ids=task_id)
    if not isinstance(result, Mapping) or "objects" not in result:
        raise ValueError(
            f"Task {task_id!r} of this run has returned {type(result).__name__}: must be an ApimartToS3Operator or an "
            "ApimartImageDatasetOperator that has succeeded, and is not mapped."
        )
    base_url = conf.get("api", "base_url", fallback="")
    return _page(_Source(urlsplit(base_url).path.rstrip("/"), ti.dag_id, ti.run_id, task_id), result)


class _Source(NamedTuple):
    """
    The task whose pictures are shown.

    :param root: path of Airflow's base URL, without a slash at its end.
    """

    root: str
    dag_id: str
    run_id: str
    task_id: str

    def thumbnail(self, uri: str) -> str:
        task = {"dag_id": self.dag_id, "run_id": self.run_id, "task_id": self.task_id, "map_index": -1}
        return f"{self.root}/apimart/image?{urlencode({**task, 'uri': uri, 'size': 'thumbnail'})}"

    def gallery(self) -> str:
        dag_id, run_id = quote(self.dag_id, safe=""), quote(self.run_id, safe="")
        return f"{self.root}/dags/{dag_id}/runs/{run_id}/plugin/apimart-images-run"


def _page(source: _Source, result: Mapping[str, Any]) -> str:
    """
    Return the text.

    :param result: as the task returned it.
    """
    objects = result["objects"]
    if objects is None:  # A large dataset lists none.
        objects, counted = [], f"Pictures of {result['done']} rows"
    else:
        counted = "1 picture" if len(objects) == 1 else f"{len(objects)} pictures"
    heading = f"{counted}, {_dollars(result['cost'])} ([show all]({source.gallery()}))"
    return "\n\n".join([heading, *(_picture(source, held) for held in objects[:_MOST_SHOWN])])


def _picture(source: _Source, held: Mapping[str, Any]) -> str:
    name = _plain(held.get("prompt") or "") or _plain(held.get("id") or held["uri"])
    cost = f" ({_dollars(held['cost'])})" if "cost" in held else ""
    return f"![{name}]({source.thumbnail(held['uri'])})\n\n{name}{cost}"


def _dollars(cost: float | None) -> str:
    return "cost unknown" if cost is None else f"{cost:.4f} USD"


def _plain(text: str) -> str:
    """Return a text on one line, with all Markdown punctuation escaped."""
    return _PUNCTUATION.sub(r"\\\1", " ".join(text.split()))
