"""The dataset operator: a picture for each row, bought once, in one task."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import replace
from os import PathLike
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from airflow_provider_apimart.assets import IMAGES, PURCHASES
from airflow_provider_apimart.dataset.run.settings import DatasetSettings, continued_settings
from airflow_provider_apimart.exceptions import InvalidRequestError, RecordUnavailableError
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE
from airflow_provider_apimart.gateway.parsing import read_integer
from airflow_provider_apimart.gateway.request import is_literal, literal_request
from airflow_provider_apimart.gateway.validation import check_anywhere, require
from airflow_provider_apimart.links import ApimartConsoleLink, ApimartPicturesLink, ApimartS3FolderLink
from airflow_provider_apimart.operators.base import DEFAULT_FIELDS, ApimartRequestOperator
from airflow_provider_apimart.operators.dataset_record import read_settings, write_settings
from airflow_provider_apimart.retry_policy import failing_fast
from airflow_provider_apimart.transfers.keys import check_extra_args, s3_location

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from typing import NoReturn

    from airflow.sdk import Asset, BaseOperatorLink, Context, ObjectStoragePath

    from airflow_provider_apimart.dataset.run.waves import DatasetWait
    from airflow_provider_apimart.operators.dataset_session import OpenDataset

__all__ = ["DEFAULT_PREFIX", "ApimartImageDatasetOperator"]

#: The same for all runs, so that no run buys a picture of an earlier one again.
DEFAULT_PREFIX: Final = "apimart/{{ dag.dag_id }}/{{ task.task_id }}"


#: Waits in one generation that may end because the trigger failed, before the task fails too.
_MOST_RECOVERIES: Final = 20


class ApimartImageDatasetOperator(ApimartRequestOperator):
    """
    Buys a picture for every row of a prompt dataset, and keeps pictures and a ledger of them in S3.

    All rows are checked before the first is paid for. Then up to ``max_in_flight`` of them run at the gateway at a
    time. A worker stays while it has something to submit or to copy every few seconds, and leaves longer waits to the
    triggerer. The ledger below ``{s3_prefix}/ledger/`` holds every purchase: after a crash a retry continues, and a
    later run over the same or a changed dataset buys only what the ledger lacks.

    :param prompts: the rows: texts, or mappings whose keys are request fields, as a list, a generator or an upstream
        task's ``.output``; or the address of a ``.jsonl``, ``.csv``, ``.tsv`` (each also with ``.gz``) or ``.parquet``
        file: a local path, ``s3://``, or what ``ObjectStoragePath`` opens. They are read once in each generation (a run
        of the task until somebody clears it) and stored beside the ledger while the task works.
    :param s3_bucket: name of the bucket.
    :param s3_prefix: folder of the pictures (``images/``) and the ledger (``ledger/``). Runs with the same prefix share
        their ledger, so it should not hold the run id. A dated dataset may carry its date, or its partition. It is
        fixed when the task instance begins for the first time.
    :param id_column: name of the column that names each row's picture. A row without an id is named after its request.
    :param columns: names of further columns that go into ledger and manifest, such as ``("sku",)``.
    :param prompt_template: makes each prompt from columns, such as ``"{name} on white, {colour} light"``.
    :param shard: ``(index, count)``: this task's share of the rows, ``index`` from 0. For
        ``.partial(...).expand(shard=[(0, 4), (1, 4), (2, 4), (3, 4)])``.
    :param limit: number of rows to take, from the first on, such as a sample of 20; with shards, of each. ``None``
        (default) for all.
    :param plan_only: return what would be bought and what it would cost, and buy nothing.
    :param max_in_flight: paid calls of a DAG run that run at the gateway at once; each shard gets its share.
    :param max_failed: how many rows (an ``int``), or which share of them (a ``float``), may end without a picture.
        Beyond that nothing more is bought and the task fails. Unless given, every row is tried, and then one failed
        row fails the task.
    :param max_failure_rate: share of the last 50 calls of a worker (at least 20), such as 0.3, whose failure ends the
        buying early; ``None`` (default) for any.
    :param row_retries: how often a row is bought again that failed and was not charged.
    :param on_invalid: ``"fail"`` on rows that cannot be bought, before anything is paid, naming each; ``"skip"`` them.
        If all are invalid, the task fails.
    :param on_suspicious: what to do with a prompt such as ``nan`` or ``#REF!``: ``"warn"`` (default), ``"fail"`` or
        ``"skip"``.
    :param on_existing: ``"reuse"`` what earlier runs have bought, or ``"regenerate"`` it, once in this run.
    :param aws_conn_id: connection of type ``aws``, for the bucket, and for datasets and references on ``s3://``.
    :param max_concurrency: pictures that are copied at the same time.
    :param max_bytes: the largest picture that is accepted.
    :param extra_args: further arguments of each ``PutObject``, such as ``{"ServerSideEncryption": "aws:kms"}``.
    :param kwargs: defaults of the request fields for all rows, and settings, as in
        :class:`~airflow_provider_apimart.operators.base.ApimartRequestOperator`. ``max_cost`` is what a DAG run may
        spend from this ledger, all shards and generations together: before a call its price is reserved, by the
        gateway's price table or by what such rows have cost lately; the task stops before it would exceed the limit,
        collects what is in flight, and fails. ``timeout`` is what one try waits for a picture after its call was
        accepted; ``execution_timeout`` bounds the whole try.
    :raises InvalidRequestError: for rows that cannot be bought, naming each by its line. Nothing was submitted.
    :raises BudgetExceededError: ``max_cost`` allows no further row; says what was spent, and how many rows are left.
    :raises IncompleteDatasetError: more rows failed than ``max_failed`` allows; says which, and why.
    :raises TaskTimeoutError: pictures still run at the gateway; a retry collects them.
    :raises RecordUnavailableError: the ledger could not be read or written. Nothing is bought without it.
    """

    template_fields: Sequence[str] = (
        "prompts",
        "s3_bucket",
        "s3_prefix",
        *ApimartRequestOperator.template_fields,
        "shard",
        "limit",
        "plan_only",
        "on_existing",
        "on_invalid",
        "on_suspicious",
        "aws_conn_id",
        "extra_args",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **ApimartRequestOperator.template_fields_renderers,
        **dict.fromkeys(("prompts", "shard", "extra_args"), "json"),
    }
    operator_extra_links: Collection[BaseOperatorLink] = (
        ApimartPicturesLink(),
        ApimartS3FolderLink(),
        ApimartConsoleLink(),
    )
    custom_operator_name = "APIMart image dataset"
    produces: ClassVar[tuple[Asset, ...]] = (PURCHASES, IMAGES)
    results: ClassVar[str | None] = "prompts"
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "on_existing": ("reuse", "regenerate"),
        "on_invalid": ("fail", "skip"),
        "on_suspicious": ("warn", "fail", "skip"),
        **ApimartRequestOperator.choices,
    }

    def __init__(
        self,
        *,
        prompts: str | PathLike[str] | ObjectStoragePath | Iterable[str | Mapping[str, Any]],
        s3_bucket: str,
        s3_prefix: str = DEFAULT_PREFIX,
        id_column: str = "id",
        columns: Sequence[str] | str = (),
        prompt_template: str | None = None,
        shard: Sequence[int] | None = None,
        limit: int | str | None = None,
        plan_only: bool | str = False,
        max_in_flight: int = 200,
        max_failed: float | None = None,
        max_failure_rate: float | None = None,
        row_retries: int = 2,
        on_invalid: Literal["fail", "skip"] = "fail",
        on_suspicious: Literal["warn", "fail", "skip"] = "warn",
        on_existing: Literal["reuse", "regenerate"] = "reuse",
        aws_conn_id: str | None = "aws_default",
        max_concurrency: int = 16,
        max_bytes: int = 64 * MEBIBYTE,
        extra_args: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prompts = prompts
        self.s3_bucket = s3_bucket
        self.s3_prefix = s3_prefix
        self.id_column = id_column
        self.columns = (columns,) if isinstance(columns, str) else columns
        self.prompt_template = prompt_template
        self.shard = shard
        self.limit = limit
        self.plan_only = plan_only
        self.max_in_flight = max_in_flight
        self.max_failed = max_failed
        self.max_failure_rate = max_failure_rate
        self.row_retries = row_retries
        self.on_invalid = on_invalid
        self.on_suspicious = on_suspicious
        self.on_existing = on_existing
        self.aws_conn_id = aws_conn_id
        self.max_concurrency = max_concurrency
        self.max_bytes = max_bytes
        self.extra_args = extra_args
        self.s3_folder_url = ""
        self._stopping: Event | None = None  # Made when the task runs: a DAG is copied, and an event cannot be.
        self._check_when_parsed(self._check_parameters)

    def _check_parameters(self, *, is_rendered: bool = False) -> None:
        """Refuse wrong parameters: the literal ones when the DAG is parsed, all of them when the task runs."""
        self.check_settings(is_rendered=is_rendered)
        for name in ("max_in_flight", "max_concurrency", "max_bytes"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        require("row_retries", self.row_retries, self.row_retries >= 0, "0 or more")
        for name in ("max_failed", "max_failure_rate"):
            value = getattr(self, name)
            is_number = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
            require(name, value, is_number, "a number, or None; it is not templated")
        is_share = isinstance(self.max_failed, float)
        allowed = "a share from 0.0 to 1.0" if is_share else "a number of rows, 0 or more"
        in_range = self.max_failed is None or 0 <= self.max_failed <= (1 if is_share else self.max_failed)
        require("max_failed", self.max_failed, in_range, allowed)
        rate = self.max_failure_rate
        require("max_failure_rate", rate, rate is None or 0 <= rate <= 1, "a share from 0.0 to 1.0")
        is_boolean = not is_literal(self.plan_only) or str(self.plan_only).lower() in {"true", "false"}
        require("plan_only", self.plan_only, is_boolean, "True or False")
        check_extra_args(self.extra_args)
        s3_location(self.s3_bucket, f"{self.s3_prefix}/key")
        request, unknown = literal_request(self.field_values(DEFAULT_FIELDS))
        # A row may name another model, to which the rest of the defaults belongs: only the types are certain.
        check_anywhere(request, unknown={*unknown, "model", "image_urls", "mask_url"})

    def map_index_label(self, map_index: int | None) -> str:
        """Return the name of a mapped task instance: that of its file, and its shard."""
        is_address = isinstance(self.prompts, str | PathLike) or hasattr(self.prompts, "storage_options")
        file = str(self.prompts).rstrip("/").rpartition("/")[2] if is_address else ""
        is_pair = isinstance(self.shard, list | tuple) and len(self.shard) == len(("index", "count"))
        shard = "shard {} of {}".format(*self.shard) if self.shard and is_pair else ""
        return self._short_label(map_index, ", ".join(filter(None, (file, shard))))

    def execute(self, context: Context) -> dict[str, Any]:
        """Buy and copy the pictures that the ledger lacks."""
        self._raise_refusal()
        with failing_fast():
            settings = self._settings(context)
        return self._work(context, settings, plan_only=str(self.plan_only).lower() == "true")

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Continue after a deferral: copy finished pictures, and buy the next rows."""
        self.log.info("Resumed (%s): %d of %d gateway tasks have ended", event["status"], event["ended"], event["of"])
        settings = DatasetSettings.from_json(event["settings"])
        return self._work(context, settings, began_at=event["began_at"], concluded=event.get("without_picture", ()))

    def _recover(self, context: Context) -> dict[str, Any] | None:
        """Continue after the trigger failed; ``None`` where nothing is recorded, or it has failed too often."""
        settings = read_settings(context)
        if (
            settings is None
            or settings.generation != context["ti"].max_tries
            or settings.recoveries >= _MOST_RECOVERIES
        ):
            return None
        self.log.warning("The trigger failed; continuing on a worker")
        settings = replace(settings, recoveries=settings.recoveries + 1)
        with suppress(RecordUnavailableError):  # One more recovery than allowed does no harm.
            write_settings(context, settings)
        return self._work(context, settings)

    def on_kill(self) -> None:
        """Submit nothing more, and record the outcomes of what was submitted."""
        if self._stopping is not None:
            self._stopping.set()

    def rows_to_read(self, context: Context) -> Any:  # noqa: ARG002 - for a subclass
        """Return the rows as the DAG author gives them; called once in a generation."""
        return self.prompts

    def _settings(self, context: Context) -> DatasetSettings:
        """Return the parameters of this generation: the recorded ones, or else the rendered ones."""
        recorded = read_settings(context)
        try:
            self._check_parameters(is_rendered=True)
            rendered = self._rendered_settings(context)
        except InvalidRequestError as error:
            if recorded is None or recorded.generation != context["ti"].max_tries:
                raise
            self.log.warning("Using the recorded parameters of this task. Those of now are refused: %s", error)
            return recorded
        settings, differing = continued_settings(recorded, rendered)
        if differing:
            self.log.warning(
                "Changed parameters are ignored until the task is cleared: %s. Bucket and prefix, where its pictures "
                "are, stay the recorded ones even then, unless on_existing is changed to 'regenerate'.",
                ", ".join(differing),
            )
        return settings

    def _rendered_settings(self, context: Context) -> DatasetSettings:
        bucket, key = s3_location(self.s3_bucket, f"{self.s3_prefix}/key")
        limit = None if self.limit is None else read_integer(self.limit)
        require("limit", self.limit, self.limit is None or (limit is not None and limit >= 1), "at least 1, or None")
        shard = _shard(self.shard)
        # Together the shards of a run hold no more than this at the gateway.
        in_flight = self.max_in_flight if shard is None else math.ceil(self.max_in_flight / shard[1])
        start = context["dag_run"].start_date
        return DatasetSettings(
            generation=context["ti"].max_tries,
            bucket=bucket,
            prefix=key.rpartition("/")[0].strip("/"),
            apimart_conn_id=self.apimart_conn_id,
            aws_conn_id=self.aws_conn_id,
            shard=shard,
            limit=limit,
            max_in_flight=in_flight,
            max_cost=self.cost_limit(),
            max_failed=self.max_failed,
            max_failure_rate=self.max_failure_rate,
            row_retries=self.row_retries,
            on_existing=self.on_existing,
            on_unknown_submit=self.on_unknown_submit,  # type: ignore[arg-type]  # checked above
            initial_delay=self._seconds("initial_delay"),
            poll_interval=self._seconds("poll_interval"),
            timeout=self._seconds("timeout"),
            run_began_at=time.time() if start is None else start.timestamp(),
        )

    def _work(
        self,
        context: Context,
        settings: DatasetSettings,
        *,
        began_at: float | None = None,
        concluded: Iterable[str] = (),
        plan_only: bool = False,
    ) -> dict[str, Any]:
        from airflow_provider_apimart.operators.dataset_session import open_dataset  # noqa: PLC0415 - loads boto3 and urllib3

        self._stopping = self._stopping or Event()
        with (
            failing_fast(),
            open_dataset(
                self, settings, context, began_at=began_at, stopping=self._stopping, concluded=concluded
            ) as dataset,
        ):
            if plan_only:
                return dataset.plan()
            wait = dataset.work()
            if wait is None:
                report, purchase, images = dataset.finish()
                self._emit(context, PURCHASES, purchase)
                self._emit(context, IMAGES, images)
                return report
        return self._defer(wait, dataset)

    def _defer(self, wait: DatasetWait, dataset: OpenDataset) -> NoReturn:
        from airflow_provider_apimart.triggers.dataset import ApimartDatasetTrigger  # noqa: PLC0415

        now = time.time()
        # The triggerer has no other clock than its own.
        ahead = dataset.ledger.store.now() - now
        settings, deadline = dataset.settings, wait.deadline - ahead
        times = self.trigger_times()
        trigger = ApimartDatasetTrigger(
            apimart_conn_id=settings.apimart_conn_id,
            task_ids=wait.task_ids,
            linger=wait.linger,
            deadline=deadline,
            wake_at=None if math.isinf(wait.wake_at) else wait.wake_at - ahead,
            began_at=dataset.session.rules.try_began_at,
            settings=settings.to_json(),
            # The delay counts from the submit, not from the deferral.
            first_look=min(times["first_look"], max(now, wait.accepted_at - ahead + settings.initial_delay)),
            not_before=times["not_before"],
            poll_interval=settings.poll_interval,
        )
        self.defer_until(deadline, trigger)


def _shard(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    try:
        index, count = (int(number) for number in value)
    except (TypeError, ValueError):
        index, count = 0, 0
    require("shard", value, 0 <= index < count, "a pair (index, count) with 0 <= index < count")
    return index, count
