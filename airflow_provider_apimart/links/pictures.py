"""To the pictures of a task instance: the tab that the provider's plugin adds to it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

__all__ = ["ApimartPicturesLink"]


class ApimartPicturesLink(BaseOperatorLink):
    """Leads to the tab, which also shows what is still being made."""

    name = "Pictures"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's own signature
        """Return the path of the tab, without a host: the browser knows best by which it reaches Airflow."""
        from airflow.configuration import conf  # noqa: PLC0415 - reads its files when it is loaded

        root = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
        dag_id, run_id, task_id = (quote(text, safe="") for text in (ti_key.dag_id, ti_key.run_id, ti_key.task_id))
        mapped = "" if ti_key.map_index is None or ti_key.map_index < 0 else f"/mapped/{ti_key.map_index}"
        return f"{root}/dags/{dag_id}/runs/{run_id}/tasks/{task_id}{mapped}/plugin/apimart-images"
