"""The dataset operator: a picture for each row, bought once, in one task."""

from __future__ import annotations

import math
import time
from os import PathLike
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from airflow_provider_apimart.appearance import MAP_INDEX_TEMPLATE, UI_COLOR, UI_FGCOLOR, ShowsResults, map_index_label
from airflow_provider_apimart.assets.producer import IMAGES, PURCHASES, AssetProducer
from airflow_provider_apimart.exceptions import ApimartError
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE
from airflow_provider_apimart.gateway.request import REQUEST_PARAMETERS, is_literal, literal_request
from airflow_provider_apimart.gateway.validation import check_anywhere, require
from airflow_provider_apimart.links.console import ApimartConsoleLink
from airflow_provider_apimart.links.pictures import ApimartPicturesLink
from airflow_provider_apimart.links.s3 import ApimartS3FolderLink
from airflow_provider_apimart.operators._deferral import HOLD_EVENT, timeout_of
from airflow_provider_apimart.retry_policy import failing_fast, with_retry_policy

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import NoReturn

    from airflow.sdk import Asset, BaseOperatorLink, Context, ObjectStoragePath

    from airflow_provider_apimart.dataset.session import Session, Wait

__all__ = ["DEFAULT_PREFIX", "ApimartImageDatasetOperator"]

#: The same for all runs, so that each buys only what the earlier ones have not.
DEFAULT_PREFIX: Final = "apimart/{{ dag.dag_id }}/{{ task.task_id }}"

#: Request fields that the operator takes for all rows.
_DEFAULTS: Final = tuple(name for name in REQUEST_PARAMETERS if name != "prompt")
#: Allowed values of parameters, which may also be templates.
_CHOICES: Final = {
    "on_existing": ("reuse", "regenerate"),
    "on_invalid": ("fail", "skip"),
    "on_unknown_submit": ("fail", "resubmit"),
}


