"""Law 1: what was bought is recorded, and afterwards only the record is read."""

from __future__ import annotations

import itertools
import json
import signal
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from laws.airflow_task import AirflowTask, FlakyStore
from operators.task_instance import StateStore
from services.plain_gateway import RawReply

from airflow_provider_apimart.exceptions import (
    ApimartError,
    InvalidRequestError,
    RecordUnavailableError,
    TaskFailedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from services.plain_gateway import PlainGateway

    Describe = Callable[..., Callable[[], Any]]
    Connect = Callable[..., str]
    Rendering = Callable[[], Mapping[str, Any]]

TOP_UP = RawReply(402, {"error": {"code": 402, "message": "balance too low", "type": "payment_required"}})

pytestmark = pytest.mark.usefixtures("direct")


def once_then(name: str, first: Any, later: Any) -> Rendering:
    """Render a parameter to one value in the first worker process, and to another in all others."""
    values = itertools.chain([first], itertools.repeat(later))
    return lambda: {name: next(values)}


def presigned_again() -> Rendering:
    numbers = itertools.count()
    return lambda: {"image_urls": [f"https://pictures.example/a.png?signature={next(numbers)}"]}


#: Templates that render to something else in each worker process, and what they were bought with.
RENDERINGS: dict[str, Callable[[], Rendering]] = {
    "the prompt's XCom is pruned": lambda: once_then("prompt", "a red kite", None),
    "the prompt is random": lambda: lambda: {"prompt": f"kite {uuid.uuid4()}"},
    "the size's Variable was edited": lambda: once_then("size", "1:1", "16:9"),
    "the model's XCom is gone": lambda: once_then("model", "gpt-image-2", None),
    "the number has become nonsense": lambda: once_then("n", "1", "many"),
    "the reference is presigned again": presigned_again,
}


@pytest.fixture(params=RENDERINGS)
def rendering(request: pytest.FixtureRequest) -> Rendering:
    return RENDERINGS[request.param]()


class TestAPurchase:
    """Whose templates render differently later."""

    def assert_is_told_as_it_was_bought(self, result: dict[str, Any], gateway: PlainGateway) -> None:
        (purchase,) = gateway.purchases
        assert result["task_ids"] == [purchase.task_id]
        assert (result["prompt"], result["model"]) == (purchase.prompt, purchase.call.body["model"])
        assert result["size"] == purchase.call.body.get("size")
        assert (result["requested"], result["delivered"]) == (1, 1)

    def test_is_collected_by_the_resume(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, rendering: Rendering
    ) -> None:
        self.assert_is_told_as_it_was_bought(airflow_task.run(image_operator(rendering)), gateway)

    def test_is_collected_by_a_retry(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, rendering: Rendering
    ) -> None:
        make = image_operator(rendering)
        airflow_task.run_until_deferred(make)
        airflow_task.begin_retry()

        self.assert_is_told_as_it_was_bought(airflow_task.run(make), gateway)

    def test_is_collected_after_a_crashed_trigger(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, rendering: Rendering
    ) -> None:
        make = image_operator(rendering)
        airflow_task.run_until_deferred(make)

        result = airflow_task.resume_after_failure(make, "Trigger failure")

        self.assert_is_told_as_it_was_bought(result, gateway)

    def test_is_collected_by_the_resume_without_a_state_store(
        self, gateway: PlainGateway, image_operator: Describe, rendering: Rendering
    ) -> None:
        result = AirflowTask(store=None).run(image_operator(rendering))

        self.assert_is_told_as_it_was_bought(result, gateway)


@pytest.mark.parametrize(
    ("field", "first", "later"),
    [
        ("image_urls", ["https://pictures.example/a.png?signature=1"], ["https://pictures.example/a.png?signature=2"]),
        ("prompt", "a red kite at 9:00", "a red kite at 9:01"),
        ("extra_body", {"seed": 1}, {"seed": 2}),
    ],
)
def test_a_retry_names_the_fields_that_it_did_not_use(  # fixtures
    gateway: PlainGateway,
    airflow_task: AirflowTask,
    image_operator: Describe,
    capsys: pytest.CaptureFixture[str],
    field: str,
    first: Any,
    later: Any,
) -> None:
    make = image_operator(once_then(field, first, later))
    airflow_task.run_until_deferred(make)
    airflow_task.begin_retry()
    capsys.readouterr()

    result = airflow_task.run(make)

    assert result["task_ids"] == [gateway.purchases[0].task_id]
    assert len(gateway.calls) == 1
    assert field in capsys.readouterr().out


class TestAConnectionThatIsEditedBetweenTries:
    @pytest.mark.parametrize(
        ("model", "before", "after"),
        [
            pytest.param("gpt-image-2", {}, {"submit_path": "/v1/images/generations/async"}, id="another submit path"),
            pytest.param("gpt-image-2-official", {"gateway": "apimart"}, {"gateway": "apimaster"}, id="smaller tasks"),
            pytest.param("gpt-image-2-official", {"gateway": "apimaster"}, {"gateway": "apimart"}, id="larger tasks"),
            pytest.param("gpt-image-2", {}, {"timeout": 5, "batch_polling": "off"}, id="other manners"),
        ],
    )
    def test_strands_no_accepted_task(  # fixtures
        self,
        gateway: PlainGateway,
        airflow_task: AirflowTask,
        image_operator: Describe,
        connect: Connect,
        model: str,
        before: dict[str, Any],
        after: dict[str, Any],
    ) -> None:
        make = image_operator(model=model, n=8)
        connect(gateway.url, **before)
        airflow_task.run_until_deferred(make)
        bought = [purchase.task_id for purchase in gateway.purchases]
        connect(gateway.url, **after)
        airflow_task.begin_retry()

        result = airflow_task.run(make)

        assert sorted(result["task_ids"]) == sorted(bought)
        assert result["delivered"] == 8
        assert len(gateway.calls) == len(bought)

    @pytest.mark.parametrize(
        ("model", "before", "after"),
        [
            ("gpt-image-2-official", "apimart", "apimaster"),
            ("gpt-image-2", "apimaster", "apimart"),
            ("gpt-image-2", "apimart", "apimaster"),
        ],
    )
    def test_completes_a_purchase_that_was_refused_in_part(  # fixtures
        self,
        gateway: PlainGateway,
        airflow_task: AirflowTask,
        image_operator: Describe,
        connect: Connect,
        model: str,
        before: str,
        after: str,
    ) -> None:
        make = image_operator(model=model, n=8)
        connect(gateway.url, gateway=before)
        gateway.reply("submit", None, TOP_UP)
        with pytest.raises(ApimartError, match="402"):
            airflow_task.run(make)
        accepted = [purchase.task_id for purchase in gateway.purchases]
        connect(gateway.url, gateway=after)
        airflow_task.begin_retry()

        result = airflow_task.run(make)

        assert set(accepted) <= set(result["task_ids"])
        assert result["delivered"] == sum(purchase.call.body["n"] for purchase in gateway.purchases) == 8

    def test_is_still_the_one_to_ask_where_the_operator_names_another(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, connect: Connect
    ) -> None:
        connect("http://127.0.0.1:9", conn_id="apimart_other")
        make = image_operator(once_then("apimart_conn_id", "apimart_default", "apimart_other"))
        airflow_task.run_until_deferred(make)
        airflow_task.begin_retry()

        assert airflow_task.run(make)["task_ids"] == [gateway.purchases[0].task_id]
        assert len(gateway.calls) == 1


class TestAFieldThatRendersToNothing:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *(("model", value) for value in (None, "", "None", "  ")),
            *(("n", value) for value in (None, "", "None")),
            *(("prompt", value) for value in (None, "", "  ")),
        ],
    )
    def test_is_refused_by_name_before_anything_is_bought(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, field: str, value: Any
    ) -> None:
        with pytest.raises(InvalidRequestError, match=field) as caught:
            airflow_task.run(image_operator(lambda: {field: value}))

        assert caught.value.field == field
        assert not caught.value.retryable
        assert gateway.calls == []


