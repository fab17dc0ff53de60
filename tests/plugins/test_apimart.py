from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

#: As a task's process begins: it loads what plugins there are before it runs the task.
WORKER = """
import json, sys
import airflow.plugins_manager, airflow.sdk.execution_time.task_runner, airflow_provider_apimart
before = set(sys.modules)
import airflow_provider_apimart.plugins.apimart
print(json.dumps([sorted(set(sys.modules) - before), sorted(sys.modules)]))
"""


def test_a_worker_loads_three_small_modules_and_no_web_framework_for_it() -> None:
    loaded, all_modules = json.loads(subprocess.check_output([sys.executable, "-c", WORKER], text=True))
    assert loaded == [
        "airflow_provider_apimart.plugins",
        "airflow_provider_apimart.plugins.apimart",
        "airflow_provider_apimart.plugins.lazy_app",
    ]
    assert "fastapi" not in all_modules


async def test_airflow_shows_its_views(admin: httpx.AsyncClient) -> None:
    found = (await admin.get("/api/v2/plugins")).json()["plugins"]
    [ours] = [plugin for plugin in found if plugin["name"] == "apimart"]
    assert [app["url_prefix"] for app in ours["fastapi_apps"]] == ["/apimart"]
    assert {view["destination"]: view["href"] for view in ours["external_views"]} == {
        "dag": "/apimart/gallery?dag_id={DAG_ID}",
        "dag_run": "/apimart/gallery?dag_id={DAG_ID}&run_id={RUN_ID}",
        "task_instance": "/apimart/gallery?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}",
        "nav": "/apimart/spend",
    }
    assert (await admin.get("/api/v2/plugins/importErrors")).json()["import_errors"] == []


def test_the_views_lie_below_the_path_of_the_base_url() -> None:
    program = (
        "from airflow_provider_apimart.plugins.apimart import ApimartPlugin as it; print(it.external_views[3]['href'])"
    )
    environment = {**os.environ, "AIRFLOW__API__BASE_URL": "https://data.example.com/airflow/"}
    printed = subprocess.check_output([sys.executable, "-c", program], text=True, env=environment)
    assert printed.strip() == "/airflow/apimart/spend"
