"""The dataset operator: a picture for each row, bought once, in one task."""

from __future__ import annotations

import math
import time
from os import PathLike
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from airflow_provider_apimart.assets import IMAGES, PURCHASES
from airflow_provider_apimart.exceptions import ApimartError
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE
from airflow_provider_apimart.gateway.request import literal_request
from airflow_provider_apimart.gateway.validation import check_anywhere, require
from airflow_provider_apimart.links import ApimartConsoleLink, ApimartPicturesLink, ApimartS3FolderLink
from airflow_provider_apimart.operators.base import DEFAULT_FIELDS, ApimartRequestOperator
from airflow_provider_apimart.retry_policy import failing_fast

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import NoReturn

    from airflow.sdk import Asset, BaseOperatorLink, Context, ObjectStoragePath

    from airflow_provider_apimart.dataset.session import Session, Wait

__all__ = ["DEFAULT_PREFIX", "ApimartImageDatasetOperator"]

#: The same for all runs, so that each buys only what the earlier ones have not.
DEFAULT_PREFIX: Final = "apimart/{{ dag.dag_id }}/{{ task.task_id }}"


class ApimartImageDatasetOperator(ApimartRequestOperator):
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
    :param id_column: names each row's picture. A row without an id is named after what it asks for.
    :param shard: ``(index, count)``: this task's share of the rows, ``index`` from 0. For
        ``.partial(...).expand(shard=[(0, 4), (1, 4), (2, 4), (3, 4)])``.
    :param max_in_flight: paid calls of this task that run at the gateway at once.
    :param max_failed: how many rows (an ``int``), or which share of them (a ``float``), may end without a picture.
        Beyond that nothing more is bought and the task fails. Unless given, every row is tried, and then one failed
        row fails the task.
    :param row_retries: how often a row is bought again that failed and was not charged.
    :param on_invalid: ``"fail"`` on rows that cannot be bought, before anything is paid, naming each; ``"skip"`` them.
    :param on_existing: ``"reuse"`` what earlier runs have bought, or ``"regenerate"`` it, once in this run.
    :param aws_conn_id: connection of type ``aws``, for the bucket, and for datasets and references on ``s3://``.
    :param max_concurrency: pictures that are copied at the same time.
    :param max_bytes: the largest picture that is accepted.
    :param extra_args: further arguments of each ``PutObject``, such as ``{"ServerSideEncryption": "aws:kms"}``.
    :param kwargs: defaults of the request fields for all rows, and settings, as in
        :class:`~airflow_provider_apimart.operators.base.ApimartRequestOperator`. ``max_cost`` is what a DAG run may
        spend from this ledger, all shards together: before a call its price is reserved, by the gateway's price table
        or the most that such a row has cost; the task stops before it would exceed the sum, collects what is running,
        and fails; raise it and clear the task to go on. ``timeout`` is what one try waits for a picture after its call
        was accepted; ``execution_timeout`` bounds the whole try.
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
        "on_existing",
        "on_invalid",
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
        **ApimartRequestOperator.choices,
    }

    def __init__(
        self,
        *,
        prompts: str | PathLike[str] | ObjectStoragePath | Iterable[str | Mapping[str, Any]],
        s3_bucket: str,
        s3_prefix: str = DEFAULT_PREFIX,
        id_column: str = "id",
        shard: Sequence[int] | None = None,
        max_in_flight: int = 200,
        max_failed: float | None = None,
        row_retries: int = 2,
        on_invalid: Literal["fail", "skip"] = "fail",
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
        self.shard = shard
        self.max_in_flight = max_in_flight
        self.max_failed = max_failed
        self.row_retries = row_retries
        self.on_invalid = on_invalid
        self.on_existing = on_existing
        self.aws_conn_id = aws_conn_id
        self.max_concurrency = max_concurrency
        self.max_bytes = max_bytes
        self.extra_args = extra_args
        self.s3_folder_url = ""
        self._stopping: Event | None = None  # Made when the task runs: a DAG is copied, and an event cannot be.
        self._check_when_parsed(self._check_parameters)

    def _check_parameters(self) -> None:
        """Refuse parameters that are wrong for any dataset, as far as they are known when the DAG is parsed."""
        self.check_settings(is_rendered=False)
        for name in ("max_in_flight", "max_concurrency", "max_bytes"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        require("row_retries", self.row_retries, self.row_retries >= 0, "0 or more")
        is_share = isinstance(self.max_failed, float)
        allowed = "a share from 0.0 to 1.0" if is_share else "a number of rows, 0 or more"
        in_range = self.max_failed is None or 0 <= self.max_failed <= (1 if is_share else self.max_failed)
        require("max_failed", self.max_failed, in_range, allowed)
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
        """Buy and copy what the ledger lacks."""
        self._raise_refusal()
        return self._work(context, began_at=time.time())

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Continue after a deferral: copy what has ended, and buy the next rows."""
        self.log.info("Woken (%s): %d of %d paid calls have ended", event["status"], event["ended"], event["of"])
        return self._work(context, began_at=event["began_at"])

    def _recover(self, context: Context) -> dict[str, Any] | None:
        """Copy what has ended after the trigger failed; ``None`` while something is left to do."""
        try:
            with self._session(context, began_at=time.time()) as session:
                if session.collect():
                    return self._finish(context, session)
        except ApimartError as error:
            self.log.warning("The trigger ended without a result, and finished pictures were not copied: %s", error)
        return None

    def on_kill(self) -> None:
        """Submit nothing more, and record what was submitted."""
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
            # A new session on the worker too: it sees what others have written, and starts without old errors.
            time.sleep(self._seconds("poll_interval") if wait.task_ids else max(0.0, wait.wake_at - time.time()))

    def _finish(self, context: Context, session: Session) -> dict[str, Any]:
        from airflow_provider_apimart.operators.dataset_session import events_of  # noqa: PLC0415 - loads boto3 and urllib3

        result = session.result()
        purchase, images = events_of(self, session, result)
        self._emit(context, PURCHASES, purchase)
        self._emit(context, IMAGES, images)
        return result.report

    def _session(self, context: Context, *, began_at: float) -> AbstractContextManager[Session]:
        from airflow_provider_apimart.operators.dataset_session import open_session  # noqa: PLC0415 - loads boto3 and urllib3

        self.check_settings(is_rendered=True)
        self._stopping = self._stopping or Event()
        return open_session(self, context, began_at=began_at, stopping=self._stopping)

    def _defer(self, wait: Wait, *, began_at: float) -> NoReturn:
        from airflow_provider_apimart.triggers.dataset import ApimartDatasetTrigger  # noqa: PLC0415

        trigger = ApimartDatasetTrigger(
            apimart_conn_id=self.apimart_conn_id,
            task_ids=wait.task_ids,
            enough=wait.enough,
            deadline=wait.deadline,
            wake_at=None if math.isinf(wait.wake_at) else wait.wake_at,
            began_at=began_at,
            **self.trigger_times(),
        )
        self.defer_until(wait.deadline, trigger)