class TestAFreeFailure:
    def assert_was_bought_again(self, result: dict[str, Any], gateway: PlainGateway) -> None:
        failed, bought = gateway.purchases
        assert result["delivered"] == 1
        assert result["task_ids"] == [bought.task_id]
        assert failed.call.key != bought.call.key

    def test_in_the_response_to_the_submit_is_bought_again_with_a_new_key(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe
    ) -> None:
        gateway.reshape("submit", lambda body: {"code": 200, "data": [{**body["data"][0], "status": "failed"}]})
        gateway.life = [lambda purchase, at: at.usual_view(purchase, status_by_order(purchase, at))]

        self.assert_was_bought_again(airflow_task.run_tries(image_operator(retries=2)), gateway)

    def test_seen_while_polling_is_bought_again_with_a_new_key(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe
    ) -> None:
        gateway.life = [lambda purchase, at: at.usual_view(purchase, status_by_order(purchase, at))]

        self.assert_was_bought_again(airflow_task.run_tries(image_operator(retries=2)), gateway)

    @pytest.mark.parametrize("parameters", [{}, {"durable": False}])
    def test_of_a_replayed_key_is_bought_again_with_a_new_key(
        self, gateway: PlainGateway, image_operator: Describe, parameters: dict[str, Any]
    ) -> None:
        gateway.life = [lambda purchase, at: at.usual_view(purchase, status_by_order(purchase, at))]
        task = AirflowTask(store=None)

        self.assert_was_bought_again(task.run_tries(image_operator(retries=2, **parameters)), gateway)

    @pytest.mark.parametrize("retries", [0, 1, 3])
    def test_is_bought_again_as_often_as_there_are_retries_and_no_more(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, retries: int
    ) -> None:
        gateway.life = ["failed"]
        make = image_operator(retries=retries)

        for _ in range(retries + 3):
            with pytest.raises(TaskFailedError):
                airflow_task.run(make)
            airflow_task.begin_retry()

        assert len(gateway.purchases) == len(set(gateway.keys)) == 1 + retries


