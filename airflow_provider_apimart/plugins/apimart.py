"""
The plugin: a tab with the pictures, and a page about their cost.

Airflow imports plugins in every process, each task's own included, so this module imports nothing that a page needs.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from airflow_provider_apimart.plugins.lazy_app import LazyApp

__all__ = ["ApimartPlugin"]

# Views are addressed as the browser sees them, which may be below a path of the base URL.
_ROOT = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
_GALLERY = f"{_ROOT}/apimart/gallery?dag_id={{DAG_ID}}"
_GALLERY_OF_RUN = f"{_GALLERY}&run_id={{RUN_ID}}"
_GALLERY_OF_TASK = f"{_GALLERY_OF_RUN}&task_id={{TASK_ID}}&map_index={{MAP_INDEX}}"


class ApimartPlugin(AirflowPlugin):
    """Mounts the pages in the API server, and shows them as tabs and in the menu."""

    name = "apimart"
    fastapi_apps: list[Any] = [{"app": LazyApp(), "url_prefix": "/apimart", "name": "APIMart"}]  # noqa: RUF012 - Airflow's own declaration
    external_views: list[Any] = [  # noqa: RUF012 - likewise
        {"name": "Images", "destination": "dag", "href": _GALLERY, "url_route": "apimart-images-dag"},
        {"name": "Images", "destination": "dag_run", "href": _GALLERY_OF_RUN, "url_route": "apimart-images-run"},
        {"name": "Images", "destination": "task_instance", "href": _GALLERY_OF_TASK, "url_route": "apimart-images"},
        {
            "name": "APIMart spend",
            "destination": "nav",
            "category": "browse",
            "href": f"{_ROOT}/apimart/spend",
            "url_route": "apimart-spend",
        },
    ]