class ApimartImageDatasetOperator(ShowsResults, AssetProducer):
    """
    Buys a picture for every row of a prompt dataset, and keeps pictures and a ledger of them in S3.

    All rows are checked before the first is paid. Then up to ``max_in_flight`` of them run at the gateway at a time;
    the task defers while they do, wakes when enough is finished, copies that, and buys the next. What was asked,
    bought, paid and copied is in the ledger, ``{s3_prefix}/ledger/ledger.jsonl``: a crash loses nothing, a retry goes
    on, and a later run over the same or a changed dataset buys only what the ledger lacks.

    :param prompts: the rows: texts, or mappings whose keys are request fields, as a list or an upstream task's
        ``.output``; or the address of a ``.jsonl``, ``.csv`` (both also with ``.gz``) or ``.parquet`` file: a local
        path, ``s3://``, or what ``ObjectStoragePath`` opens.
    :param s3_bucket: name of the bucket.
    :param s3_prefix: where pictures (``images/``) and ledger (``ledger/``) go. Runs with the same prefix share their
        ledger: it should not hold the run id. A dated dataset may carry its date, or its partition.
    :param model: for rows that do not say; likewise ``size``, ``resolution``, ``quality``, ``n``, ``background``,
        ``moderation``, ``output_format``, ``output_compression``, ``image_urls``, ``mask_url``, ``official_fallback``
        and ``extra_body``, as in :class:`~airflow_provider_apimart.operators.image.ApimartImageOperator`. Reference
        images may also be ``s3://`` addresses or paths on the worker: each is uploaded once.
    :param id_column: names each row's picture. A row without an id is named after what it asks for.
    :param shard: ``(index, count)``: this task's share of the rows, ``index`` from 0. For
        ``.partial(...).expand(shard=[(0, 4), (1, 4), (2, 4), (3, 4)])``.
    :param max_in_flight: paid calls of this task that run at the gateway at once.
    :param max_cost: US dollars that a DAG run may spend from this ledger, all shards together. Before a call its price
        is reserved: by the gateway's price table, or the most that such a row has cost. The task stops before it
        would exceed the sum, collects what is in flight, and fails; raise it and clear the task to go on.
    :param max_failed: how many rows (an ``int``), or which share of them (a ``float``), may end without a picture.
        Beyond that nothing more is bought and the task fails. Unless given, every row is tried, and then one failed
        row fails the task.
    :param row_retries: how often a row is bought again that failed and was not charged.
    :param on_invalid: ``"fail"`` on rows that cannot be bought, before anything is paid, naming each; ``"skip"`` them.
    :param on_existing: ``"reuse"`` what earlier runs have bought, or ``"regenerate"`` it, once in this run.
    :param on_unknown_submit: what to do with a row whose paid call was not answered: ``"fail"`` gives it up, since it
        may have been bought; ``"resubmit"`` sends the same idempotency key within 23 hours, which buys once only where
        the gateway honours the key.
    :param apimart_conn_id: the connection of the gateway.
    :param aws_conn_id: connection of type ``aws``, for the bucket, and for datasets and references on ``s3://``.
    :param deferrable: wait in the triggerer; ``False`` holds the worker.
    :param initial_delay: seconds after the last submit before the first look; the vendors advise 10 to 20.
    :param poll_interval: seconds between looks; the vendors advise 3 to 5.
    :param timeout: seconds that one try waits for a picture after its call was accepted; a retry waits anew.
        ``execution_timeout`` bounds the whole try.
    :param max_concurrency: pictures that are copied at the same time.
    :param max_bytes: the largest picture that is accepted.
    :param extra_args: further arguments of each ``PutObject``, such as ``{"ServerSideEncryption": "aws:kms"}``.
    :param map_index_template: what a mapped task instance is called in Airflow's pages; its file, and its shard.
    :raises InvalidRequestError: for rows that cannot be bought, naming each by its line. Nothing was sent.
    :raises BudgetExceededError: ``max_cost`` allows no further row; says what was spent, and how many rows are left.
    :raises IncompleteDatasetError: more rows failed than ``max_failed`` allows; says which, and why.
    :raises TaskTimeoutError: pictures still run at the gateway; a retry collects them.
    :raises RecordUnavailableError: the ledger could not be read or written. Nothing is bought without it.
    """

    template_fields: Sequence[str] = (
        "prompts",
        "s3_bucket",
        "s3_prefix",
        *_DEFAULTS,
        "shard",
        "max_cost",
        *_CHOICES,
        "apimart_conn_id",
        "aws_conn_id",
        "extra_args",
    )
    template_fields_renderers = dict.fromkeys(("prompts", "image_urls", "extra_body", "shard", "extra_args"), "json")
    operator_extra_links: Collection[BaseOperatorLink] = (
        ApimartPicturesLink(),
        ApimartS3FolderLink(),
        ApimartConsoleLink(),
    )
    custom_operator_name = "APIMart image dataset"
    ui_color = UI_COLOR
    ui_fgcolor = UI_FGCOLOR
    produces: ClassVar[tuple[Asset, ...]] = (PURCHASES, IMAGES)
    results: ClassVar[str] = "prompts"

    def __init__(
        self,
        *,
        prompts: str | PathLike[str] | ObjectStoragePath | Iterable[str | Mapping[str, Any]],
        s3_bucket: str,
        s3_prefix: str = DEFAULT_PREFIX,
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
        id_column: str = "id",
        shard: Sequence[int] | None = None,
        max_in_flight: int = 200,
        max_cost: float | str | None = None,
        max_failed: float | None = None,
        row_retries: int = 2,
        on_invalid: Literal["fail", "skip"] = "fail",
        on_existing: Literal["reuse", "regenerate"] = "reuse",
        on_unknown_submit: Literal["fail", "resubmit"] = "fail",
        apimart_conn_id: str = "apimart_default",
        aws_conn_id: str | None = "aws_default",
        deferrable: bool = True,
        initial_delay: float = 12,
        poll_interval: float = 4,
        timeout: float = 600,
        max_concurrency: int = 16,
        max_bytes: int = 64 * MEBIBYTE,
        extra_args: Mapping[str, Any] | None = None,
        map_index_template: str | None = MAP_INDEX_TEMPLATE,
        **kwargs: Any,
    ) -> None:
        super().__init__(map_index_template=map_index_template, **with_retry_policy(kwargs))
        self.prompts = prompts
        self.s3_bucket = s3_bucket
        self.s3_prefix = s3_prefix
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
        self.id_column = id_column
        self.shard = shard
        self.max_in_flight = max_in_flight
        self.max_cost = max_cost
        self.max_failed = max_failed
        self.row_retries = row_retries
        self.on_invalid = on_invalid
        self.on_existing = on_existing
        self.on_unknown_submit = on_unknown_submit
        self.apimart_conn_id = apimart_conn_id
        self.aws_conn_id = aws_conn_id
        self.deferrable = deferrable
        self.initial_delay = initial_delay
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.max_concurrency = max_concurrency
        self.max_bytes = max_bytes
        self.extra_args = extra_args
        self.console_url = ""
        self.s3_folder_url = ""
        self._stopping: Event | None = None  # Made when the task runs: a DAG is copied, and an event cannot be.
        self._check_parameters()

    def _check_parameters(self) -> None:
        """Refuse what is wrong for any dataset, as far as it is known when the DAG is parsed."""
        self._check_choices([name for name in _CHOICES if is_literal(getattr(self, name))])
        for name in ("max_in_flight", "max_concurrency", "max_bytes"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("poll_interval", "timeout"):
            require(name, getattr(self, name), getattr(self, name) > 0, "more than 0 seconds")
        for name in ("initial_delay", "row_retries"):
            require(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        is_share = isinstance(self.max_failed, float)
        allowed = "a share from 0.0 to 1.0" if is_share else "a number of rows, 0 or more"
        in_range = self.max_failed is None or 0 <= self.max_failed <= (1 if is_share else self.max_failed)
        require("max_failed", self.max_failed, in_range, allowed)
        request, unknown = literal_request({name: getattr(self, name) for name in _DEFAULTS})
        # A row may name another model, to which the rest of the defaults belongs: only the types are certain.
        check_anywhere(request, unknown={*unknown, "model", "image_urls", "mask_url"})

    def _check_choices(self, names: Iterable[str]) -> None:
        for name in names:
            choices = _CHOICES[name]
            require(name, getattr(self, name), getattr(self, name) in choices, " or ".join(map(repr, choices)))

    def map_index_label(self, map_index: int | None) -> str:
        """Return what stands for the number of a mapped task instance: the name of its file, and its shard."""
        is_address = isinstance(self.prompts, str | PathLike) or hasattr(self.prompts, "storage_options")
        file = str(self.prompts).rstrip("/").rpartition("/")[2] if is_address else ""
        is_pair = isinstance(self.shard, list | tuple) and len(self.shard) == len(("index", "count"))
        shard = "shard {} of {}".format(*self.shard) if self.shard and is_pair else ""
        return map_index_label(self, map_index, ", ".join(filter(None, (file, shard))))

    def execute(self, context: Context) -> dict[str, Any]:
        """Buy and copy what the ledger lacks."""
        return self._work(context, began_at=time.time())

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Go on after a deferral: what has ended meanwhile is copied, and the next rows are bought."""
        self.log.info("Woken (%s): %d of %d paid calls have ended", event["status"], event["ended"], event["of"])
        return self._work(context, began_at=event["began_at"])

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Copy what has ended, where Airflow would fail a task because its trigger crashed or ran out of time."""
        self.operator_extra_links = ()  # Those that the first worker of this try has made are still there.
        if next_method == "__fail__":
            try:
                with self._session(context, began_at=time.time()) as session:
                    if session.collect():
                        return self._finish(context, session)
            except ApimartError as error:
                self.log.warning("The trigger ended without a result, and what is finished was not copied: %s", error)
        return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """Send nothing more, and write down what was sent."""
        if self._stopping is not None:
            self._stopping.set()

    def _work(self, context: Context, *, began_at: float) -> dict[str, Any]:
        while True:
            with failing_fast(), self._session(context, began_at=began_at) as session:
                wait = session.work()
                if wait is None:
                    return self._finish(context, session)
                if self.deferrable:
                    self._defer(wait, began_at=began_at)
            # On the worker too a new session follows, which sees what others have written, and has no old troubles.
            time.sleep(self.poll_interval if wait.task_ids else max(0.0, wait.wake_at - time.time()))

    def _finish(self, context: Context, session: Session) -> dict[str, Any]:
        from airflow_provider_apimart.operators._dataset import events_of  # noqa: PLC0415 - loads boto3 and urllib3

        result = session.result()
        purchase, images = events_of(self, session, result)
        self._emit_purchase(context, purchase)
        self._emit_images(context, images)
        return result.report

    def _session(self, context: Context, *, began_at: float) -> AbstractContextManager[Session]:
        from airflow_provider_apimart.operators._dataset import open_session  # noqa: PLC0415 - loads boto3 and urllib3

        self._check_choices(_CHOICES)
        self._stopping = self._stopping or Event()
        return open_session(self, context, began_at=began_at, stopping=self._stopping)

    def _defer(self, wait: Wait, *, began_at: float) -> NoReturn:
        from airflow_provider_apimart.triggers.dataset import ApimartDatasetTrigger  # noqa: PLC0415

        now = time.time()
        self.defer(
            trigger=ApimartDatasetTrigger(
                apimart_conn_id=self.apimart_conn_id,
                task_ids=wait.task_ids,
                enough=wait.enough,
                deadline=wait.deadline,
                wake_at=None if math.isinf(wait.wake_at) else wait.wake_at,
                began_at=began_at,
                first_look=now + self.initial_delay,
                not_before=now + HOLD_EVENT,
                poll_interval=self.poll_interval,
            ),
            method_name="execute_complete",
            timeout=timeout_of(wait.deadline, now=now, poll_interval=self.poll_interval),
        )