def status_by_order(purchase: Any, gateway: PlainGateway) -> str:
    return "failed" if purchase is gateway.purchases[0] else "completed"


class TestATriggerThatCrashesWhileTheTaskRuns:
    @pytest.mark.parametrize("reason", ["Trigger failure", "Trigger/execution timeout", "TriggerFailureReason.OTHER"])
    @pytest.mark.parametrize(
        ("store", "durable"),
        [
            pytest.param(True, True, id="recorded"),
            pytest.param(False, True, id="3.1"),
            pytest.param(True, False, id="not durable"),
        ],
    )
    def test_is_replaced_at_no_cost_even_without_retries(
        self, gateway: PlainGateway, image_operator: Describe, reason: str, store: bool, durable: bool
    ) -> None:
        from airflow.sdk.exceptions import TaskDeferred

        gateway.life = ["processing", "processing", "completed"]
        make = image_operator(retries=0, durable=durable, n=2)
        task = AirflowTask() if store else AirflowTask(store=None)
        task.run_until_deferred(make)

        with pytest.raises(TaskDeferred) as deferred:
            task.resume_after_failure(make, reason)
        result = task.resume(make, task.event_of(deferred.value.trigger))

        assert result["delivered"] == 2
        assert sorted(result["task_ids"]) == sorted(purchase.task_id for purchase in gateway.purchases)
        assert len(gateway.calls) == 2


class TestAnApiServerThatIsAwayJustAfterThePurchase:
    """Nothing that Airflow does not answer ends a try that has bought."""

    @staticmethod
    def store(gateway: PlainGateway, *, failures: int, raises: bool) -> FlakyStore:
        left = itertools.count(failures, -1)
        return FlakyStore(lambda: bool(gateway.purchases) and next(left) > 0, raises=raises)

    @pytest.mark.parametrize("raises", [True, False], ids=["writes fail", "writes are lost in silence"])
    def test_is_asked_again_until_the_ids_are_recorded(
        self, gateway: PlainGateway, image_operator: Describe, raises: bool
    ) -> None:
        task = AirflowTask(store=self.store(gateway, failures=2, raises=raises))
        make = image_operator()
        task.run_until_deferred(make)
        task.begin_retry()

        assert task.run(make)["task_ids"] == [gateway.purchases[0].task_id]
        assert len(gateway.calls) == 1
        assert gateway.purchases[0].task_id in json.dumps(task.store.values if task.store else None)

    @pytest.mark.parametrize("n", [1, 3])
    def test_before_the_purchase_leaves_no_trace_of_a_call_that_was_not_made(
        self, gateway: PlainGateway, image_operator: Describe, n: int
    ) -> None:
        task = AirflowTask(store=_DeafStore())
        make = image_operator(n=n)
        with pytest.raises(RecordUnavailableError):
            task.run(make)
        task.begin_retry()

        assert task.run(make)["delivered"] == n
        assert len(gateway.calls) == n

    @pytest.mark.parametrize("lost", ["task_ids", "every XCom"])
    def test_does_not_end_the_try_that_cannot_push_its_xcoms(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, lost: str, capsys: Any
    ) -> None:
        def refuse(key: str, _value: Any) -> None:
            if lost in (key, "every XCom"):
                raise RuntimeError("API_SERVER_ERROR: no answer")

        airflow_task.on_xcom = refuse

        result = airflow_task.run(image_operator())

        assert result["task_ids"] == [gateway.purchases[0].task_id]
        assert len(gateway.calls) == 1
        assert gateway.purchases[0].task_id in capsys.readouterr().out


