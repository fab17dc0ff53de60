"""Money: the cap holds for the body that is submitted, and what is not known is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from services.plain_gateway import RawReply

from airflow_provider_apimart.exceptions import (
    BudgetExceededError,
    InsufficientBalanceError,
    InvalidRequestError,
    TaskFailedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from laws.airflow_task import AirflowTask
    from services.plain_gateway import PlainGateway

    Describe = Callable[..., Callable[[], Any]]

pytestmark = pytest.mark.usefixtures("direct")

BY_RESOLUTION = {
    "resolution_enabled": True,
    "resolution_paid_prices": {"1K": 0.0085, "2K": 0.014, "4K": 0.021},
    "input_image_paid_price": 0.004,
}
REFERENCES = ["https://pictures.example/a.png", "https://pictures.example/b.png"]


BROKE = RawReply(402, {"error": {"code": 402, "message": "balance too low", "type": "payment_required"}})


class TestMaxCost:
    @pytest.mark.parametrize(
        "parameters",
        [
            pytest.param({"extra_body": {"resolution": "4k"}}, id="4k in extra_body"),
            pytest.param({"extra_body": {"resolution": "4K"}}, id="4K in extra_body"),
            pytest.param({"extra_body": {"size": "3840x2160"}}, id="pixels in extra_body"),
            pytest.param({"extra_body": '{"resolution": "4k"}'}, id="JSON text"),
            pytest.param({"size": "3840x2160"}, id="4k as pixels"),
            pytest.param({"size": "2160x3840"}, id="4k as pixels, upright"),
            pytest.param({"resolution": "4k", "size": "16:9"}, id="4k"),
            pytest.param({"n": 2}, id="two"),
            pytest.param({"official_fallback": True}, id="the dearer channel"),
            pytest.param({"extra_body": {"official_fallback": True}}, id="the dearer channel in extra_body"),
            pytest.param({"image_urls": REFERENCES}, id="priced references"),
            pytest.param({"extra_body": {"image_urls": REFERENCES}}, id="priced references in extra_body"),
        ],
    )
    def test_refuses_what_the_submitted_body_would_cost(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, parameters: dict[str, Any]
    ) -> None:
        gateway.prices = BY_RESOLUTION

        with pytest.raises(BudgetExceededError, match=r"0\.01"):
            airflow_task.run(image_operator(max_cost=0.01, **parameters))

        assert gateway.calls == []

    @pytest.mark.parametrize("extra_body", [{"n": 4}, {"N": 4, "n": "4"}, '{"n": 4}'])
    def test_is_not_got_round_by_a_number_in_extra_body(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, extra_body: Any
    ) -> None:
        with pytest.raises((BudgetExceededError, InvalidRequestError)):
            airflow_task.run(image_operator(max_cost=0.01, extra_body=extra_body))

        assert gateway.calls == []

    @pytest.mark.parametrize(
        "prices",
        [
            pytest.param({}, id="an empty table"),
            pytest.param({"resolution_paid_prices": None, "paid_price": ""}, id="null"),
            pytest.param({"resolution_paid_prices": {"1K": 0}}, id="zero"),
            pytest.param({"resolution_paid_prices": "see our page"}, id="text"),
            pytest.param({"pricing": {"tiers": [{"input": 5}]}, "billing_type": "tiered_token"}, id="tokens"),
        ],
    )
    def test_refuses_what_has_no_known_price(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, prices: dict[str, Any]
    ) -> None:
        gateway.prices = prices

        with pytest.raises(BudgetExceededError):
            airflow_task.run(image_operator(max_cost=100))

        assert gateway.calls == []

    @pytest.mark.parametrize("way", ["first try", "retry"])
    def test_is_no_open_purse_when_it_renders_to_none(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, way: str
    ) -> None:
        if way == "retry":
            gateway.reply("submit", BROKE)
            with pytest.raises(InsufficientBalanceError):
                airflow_task.run(image_operator(lambda: {"max_cost": "0.02"}))
            airflow_task.begin_retry()

        with pytest.raises(InvalidRequestError, match="max_cost"):
            airflow_task.run(image_operator(lambda: {"max_cost": None}))

        assert gateway.purchases == []

    @pytest.mark.parametrize("model_name", ["gpt-image-mini", "a-cheap-model"])
    def test_is_not_compared_with_the_price_of_another_model(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, model_name: str
    ) -> None:
        """As a cache answers that takes no notice of the query."""
        gateway.prices = {"model_name": model_name, "resolution_paid_prices": {"1K": 0.0001}}

        with pytest.raises(BudgetExceededError):
            airflow_task.run(image_operator(max_cost=0.001))

        assert gateway.calls == []

    @pytest.mark.parametrize("max_cost", [0.0085, "0.02", "  0.02 ", 1])
    @pytest.mark.parametrize(
        "prices", [BY_RESOLUTION, {"resolution_paid_prices": {"1k": "0.0085"}}], ids=["numbers", "texts"]
    )
    def test_lets_through_what_it_covers(  # fixtures
        self,
        gateway: PlainGateway,
        airflow_task: AirflowTask,
        image_operator: Describe,
        max_cost: Any,
        prices: dict[str, Any],
    ) -> None:
        gateway.prices = prices

        assert airflow_task.run(image_operator(lambda: {"max_cost": max_cost}))["delivered"] == 1


@pytest.mark.parametrize(
    "cost",
    [
        {"credits_cost": 0.085},
        {"cost": None, "credits_cost": "0.085"},
        {"cost": "$0.0085"},
        {"cost": {"amount": 0.0085, "currency": "USD"}},
    ],
    ids=str,
)
@pytest.mark.parametrize("deferrable", [True, False])
def test_a_failure_that_was_charged_in_any_form_is_not_bought_again_by_a_retry(
    gateway: PlainGateway,
    airflow_task: AirflowTask,
    image_operator: Describe,
    cost: dict[str, Any],
    deferrable: bool,
) -> None:
    gateway.life = [{"status": "failed", "error": "the kiln was cold", **cost}]
    make = image_operator(retries=2, deferrable=deferrable)

    for _ in range(3):
        with pytest.raises(TaskFailedError) as caught:
            airflow_task.run(make)
        assert caught.value.charged != "no"
        assert not caught.value.retryable
        airflow_task.begin_retry()

    assert len(gateway.calls) == 1
