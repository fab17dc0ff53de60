"""The image operator: one request, bought once and waited for without a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_apimart.assets import PURCHASES
from airflow_provider_apimart.gateway.request import REQUEST_PARAMETERS, literal_request
from airflow_provider_apimart.gateway.validation import check_anywhere
from airflow_provider_apimart.links import ApimartConsoleLink, ApimartPicturesLink
from airflow_provider_apimart.operators.base import ApimartRequestOperator
from airflow_provider_apimart.retry_policy import failing_fast

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from airflow.sdk import Asset, BaseOperatorLink, Context

    from airflow_provider_apimart.operators.attempt import ImageAttempt, Outcome

__all__ = ["ApimartImageOperator"]


class ApimartImageOperator(ApimartRequestOperator):
    """
    Buy pictures of one prompt, and return their URLs, ids and cost.

    The URLs live for about a day: hand the result to ``ApimartToS3Operator`` in the same DAG run. A wrong literal
    parameter fails when the DAG is parsed, a wrong templated one when the task starts, both before anything is
    submitted.

    Every paid call is recorded in the task's state store before and after it is made, and carries a deterministic
    ``Idempotency-Key``. A retry polls what an earlier try bought instead of buying again. Below Airflow 3.3 there is
    no state store: the record is an XCom, which does not outlive a try, and the key alone protects a retry.

    :param prompt: description of the picture.
    :param durable: record purchases in the task state store (default), so that they outlive a try; ``False`` records
        them in an XCom, as below Airflow 3.3.
    :param on_clear: ``"reuse"`` (default) uses what was bought before the task was cleared, while it can be had, and
        buys only what cannot; ``"regenerate"`` buys in any case. A template such as ``"{{ params.on_clear }}"`` lets a
        run choose. Clearing a task while it runs on its worker counts as a retry.
    :param kwargs: the request fields and settings of
        :class:`~airflow_provider_apimart.operators.base.ApimartRequestOperator`.
    :raises InvalidRequestError: before anything is submitted; names the field, its value and what is allowed.
    :raises BudgetExceededError: before anything is submitted; the price is above ``max_cost`` or unknown.
    :raises SubmitOutcomeUnknownError: the picture may exist and be billed; no retry buys again.
    :raises TaskTimeoutError: still running after ``timeout``.
    :raises TaskFailedError: the gateway's task failed, and no other task of the request delivered a picture.
    """

    template_fields: Sequence[str] = ("prompt", *ApimartRequestOperator.template_fields, "on_clear")
    operator_extra_links: Collection[BaseOperatorLink] = (ApimartPicturesLink(), ApimartConsoleLink())
    custom_operator_name = "APIMart image"
    produces: ClassVar[tuple[Asset, ...]] = (PURCHASES,)
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **ApimartRequestOperator.choices,
        "on_clear": ("reuse", "regenerate"),
    }

    def __init__(
        self,
        *,
        prompt: str,
        durable: bool = True,
        on_clear: Literal["reuse", "regenerate"] | str = "reuse",  # noqa: PYI051 - or a template
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prompt = prompt
        self.durable = durable
        self.on_clear = on_clear
        self._check_when_parsed(self._check_literals)

    def _check_literals(self) -> None:
        self.check_settings(is_rendered=False)
        request, unknown = literal_request(self.field_values(REQUEST_PARAMETERS))
        check_anywhere(request, unknown=unknown, local_references=True)

    def map_index_label(self, map_index: int | None) -> str:
        """Return the name of a mapped task instance: the beginning of its prompt."""
        return self._short_label(map_index, self.prompt)

    def execute(self, context: Context) -> dict[str, Any]:
        """Buy what is not bought yet, and wait: in the triggerer, or on this worker."""
        self._raise_refusal()
        if self.durable and "task_state_store" not in context:
            self.log.info("This Airflow has no task state store: the Idempotency-Key alone protects a retry")
        return self._attempt(context, lambda attempt: attempt.start()) or {}

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Continue with the trigger's event: return the result, or buy what was lost since the task was cleared."""
        return self._attempt(context, lambda attempt: attempt.resume(event or {})) or {}

    def _recover(self, context: Context) -> dict[str, Any] | None:
        """Return the result after the trigger has failed, or defer again; ``None`` where no purchase is known."""
        return self._attempt(context, lambda attempt: attempt.recover())

    def _attempt(self, context: Context, work: Callable[[ImageAttempt], Outcome | None]) -> dict[str, Any] | None:
        # A DAG that is parsed needs no gateway.
        from airflow_provider_apimart.operators.attempt import ImageAttempt  # noqa: PLC0415
        from airflow_provider_apimart.operators.record_store import PurchaseStore  # noqa: PLC0415

        store = PurchaseStore(context.get("task_state_store") if self.durable else None, context["ti"], self.log)
        is_reuse = self.on_clear != "regenerate"
        with failing_fast(), ImageAttempt(self, store, context["ti"], is_reuse=is_reuse) as attempt:
            outcome = work(attempt)
        if outcome is None:
            return None
        result, extra = outcome
        self._emit(context, PURCHASES, extra)
        return result

    def on_kill(self) -> None:
        """Log what happens to the money when somebody ends a task that waits on its worker."""
        if self.waiting_for:
            self.log.warning(
                "Killed while waiting for gateway task %s. It cannot be cancelled there: it continues and will be "
                "charged. A retry, or a run after a clear, collects it at no cost where the purchase is recorded "
                "(Airflow 3.3, durable=True).",
                ", ".join(self.waiting_for),
            )