class TestASignalDuringASubmit:
    """As Airflow sends it when ``execution_timeout`` has passed."""

    @pytest.mark.parametrize("n", [1, 4])
    def test_does_not_lose_the_response(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, n: int
    ) -> None:
        def late(body: Any) -> Any:
            time.sleep(0.8 / n)
            return body

        gateway.reshape("submit", late, times=n)
        make = image_operator(n=n)

        with pytest.raises(_TimedOutError), _interrupted_after(0.4):
            airflow_task.run(make)
        airflow_task.begin_retry()
        result = airflow_task.run(make)

        assert result["delivered"] == n
        assert sorted(result["task_ids"]) == [purchase.task_id for purchase in gateway.purchases]
        assert len(gateway.calls) == n


class _TimedOutError(BaseException):
    """As ``AirflowTaskTimeout``, not an ``Exception``."""


@contextmanager
def _interrupted_after(seconds: float) -> Iterator[None]:
    def interrupt(_number: int, _frame: Any) -> None:
        raise _TimedOutError

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


class _DeafStore(StateStore):
    """A store whose first write arrives, and whose response to it is lost."""

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        is_first = not self.values
        super().set(key, value, retention=retention)
        if is_first:
            raise RuntimeError("API_SERVER_ERROR: no answer")


class _OvertakenStore(StateStore):
    """A store whose first answer is outdated when it arrives."""

    def __init__(self, overtake: Callable[[], None]) -> None:
        super().__init__()
        self._overtake = overtake

    def get(self, key: str, default: Any = None) -> Any:
        value = super().get(key, default)
        if self.calls == 1:
            self._overtake()
        return value


class TestATryThatIsOvertaken:
    """Airflow takes a worker for dead that is slow, and begins the next try."""

    @pytest.mark.parametrize("honours_keys", [True, False])
    @pytest.mark.parametrize(
        "render", [dict, lambda: {"prompt": f"kite {uuid.uuid4()}"}], ids=["same prompt", "random prompt"]
    )
    def test_buys_nothing_and_forgets_nothing(
        self,
        gateway: PlainGateway,
        airflow_task: AirflowTask,
        image_operator: Describe,
        honours_keys: bool,
        render: Rendering,
    ) -> None:
        gateway.honours_keys = honours_keys
        make = image_operator(render)
        triggers: list[Any] = []
        store = _OvertakenStore(lambda: triggers.append(airflow_task.run_until_deferred(make)))
        airflow_task.store = StateStore()
        airflow_task.store.values = store.values

        with pytest.raises(RecordUnavailableError) as caught:
            AirflowTask(store=store).run_until_deferred(make)

        assert caught.value.retryable
        assert len(gateway.purchases) == 1
        result = airflow_task.finish(make, triggers[0])
        assert result["task_ids"] == [gateway.purchases[0].task_id]
        airflow_task.begin_retry()
        assert airflow_task.run(make)["task_ids"] == result["task_ids"]


def test_an_unknown_outcome_of_one_part_names_the_ids_of_the_others(
    gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe
) -> None:
    gateway.reshape("submit", lambda body: body)
    gateway.reshape("submit", lambda _body: RawReply(502, "<html>Bad Gateway</html>"))

    with pytest.raises(ApimartError) as caught:
        airflow_task.run(image_operator(n=3))

    assert caught.value.charged == "unknown"
    named = [purchase.task_id for purchase in gateway.purchases if purchase.task_id in str(caught.value)]
    assert len(named) == len(gateway.purchases) - 1
