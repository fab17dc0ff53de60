from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from simulator.clients import client_that_waits

if TYPE_CHECKING:
    from simulator.fixtures import Clock, Start, Submit

    from airflow_provider_apimart.simulator import Simulator


def error_of(answer: httpx.Response) -> Any:
    return answer.json()["error"]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 429, 500, 502, 503, 504])
def test_a_refusal_has_the_documented_body(simulator: Simulator, submit: Submit, status: int) -> None:
    simulator.add_fault({"fault": "refuse", "status": status})
    answer = submit()

    assert answer.status_code == status
    assert error_of(answer)["code"] == status
    assert simulator.stats()["submits"] == {"received": 1, "accepted": 0, "replayed": 0, "refused": 1, "dropped": 0}


@pytest.mark.parametrize(
    ("shape", "code"),
    [("documented", 422), ("numeric_string", "422"), ("word", "bad_response_status_code"), ("empty", "")],
)
def test_the_code_of_a_refusal_may_be_a_number_a_word_or_empty(
    simulator: Simulator, submit: Submit, shape: str, code: Any
) -> None:
    simulator.add_fault({"fault": "refuse", "status": 422, "shape": shape})

    assert error_of(submit())["code"] == code


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ("no_code", {"error": {"message": "no", "type": "rate_limit_error"}}),
        ("code", {"code": 429, "message": "no"}),
        ("success_false", {"success": False, "message": "no"}),
        ("detail", {"detail": "no", "retry_after": 7}),
    ],
)
def test_a_refusal_may_come_in_another_envelope(
    simulator: Simulator, submit: Submit, shape: str, body: dict[str, Any]
) -> None:
    simulator.add_fault({"fault": "refuse", "status": 429, "shape": shape, "message": "no", "retry_after": 7})

    assert submit().json() == body


@pytest.mark.parametrize(
    ("reason", "status", "code", "words"),
    [
        ("get_channel_failed", 400, "get_channel_failed", "try again later"),
        ("build_request_failed", 500, 500, "build_request_failed"),
        ("moderation", 500, 500, "sensitive content detected"),
        ("idempotency_unavailable", 503, "idempotency_unavailable", "not executed"),
        ("idempotency_result_indeterminate", 409, "idempotency_result_indeterminate", "not known"),
    ],
)
def test_the_known_refusals_have_names(
    simulator: Simulator, submit: Submit, *, reason: str, status: int, code: Any, words: str
) -> None:
    simulator.add_fault({"fault": "refuse", "reason": reason})
    answer = submit()

    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    assert words in error_of(answer)["message"]


def test_a_refusal_may_be_given_word_for_word(simulator: Simulator, submit: Submit) -> None:
    simulator.add_fault({"fault": "refuse", "status": 418, "body": {"teapot": True}})

    assert (submit().status_code, submit().json()) == (418, {"teapot": True})


def test_retry_after_comes_in_seconds_or_as_a_date(simulator: Simulator, submit: Submit, clock: Clock) -> None:
    simulator.add_fault(
        {"fault": "refuse", "status": 429, "retry_after": 5, "times": 1},
        {"fault": "refuse", "status": 429, "retry_after": 5, "retry_after_form": "date", "times": 1},
        {"fault": "refuse", "status": 429},
    )
    seconds, date, absent = (submit().headers.get("Retry-After") for _ in range(3))

    assert seconds == "5"
    assert parsedate_to_datetime(date).timestamp() == clock.now + 5
    assert absent is None


def test_a_dropped_answer_leaves_a_task(simulator: Simulator, submit: Submit) -> None:
    simulator.add_fault({"fault": "drop_answer"})
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        submit()

    assert simulator.stats()["submits"]["accepted"] == 1
    assert simulator.stats()["cost"] == 0.0085


def test_a_dropped_request_leaves_nothing(simulator: Simulator, submit: Submit) -> None:
    simulator.add_fault({"fault": "drop_request"})
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        submit()

    assert simulator.stats()["submits"] == {"received": 1, "accepted": 0, "replayed": 0, "refused": 0, "dropped": 1}
    assert simulator.tasks() == []


@pytest.mark.parametrize(("html", "content_type"), [(False, "application/json"), (True, "text/html; charset=utf-8")])
@pytest.mark.parametrize("status", [500, 502, 504])
def test_an_error_after_acceptance_leaves_a_task(
    simulator: Simulator, submit: Submit, *, status: int, html: bool, content_type: str
) -> None:
    simulator.add_fault({"fault": "accept_then_error", "status": status, "html": html})
    answer = submit()

    assert (answer.status_code, answer.headers["content-type"]) == (status, content_type)
    assert len(simulator.tasks()) == 1


async def test_a_delayed_answer_leaves_a_task_with_the_client_that_gave_up(simulator: Simulator) -> None:
    simulator.add_fault({"fault": "delay", "seconds": 600})
    async with client_that_waits(simulator):
        pass

    assert len(simulator.tasks()) == 1


@pytest.mark.parametrize("status", [200, 403, 503])
def test_a_page_may_stand_where_json_was_due(
    simulator: Simulator, start: Start, client: httpx.Client, status: int
) -> None:
    task_id = start()
    simulator.add_fault({"fault": "html", "on": "task", "status": status})
    answer = client.get(f"{simulator.url}/v1/tasks/{task_id}")

    assert answer.status_code == status
    assert answer.text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("shape", ["code", "error"])
def test_an_error_may_come_with_http_200(simulator: Simulator, submit: Submit, shape: str) -> None:
    simulator.add_fault({"fault": "error_in_200", "shape": shape, "message": "no"})
    answer = submit()

    assert answer.status_code == 200
    error = answer.json()["error"] if shape == "error" else answer.json()
    assert (error["code"], error["message"]) == (500, "no")
    assert simulator.tasks() == []


def test_a_redirect_is_answered_as_told(simulator: Simulator, submit: Submit) -> None:
    simulator.add_fault({"fault": "redirect", "status": 307, "location": "http://example.com/"})
    answer = submit()

    assert (answer.status_code, answer.headers["location"]) == (307, "http://example.com/")


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("task", "/v1/tasks/task_1"),
        ("balance", "/v1/balance"),
        ("pricing", "/api/pricing/model"),
        ("models", "/v1/models"),
        ("image", "/f/image/a.png"),
    ],
)
def test_any_endpoint_can_be_disturbed(simulator: Simulator, client: httpx.Client, endpoint: str, path: str) -> None:
    simulator.add_fault({"fault": "refuse", "status": 503, "on": endpoint})

    assert client.get(simulator.url + path).status_code == 503


def test_a_rule_for_a_prompt_follows_its_task(simulator: Simulator, start: Start, client: httpx.Client) -> None:
    tasks = {prompt: start(prompt=prompt) for prompt in ("a red fox", "an owl")}
    simulator.add_fault({"fault": "refuse", "on": "task", "match": {"prompt": "owl"}})

    statuses = {prompt: client.get(f"{simulator.url}/v1/tasks/{id_}").status_code for prompt, id_ in tasks.items()}
    assert statuses == {"a red fox": 200, "an owl": 500}
