"""Law 6: nobody concludes anything about a paid call that another worker may still be making."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from laws.airflow_task import age_record
from services.misbehaving_proxy import HTML_PAGE
from services.plain_gateway import RawReply

from airflow_provider_apimart.exceptions import SubmitOutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Callable

    from laws.airflow_task import AirflowTask
    from services.plain_gateway import PlainGateway

    Describe = Callable[..., Callable[[], Any]]

#: Seconds after which no worker can still wait for the response to a submit.
LONG = 3600


@pytest.fixture
def record_of_a_killed_worker(
    gateway: PlainGateway, connect: Callable[..., str], airflow_task: AirflowTask, image_operator: Describe
) -> str:
    """Leave the record as a worker leaves it that dies during a submit, and return the key of that submit."""
    connect(gateway.url)
    gateway.reshape("submit", lambda _body: RawReply(502, HTML_PAGE.format("Bad Gateway")))
    with pytest.raises(SubmitOutcomeUnknownError):
        airflow_task.run(image_operator())
    assert airflow_task.store is not None
    record = json.loads(airflow_task.store.values["apimart_purchase"])
    assert [part.pop("is_unanswered") for part in record["parts"]] == [True]
    airflow_task.store.values["apimart_purchase"] = json.dumps(record)
    gateway.work_again()
    return str(gateway.keys[0])


@pytest.mark.usefixtures("record_of_a_killed_worker")
class TestACallThatAWorkerMayStillBeMaking:
    @pytest.mark.parametrize("is_cleared", [False, True], ids=["retry", "clear"])
    @pytest.mark.parametrize("honours_keys", [True, False])
    def test_is_not_made_again_and_the_error_is_retried(
        self,
        gateway: PlainGateway,
        airflow_task: AirflowTask,
        image_operator: Describe,
        is_cleared: bool,
        honours_keys: bool,
    ) -> None:
        gateway.honours_keys = honours_keys
        (airflow_task.clear_task if is_cleared else airflow_task.begin_retry)()

        with pytest.raises(SubmitOutcomeUnknownError) as caught:
            airflow_task.run(image_operator())

        assert caught.value.retryable
        assert len(gateway.calls) == 1

    def test_is_collected_once_that_worker_has_recorded_it(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe
    ) -> None:
        airflow_task.clear_task()
        with pytest.raises(SubmitOutcomeUnknownError):
            airflow_task.run(image_operator())
        assert airflow_task.store is not None
        record = json.loads(airflow_task.store.values["apimart_purchase"])
        record["parts"] = [{"phase": "accepted", "task_ids": [gateway.purchases[0].task_id]}]
        airflow_task.store.values["apimart_purchase"] = json.dumps(record)

        result = airflow_task.run(image_operator())

        assert result["task_ids"] == [gateway.purchases[0].task_id]
        assert len(gateway.calls) == 1


def test_a_call_that_nobody_can_still_be_making_is_submitted_with_its_old_key_after_a_clear(
    record_of_a_killed_worker: str, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe
) -> None:
    assert airflow_task.store is not None
    age_record(airflow_task.store, LONG, now=time.time())
    airflow_task.clear_task()

    result = airflow_task.run(image_operator())

    assert gateway.keys == [record_of_a_killed_worker] * 2
    assert result["task_ids"] == [gateway.purchases[0].task_id]


def test_a_clear_that_asks_for_new_pictures_does_not_wait(
    record_of_a_killed_worker: str, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe
) -> None:
    airflow_task.clear_task()

    assert airflow_task.run(image_operator(on_clear="regenerate"))["delivered"] == 1
    assert gateway.keys[-1] != record_of_a_killed_worker


def test_a_key_that_the_gateway_is_still_working_on_is_not_replaced_after_a_clear(
    record_of_a_killed_worker: str, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe
) -> None:
    assert airflow_task.store is not None
    age_record(airflow_task.store, LONG, now=time.time())
    airflow_task.clear_task()
    error = {"code": "idempotency_in_progress", "message": "still working on it", "type": "apimart_error"}
    gateway.reply("submit", RawReply(409, {"error": error}, headers={"Retry-After": "86400"}))

    with pytest.raises(SubmitOutcomeUnknownError) as caught:
        airflow_task.run(image_operator())

    assert caught.value.retryable
    assert set(gateway.keys) == {record_of_a_killed_worker}
    assert len(gateway.purchases) == 1
