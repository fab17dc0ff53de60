"""DAGs whose tasks are looked at in Airflow's own pages."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG

from airflow_provider_apimart.operators.image import ApimartImageOperator

CONSOLE = "https://apimart.ai"
PROMPTS = ["A red kite\n\tover {{ dag.dag_id }}", "{kite} [" + "x" * 30_000]


class PublicOperator(ApimartImageOperator):
    """Its first worker has found a public gateway; the local one behind its connection has no console."""

    def defer(self, **kwargs: Any) -> Any:
        self.console_url = CONSOLE
        super().defer(**kwargs)


for native in (False, True):
    with DAG(f"is_looked_at{'_natively' if native else ''}", schedule=None, render_template_as_native_obj=native):
        PublicOperator.partial(task_id="generate", apimart_conn_id="frozen", initial_delay=1, poll_interval=1).expand(
            prompt=PROMPTS
        )
