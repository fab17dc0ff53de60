"""Who waits: our trigger, the bounds, and the triggers of other providers, each behind a small adapter."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.triggers.base import BaseTrigger

    from benchmarks.triggerer.scenario import GatewayTask

__all__ = ["CONTESTANTS", "Contestant", "Wait"]

_KEY = "sk-benchmark"
#: Seconds after which a trigger may give up: longer than any run.
_PATIENCE = 3600.0


@dataclass(frozen=True, slots=True)
class Wait:
    """
    What one trigger is to wait for.

    :param tasks: one task, or all of them for a contestant that is one for all.
    :param conn_id: of the Airflow connection that leads to the gateway.
    :param url: of the gateway.
    :param interval: seconds between two looks.
    :param started_at: Unix time to which the times of the tasks are relative.
    """

    tasks: Sequence[GatewayTask]
    conn_id: str
    url: str
    interval: float
    started_at: float


class Contestant:
    """A way to wait. Providers are imported by its methods: not every environment has all of them."""

    #: Whether the gateway answers about many tasks at once.
    has_batch = True
    #: Whether one trigger waits for all tasks.
    is_one_for_all = False

    def connection(self, url: str) -> dict[str, Any]:
        """Return the fields of the Airflow connection that leads to the gateway."""
        return {"conn_type": "http", "host": url, "password": _KEY}

    def trigger(self, wait: Wait) -> BaseTrigger:
        """Return the trigger that waits."""
        raise NotImplementedError

    def has_succeeded(self, payload: Any) -> bool:
        """Whether an event says that what was waited for is done."""
        return bool(payload["status"] == "success")


class Apimart(Contestant):
    def connection(self, url: str) -> dict[str, Any]:
        return {"conn_type": "apimart", "host": url, "password": _KEY}

    def trigger(self, wait: Wait) -> BaseTrigger:
        from airflow_provider_apimart.triggers.apimart import ApimartTaskTrigger

        return ApimartTaskTrigger(
            apimart_conn_id=wait.conn_id,
            task_ids=[task.id for task in wait.tasks],
            deadline=time.time() + _PATIENCE,
            poll_interval=wait.interval,
        )

    def has_succeeded(self, payload: Any) -> bool:
        return payload["status"] == "finished" and all(task["result"]["images"] for task in payload["tasks"])


class ApimartWithoutBatch(Apimart):
    has_batch = False


class SleepOnly(Contestant):
    def trigger(self, wait: Wait) -> BaseTrigger:
        from benchmarks.triggerer.baselines import SleepTrigger

        return SleepTrigger(until=wait.started_at + wait.tasks[0].ends_after)


class IdealLoop(Contestant):
    is_one_for_all = True

    def trigger(self, wait: Wait) -> BaseTrigger:
        from benchmarks.triggerer.baselines import IdealLoopTrigger

        return IdealLoopTrigger(url=wait.url, task_ids=[task.id for task in wait.tasks], interval=wait.interval)


class DbtCloud(Contestant):
    def connection(self, url: str) -> dict[str, Any]:
        return {"conn_type": "dbt_cloud", "host": urlsplit(url).netloc, "login": "1", "password": _KEY}

    def trigger(self, wait: Wait) -> BaseTrigger:
        from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

        return DbtCloudRunJobTrigger(
            conn_id=wait.conn_id,
            run_id=wait.tasks[0].number,
            account_id=1,
            end_time=time.time() + _PATIENCE,
            poll_interval=wait.interval,
        )


class Http(Contestant):
    def trigger(self, wait: Wait) -> BaseTrigger:
        from airflow.providers.http.triggers.http import HttpSensorTrigger

        return HttpSensorTrigger(
            http_conn_id=wait.conn_id, endpoint=f"status/{wait.tasks[0].id}", poke_interval=wait.interval
        )

    def has_succeeded(self, payload: Any) -> bool:
        return payload is True


class OpenAI(Contestant):
    def connection(self, url: str) -> dict[str, Any]:
        return {"conn_type": "openai", "host": f"{url}/v1", "password": _KEY}

    def trigger(self, wait: Wait) -> BaseTrigger:
        from airflow.providers.openai.triggers.openai import OpenAIBatchTrigger

        return OpenAIBatchTrigger(
            conn_id=wait.conn_id,
            batch_id=f"batch_{wait.tasks[0].id}",
            poll_interval=wait.interval,
            timeout=_PATIENCE,
        )


class Anthropic(Contestant):
    def connection(self, url: str) -> dict[str, Any]:
        return {"conn_type": "anthropic", "host": url, "password": _KEY}

    def trigger(self, wait: Wait) -> BaseTrigger:
        from airflow.providers.anthropic.triggers.batch import AnthropicBatchTrigger

        return AnthropicBatchTrigger(
            conn_id=wait.conn_id,
            batch_id=f"msgbatch_{wait.tasks[0].id}",
            poll_interval=wait.interval,
            end_time=time.time() + _PATIENCE,
        )


CONTESTANTS: Mapping[str, Contestant] = {
    "apimart": Apimart(),
    "apimart without batch endpoint": ApimartWithoutBatch(),
    "sleep only": SleepOnly(),
    "ideal loop": IdealLoop(),
    "dbt-cloud": DbtCloud(),
    "http": Http(),
    "openai": OpenAI(),
    "anthropic": Anthropic(),
}
