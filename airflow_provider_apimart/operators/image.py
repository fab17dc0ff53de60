"""The operator: one request for pictures, bought once and waited for without a worker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_apimart.appearance import MAP_INDEX_TEMPLATE, UI_COLOR, UI_FGCOLOR, map_index_label
from airflow_provider_apimart.assets.producer import PURCHASES, AssetProducer
from airflow_provider_apimart.exceptions import (
    ApimartError,
    BudgetExceededError,
    NotFoundError,
    TaskNotFoundError,
)
from airflow_provider_apimart.gateway.catalogue import find_spec
from airflow_provider_apimart.gateway.request import REQUEST_PARAMETERS, fingerprint, literal_request, rendered_request
from airflow_provider_apimart.gateway.task import Task
from airflow_provider_apimart.gateway.validation import check, check_anywhere, notices, require
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.links.console import ApimartConsoleLink, console_url
from airflow_provider_apimart.links.pictures import ApimartPicturesLink
from airflow_provider_apimart.operators._deferral import HOLD_EVENT, timeout_of
from airflow_provider_apimart.operators._event import purchase_of
from airflow_provider_apimart.operators._purchase import Purchase, naming
from airflow_provider_apimart.operators._record import Record
from airflow_provider_apimart.operators._result import conclude
from airflow_provider_apimart.operators._store import RecordStore
from airflow_provider_apimart.operators._waiting import wait_for_tasks
from airflow_provider_apimart.retry_policy import failing_fast, with_retry_policy

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import NoReturn

    from airflow.sdk import Asset, BaseOperatorLink, Context

    from airflow_provider_apimart.exceptions import GatewayError
    from airflow_provider_apimart.gateway.request import ImageRequest

__all__ = ["ApimartImageOperator"]


class ApimartImageOperator(AssetProducer):
    """
    Buys pictures of one prompt and returns their URLs, ids and cost.

    The URLs live for about a day: hand the result to ``ApimartToS3Operator`` in the same DAG run. A wrong literal
    parameter fails when the DAG is parsed, a wrong templated one when the task starts, both before anything is sent.

    Every paid call is noted in the task's state store before and after it is made, and carries a deterministic
    ``Idempotency-Key``. A retry asks after what an earlier try bought instead of buying again. Below Airflow 3.3
    there is no state store, and the key alone protects.

    :param prompt: what the picture shows.
    :param model: the vendor's name of the model. One that the catalogue does not know passes unchecked.
    :param size: ``"auto"``, a ratio such as ``"16:9"``, or pixels such as ``"1881x836"`` where the model takes them.
    :param resolution: ``"1k"``, ``"2k"`` or ``"4k"``.
    :param quality: ``"auto"``, ``"low"``, ``"medium"`` or ``"high"``.
    :param n: number of pictures. More than the gateway delivers in one task become several tasks.
    :param background: ``"auto"``, ``"opaque"`` or ``"transparent"``.
    :param moderation: strength of the model provider's filter, ``"auto"`` or ``"low"``.
    :param output_format: ``"png"``, ``"jpeg"`` or ``"webp"``.
    :param output_compression: 0 to 100, for jpeg and webp.
    :param image_urls: reference images: public URLs, or data URIs where the model takes them.
    :param mask_url: mask with an alpha channel, of the size of the first reference image.
    :param official_fallback: whether the gateway may use the dearer official channel when its own fails.
    :param extra_body: further fields of the request, sent as they are and not checked.
    :param apimart_conn_id: the connection.
    :param deferrable: wait in the triggerer; ``False`` holds the worker.
    :param durable: remember across tries what was bought, in the task state store.
    :param initial_delay: seconds after the submit before the first look; the vendors advise 10 to 20.
    :param poll_interval: seconds between looks; the vendors advise 3 to 5.
    :param timeout: seconds that one try waits. The gateway's task goes on after it and may be charged; its id stays
        noted, and a retry asks after it again. ``execution_timeout``, which Airflow does not apply while a task is
        deferred, shortens it.
    :param on_clear: what clearing the task means: ``"regenerate"`` buys new pictures, ``"reuse"`` asks after those
        that were bought, where that is noted. Clearing a task while it runs on its worker counts as a retry.
    :param on_unknown_submit: what to do when the answer to a paid call was lost: ``"fail"`` until a person clears the
        task, or ``"resubmit"`` with the same idempotency key, which buys once only where the gateway honours the key.
    :param max_cost: US dollars. The request is not sent when its estimated price is higher, or cannot be learned.
    :param map_index_template: what a mapped task instance is called in Airflow's pages; the beginning of its prompt.
    :raises InvalidRequestError: before anything is sent; names the field, its value and what is allowed.
    :raises SubmitOutcomeUnknownError: the picture may exist and be billed; no retry buys again.
    :raises TaskTimeoutError: still running after ``timeout``.
    :raises TaskFailedError: the gateway's task failed, and no other task of the request delivered a picture.
    """

    template_fields: Sequence[str] = (*REQUEST_PARAMETERS, "apimart_conn_id")
    template_fields_renderers = {"image_urls": "json", "extra_body": "json"}  # noqa: RUF012 - Airflow's own declaration
    operator_extra_links: Collection[BaseOperatorLink] = (ApimartPicturesLink(), ApimartConsoleLink())
    custom_operator_name = "APIMart image"
    ui_color = UI_COLOR
    ui_fgcolor = UI_FGCOLOR
    produces: ClassVar[tuple[Asset, ...]] = (PURCHASES,)

    def __init__(
        self,
        *,
        prompt: str,
        model: str = "gpt-image-2",
        size: str | None = None,
        resolution: str | None = None,
        quality: str | None = None,
        n: int | str = 1,
        background: str | None = None,
        moderation: str | None = None,
        output_format: str | None = None,
        output_compression: int | str | None = None,
        image_urls: Sequence[str] | None = None,
        mask_url: str | None = None,
        official_fallback: bool | str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        apimart_conn_id: str = "apimart_default",
        deferrable: bool = True,
        durable: bool = True,
        initial_delay: float = 12,
        poll_interval: float = 4,
        timeout: float = 600,
        on_clear: Literal["regenerate", "reuse"] = "regenerate",
        on_unknown_submit: Literal["fail", "resubmit"] = "fail",
        max_cost: float | None = None,
        map_index_template: str | None = MAP_INDEX_TEMPLATE,
        **kwargs: Any,
    ) -> None:
        super().__init__(map_index_template=map_index_template, **with_retry_policy(kwargs))
        self.prompt = prompt
        self.model = model
        self.size = size
        self.resolution = resolution
        self.quality = quality
        self.n = n
        self.background = background
        self.moderation = moderation
        self.output_format = output_format
        self.output_compression = output_compression
        self.image_urls = image_urls
        self.mask_url = mask_url
        self.official_fallback = official_fallback
        self.extra_body = extra_body
        self.apimart_conn_id = apimart_conn_id
        self.deferrable = deferrable
        self.durable = durable
        self.initial_delay = initial_delay
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.on_clear = on_clear
        self.on_unknown_submit = on_unknown_submit
        self.max_cost = max_cost
        self.console_url = ""
        self._waiting_for: Sequence[str] = ()
        self._check_parameters()

    def _check_parameters(self) -> None:
        """Refuse what no gateway would accept, as far as it is known when the DAG is parsed."""
        for name, choices in (("on_clear", ("regenerate", "reuse")), ("on_unknown_submit", ("fail", "resubmit"))):
            require(name, getattr(self, name), getattr(self, name) in choices, " or ".join(map(repr, choices)))
        for name in ("poll_interval", "timeout"):
            require(name, getattr(self, name), getattr(self, name) > 0, "more than 0 seconds")
        require("initial_delay", self.initial_delay, self.initial_delay >= 0, "0 seconds or more")
        require("max_cost", self.max_cost, self.max_cost is None or self.max_cost > 0, "more than 0 US dollars")
        request, unknown = literal_request(self._request_values())
        check_anywhere(request, unknown=unknown)

    def _request_values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in REQUEST_PARAMETERS}

    def map_index_label(self, map_index: int | None) -> str:
        """Return what stands for the number of a mapped task instance: the beginning of the prompt."""
        return map_index_label(self, map_index, self.prompt)

    def execute(self, context: Context) -> dict[str, Any]:
        """Buy what is not bought yet, and wait: in the triggerer, or here."""
        request = rendered_request(self._request_values())
        with failing_fast(), ApimartHook(self.apimart_conn_id) as hook:
            self.console_url = console_url(hook.settings)
            check(request, hook.settings.gateway)
            for notice in notices(request, hook.settings.gateway):
                self.log.warning("Note: %s", notice)
            record, tasks = self._buy(context, hook, request)
            running = [task_id for task_id in record.task_ids if task_id not in tasks]
            if running and self.deferrable:
                self._defer(record.task_ids, finished=tasks)
            if running:
                tasks |= self._wait_inline(hook, running)
            return self._finish(context, hook, request, record.task_ids, tasks)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Turn the trigger's event into the result, after one last look at what was still running."""
        tasks = {task.task_id: task for task in map(Task.from_json, event["tasks"])}
        with failing_fast(), ApimartHook(self.apimart_conn_id) as hook:
            return self._finish(context, hook, rendered_request(self._request_values()), event["task_ids"], tasks)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Collect what is finished, where Airflow would fail a task because its trigger crashed or ran out of time."""
        self.operator_extra_links = ()  # Those that the first worker of this try has made are still there.
        if next_method == "__fail__" and (result := self._collect(context)) is not None:
            return result
        return super().resume_execution(next_method, next_kwargs, context)

    def _collect(self, context: Context) -> dict[str, Any] | None:
        """Return the result of the noted purchase, or ``None`` while it cannot be had."""
        with failing_fast(), ApimartHook(self.apimart_conn_id) as hook:
            try:
                record = RecordStore.of(context, durable=self.durable).read()
                found = self._found(hook, record) if record else {}
            except ApimartError as error:
                self.log.warning("The trigger ended without a result, and none could be collected: %s", error)
                return None
            if record is None or not record.task_ids:
                return None
            tasks = _finished(found) | record.delivered
            if set(tasks) != set(record.task_ids):
                return None
            self.log.info("The trigger ended without a result, but the gateway has finished: collecting it")
            return self._finish(context, hook, rendered_request(self._request_values()), record.task_ids, tasks)

    def on_kill(self) -> None:
        """Say what happens to the money when somebody ends a task that waits on its worker."""
        if self._waiting_for:
            self.log.warning(
                "Killed while waiting for gateway task %s. It cannot be cancelled there: it goes on and will be "
                "charged. A retry asks after it and buys nothing, where the purchase is noted (Airflow 3.3, durable).",
                ", ".join(self._waiting_for),
            )

    def _buy(self, context: Context, hook: ApimartHook, request: ImageRequest) -> tuple[Record, dict[str, Task]]:
        """Return the record of a complete purchase, and those of its tasks that are finished already."""
        ti = context["ti"]
        settings = hook.settings
        store = RecordStore.of(context, durable=self.durable)
        if self.durable and not store.remembers:
            self.log.info("This Airflow has no task state store: the Idempotency-Key alone protects a retry")
        spec = find_spec(settings.gateway, request.model)
        parts = request.split(spec.images_per_task if spec else None)
        digest = fingerprint(connection_id=self.apimart_conn_id, path=settings.submit_path, body=request.body())
        purchase = Purchase(
            hook=hook,
            store=store,
            identity=(ti.dag_id, ti.run_id, ti.task_id, str(ti.map_index)),
            parts=parts,
            on_accepted=lambda task_ids: ti.xcom_push("task_ids", list(task_ids)),
            resubmit=self.on_unknown_submit == "resubmit",
            log=self.log,
        )
        noted = store.read()
        record = noted and purchase.resumed(
            noted,
            generation=ti.max_tries,
            fingerprint=digest,
            on_clear=self.on_clear,
            on_unknown_submit=self.on_unknown_submit,
        )
        if record is None:
            self._guard_cost(hook, request)
            record = Record.new(generation=ti.max_tries, fingerprint=digest, parts=len(parts))
        found = self._found(hook, record)
        record = purchase.complete(record.reviewed(found))
        finished = {task_id: task for task_id, task in _finished(found).items() if task_id in record.task_ids}
        return record, finished | record.delivered

    def _found(self, hook: ApimartHook, record: Record) -> dict[str, Task | GatewayError]:
        """Return what the gateway says of the tasks that earlier tries bought."""
        bought = [task_id for task_id in record.task_ids if task_id not in record.delivered]
        if not bought:
            return {}
        self.log.info("An earlier try bought task %s: asking after it instead of buying again", ", ".join(bought))
        with naming(bought):
            return hook.get_tasks(bought)

    def _guard_cost(self, hook: ApimartHook, request: ImageRequest) -> None:
        if self.max_cost is None:
            return
        try:
            estimate = hook.get_price(request.model).estimate(request)
        except NotFoundError:  # APIMaster publishes no prices.
            estimate = None
        if estimate is None or estimate > self.max_cost:
            price = "cannot be learned from the gateway" if estimate is None else f"is about {estimate} USD"
            raise BudgetExceededError(
                f"The price of {request.n} picture(s) of {request.model} {price}; max_cost is {self.max_cost} USD. "
                "Nothing was sent."
            )

    def _deadline(self) -> float:
        seconds = self.timeout
        if self.execution_timeout is not None:
            seconds = min(seconds, self.execution_timeout.total_seconds())
        return time.time() + seconds

    def _defer(self, task_ids: Sequence[str], *, finished: Mapping[str, Task]) -> NoReturn:
        from airflow_provider_apimart.triggers.apimart import ApimartTaskTrigger  # noqa: PLC0415

        now, deadline = time.time(), self._deadline()
        self.defer(
            trigger=ApimartTaskTrigger(
                apimart_conn_id=self.apimart_conn_id,
                task_ids=task_ids,
                finished=[task.to_json() for task in finished.values()],
                deadline=deadline,
                first_look=now + self.initial_delay,
                not_before=now + HOLD_EVENT,
                poll_interval=self.poll_interval,
            ),
            method_name="execute_complete",
            timeout=timeout_of(deadline, now=now, poll_interval=self.poll_interval),
        )

    def _wait_inline(self, hook: ApimartHook, task_ids: Sequence[str]) -> dict[str, Task]:
        self._waiting_for = task_ids
        return wait_for_tasks(
            hook,
            task_ids,
            first_look=time.time() + self.initial_delay,
            poll_interval=self.poll_interval,
            deadline=self._deadline(),
            log=self.log,
        )

    def _finish(
        self,
        context: Context,
        hook: ApimartHook,
        request: ImageRequest,
        task_ids: Sequence[str],
        finished: Mapping[str, Task],
    ) -> dict[str, Any]:
        """Return the result, or raise what kept it from being one, naming all tasks that may have been charged."""
        now = time.time()
        missing = [task_id for task_id in task_ids if task_id not in finished]
        with naming(task_ids):
            found = hook.get_tasks(missing) if missing else {}
        tasks = {**finished, **_finished(found)}
        with naming([task_id for task_id in task_ids if task_id not in tasks or not tasks[task_id].is_free]):
            result, warnings = conclude(
                task_ids,
                tasks,
                {task_id: error for task_id, error in found.items() if isinstance(error, TaskNotFoundError)},
                gateway=hook.settings.gateway,
                request=request,
                waited=self.timeout,
                now=now,
            )
        for warning in warnings:
            self.log.warning("%s", warning)
        self.log.info("%d picture(s), cost: %s USD", result["delivered"], result["cost"])
        self._emit_purchase(context, purchase_of(result, connection=self.apimart_conn_id, now=now))
        return result


def _finished(found: Mapping[str, Task | GatewayError]) -> dict[str, Task]:
    return {task_id: task for task_id, task in found.items() if isinstance(task, Task) and task.is_finished}
