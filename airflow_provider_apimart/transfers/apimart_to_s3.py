"""The transfer: finished pictures to S3 before their URLs die."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final

from airflow_provider_apimart.assets import IMAGES, images_extra
from airflow_provider_apimart.exceptions import (
    ApimartError,
    TaskCancelledError,
    TaskFailedError,
    TaskNotFoundError,
    TransferError,
)
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE
from airflow_provider_apimart.gateway.cost import total
from airflow_provider_apimart.gateway.task import Task, task_error
from airflow_provider_apimart.gateway.validation import require
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.links import ApimartPicturesLink, ApimartS3FolderLink, s3_folder_url
from airflow_provider_apimart.operators.base import ApimartBaseOperator
from airflow_provider_apimart.retry_policy import failing_fast
from airflow_provider_apimart.transfers.keys import (
    beginning_of,
    check_distinct,
    check_extra_args,
    check_template,
    s3_location,
    stable_prefix,
    template_text,
)
from airflow_provider_apimart.transfers.source import (
    Picture,
    merge_pictures,
    pictures_of_task,
    read_source,
    sort_by_expiry,
)
from airflow_provider_apimart.transfers.stored_objects import writer_id

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from contextlib import AbstractContextManager

    from airflow.sdk import Asset, BaseOperatorLink, Context

    from airflow_provider_apimart.exceptions import Charged
    from airflow_provider_apimart.transfers.copier import Copier
    from airflow_provider_apimart.transfers.source import TransferSource
    from airflow_provider_apimart.transfers.stored_objects import OnExisting

__all__ = ["DEFAULT_KEY", "ApimartToS3Operator"]

#: Unique per DAG, run, gateway task and picture; no part of it is missing in a run without a logical date.
DEFAULT_KEY: Final = "apimart/{{ dag.dag_id }}/{{ run_id }}/{task_id}-{index}.{ext}"


#: Losses that one error message lists; the log has all.
_MOST_LISTED: Final = 20

Loss = tuple[str, ApimartError]


class ApimartToS3Operator(ApimartBaseOperator):
    """
    Copies finished pictures to S3, each with its content type, a SHA-256 and the facts of its making as metadata.

    A picture is downloaded completely and checked before it is written, so no part of one is ever seen under its key.
    The API key never goes to an image host. One picture that cannot be copied does not keep the others from it: they
    are copied first, then the task fails and names each loss; a retry copies only what is missing, at no cost.

    :param source: what ``ApimartImageOperator`` returned, gateway task ids, or any nesting of lists, tuples and sets of
        these.
    :param s3_bucket: name of the bucket.
    :param s3_key: template of each picture's key, with ``{task_id}`` (of the gateway task, not of the Airflow task),
        ``{index}`` (of the picture in its gateway task, from 0) and ``{ext}`` besides Jinja. It may come from another
        task. Default :data:`DEFAULT_KEY`.
    :param aws_conn_id: connection of type ``aws``, by default ``"aws_default"``.
    :param apimart_conn_id: connection of the gateway, to query task ids and fresh URLs; by default
        ``"apimart_default"``.
    :param on_existing: when the key holds something already: ``"skip"`` (default) leaves the same picture alone,
        ``"overwrite"`` writes it again, ``"fail"`` takes it for an error. Another object is replaced by
        ``"overwrite"`` only. What a previous try of the same task wrote is left alone in any case.
    :param max_concurrency: pictures that are copied at the same time, at least 1; default 16.
    :param max_bytes: bytes of the largest picture that is accepted; default 64 MiB. A larger one is not stored.
    :param extra_args: further arguments of each ``PutObject``, such as ``{"ServerSideEncryption": "aws:kms"}``.
    :param map_index_template: label of a mapped task instance in Airflow's pages; the beginning of its keys by default.
    :raises TransferError: naming each picture that was not copied, with task id, expiry and cost.
    :raises InvalidRequestError: for a source, a place or arguments that cannot be used; nothing was copied.
    """

    template_fields: Sequence[str] = (
        "source",
        "s3_bucket",
        "s3_key",
        "s3_prefix",
        "aws_conn_id",
        "apimart_conn_id",
        "extra_args",
    )
    template_fields_renderers = {"source": "json", "extra_args": "json"}  # noqa: RUF012 - Airflow's own declaration
    operator_extra_links: Collection[BaseOperatorLink] = (ApimartPicturesLink(), ApimartS3FolderLink())
    custom_operator_name = "APIMart to S3"
    produces: ClassVar[tuple[Asset, ...]] = (IMAGES,)
    results: ClassVar[str | None] = "source"

    def __init__(
        self,
        *,
        source: Any,
        s3_bucket: str,
        s3_key: Any = DEFAULT_KEY,
        aws_conn_id: str | None = "aws_default",
        apimart_conn_id: str = "apimart_default",
        on_existing: OnExisting = "skip",
        max_concurrency: int = 16,
        max_bytes: int = 64 * MEBIBYTE,
        extra_args: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.s3_bucket = s3_bucket
        self.s3_key = s3_key
        #: Not a parameter: the part of the key that all runs share. A template field, so that Airflow shows it.
        self.s3_prefix = ""
        self.aws_conn_id = aws_conn_id
        self.apimart_conn_id = apimart_conn_id
        self.on_existing = on_existing
        self.max_concurrency = max_concurrency
        self.max_bytes = max_bytes
        self.extra_args = extra_args
        self.s3_folder_url = ""
        self._check_when_parsed(self._check_parameters)

    def _check_parameters(self, *, is_rendered: bool = False) -> None:
        """Check the parameters when the DAG is parsed, and again as templates and other tasks have filled them in."""
        is_policy = self.on_existing in {"skip", "overwrite", "fail"}
        require("on_existing", self.on_existing, is_policy, "'skip', 'overwrite' or 'fail'")
        for name in ("max_concurrency", "max_bytes"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        check_extra_args(self.extra_args)
        key = template_text(self.s3_key)
        is_place = key is not None and isinstance(self.s3_bucket, str)
        require("s3_bucket and s3_key", (self.s3_bucket, self.s3_key), is_place or not is_rendered, "texts")
        if key is None:  # It comes from another task, and is checked when that has run.
            return
        if is_place:
            self.s3_bucket, key = s3_location(self.s3_bucket, key)
        check_template(key, is_rendered=is_rendered)
        self.s3_key = key
        if not is_rendered:
            self.s3_prefix = stable_prefix(key)

    def map_index_label(self, map_index: int | None) -> str:
        """Return the label of a mapped task instance: the beginning of its keys."""
        task_ids: Sequence[str] = ()
        # The results of a mapped task are fetched one by one, which is not worth a label.
        if isinstance(self.source, str | Mapping):
            with suppress(ApimartError):
                task_ids = read_source(self.source).all_task_ids
        beginning = beginning_of(str(self.s3_key), task_ids).rstrip("/-_.")
        return self._short_label(map_index, beginning, keep_end=True)

    def execute(self, context: Context) -> dict[str, Any]:
        """Copy every picture, those whose URLs expire first before the others."""
        self._raise_refusal()
        with failing_fast():
            return self._transfer(context)

    def _transfer(self, context: Context) -> dict[str, Any]:
        self._check_parameters(is_rendered=True)
        source = read_source(self.source)
        with ApimartHook(self.apimart_conn_id) as hook:
            tasks, unknown = self._query(hook, source)
            pictures = merge_pictures(
                [*source.pictures, *(picture for task in tasks for picture in pictures_of_task(task))]
            )
            check_distinct(self.s3_key, pictures)
            with self._copier(context, hook) as copier:
                folder = beginning_of(self.s3_key).rpartition("/")[0]
                self.s3_folder_url = s3_folder_url(copier.bucket.client, self.s3_bucket, folder)
                objects, failed = self._copy_all(copier, pictures)
        result = self._result(source, tasks, objects)
        total_count = len(pictures) + len(unknown)
        self.log.info("Copied %d of %d pictures to s3://%s", len(objects), total_count, self.s3_bucket)
        if unknown or failed:
            raise self._failure([*unknown, *failed], copied=len(objects), of=total_count)
        self._emit(context, IMAGES, self._extra(result) if objects else None)
        return result

    def _query(self, hook: ApimartHook, source: TransferSource) -> tuple[list[Task], list[Loss]]:
        """Return the tasks whose ids were given, and why the others have no pictures."""
        tasks: list[Task] = []
        losses: list[Loss] = []
        outcomes: Mapping[str, Task | ApimartError]
        try:
            outcomes = hook.get_tasks(source.task_ids) if source.task_ids else {}
        except ApimartError as trouble:
            # The pictures whose URLs are known do not need the gateway, so they are still copied.
            outcomes = dict.fromkeys(source.task_ids, trouble)
        for task_id in source.task_ids:
            outcome = outcomes.get(task_id)
            if isinstance(outcome, Task) and outcome.images:
                tasks.append(outcome)
            else:
                losses.append((f"task {task_id}", _reason_for(task_id, outcome)))
        return tasks, losses

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def _copier(self, context: Context, hook: ApimartHook) -> AbstractContextManager[Copier]:
        from airflow_provider_apimart.transfers.copier import open_copier  # noqa: PLC0415 - loads boto3 and urllib3

        return open_copier(
            hook,
            bucket=self.s3_bucket,
            aws_conn_id=self.aws_conn_id,
            key_template=self.s3_key,
            on_existing=self.on_existing,
            writer=writer_id(context["ti"]),
            at_once=self.max_concurrency,
            max_bytes=self.max_bytes,
            extra_args=self.extra_args or {},
            sleep=self._sleep,
        )

    def _copy_all(self, copier: Copier, pictures: Sequence[Picture]) -> tuple[list[dict[str, Any]], list[Loss]]:
        """Return the objects in the order of the pictures, and why the others could not be copied."""

        def copy(picture: Picture) -> dict[str, Any] | ApimartError:
            try:
                return copier.copy(picture)
            except ApimartError as error:
                return error

        with ThreadPoolExecutor(self.max_concurrency, thread_name_prefix="apimart-copy") as pool:
            futures = {picture: pool.submit(copy, picture) for picture in sort_by_expiry(pictures)}
        outcomes = [(picture, futures[picture].result()) for picture in pictures]
        objects = [outcome for _, outcome in outcomes if isinstance(outcome, dict)]
        failed = [(str(picture), outcome) for picture, outcome in outcomes if isinstance(outcome, ApimartError)]
        return objects, failed

    def _result(self, source: TransferSource, tasks: Sequence[Task], objects: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "task_ids": list(dict.fromkeys(held["task_id"] for held in objects)),
            "cost": total([*source.costs, *(task.cost for task in tasks)]),
            "credits_cost": total([*source.credits_costs, *(task.credits_cost for task in tasks)]),
            "bytes": sum(held["bytes"] for held in objects),
            "objects": objects,
        }

    def _extra(self, result: Mapping[str, Any]) -> dict[str, Any]:
        return images_extra(
            prefix=f"s3://{self.s3_bucket}/{self.s3_prefix}".rstrip("/"),
            connection=self.apimart_conn_id,
            aws_connection=self.aws_conn_id,
            count=len(result["objects"]),
            task_ids=result["task_ids"],
            models=(held["model"] for held in result["objects"] if "model" in held),
            cost=result["cost"],
            credits_cost=result["credits_cost"],
            images=result["objects"],
        )

    def _failure(self, losses: Sequence[Loss], *, copied: int, of: int) -> TransferError:
        for name, error in losses[_MOST_LISTED:]:
            self.log.error("Not copied: %s: %s", name, error)
        listed = "; ".join(f"{name}: {error}" for name, error in losses[:_MOST_LISTED])
        more = f"; and {len(losses) - _MOST_LISTED} more, see the log" if len(losses) > _MOST_LISTED else ""
        is_retryable = any(_can_be_copied_later(error) for _, error in losses)
        charged = _worst(error.charged for _, error in losses)
        return TransferError(
            f"Copied {copied} of {of} pictures. Not copied: {listed}{more}. {_MONEY[charged]} {_NEXT[is_retryable]}",
            task_id=losses[0][1].task_id,
            charged=charged,
            retryable=is_retryable,
        )


_MONEY: Final = {
    "yes": "The pictures named here were paid for.",
    "no": "Nothing was charged for these tasks, as far as the gateway says.",
    "unknown": "Whether they were charged is not known.",
}
_NEXT: Final = {
    True: "A retry, or clearing this task, copies what is missing and buys nothing.",
    False: "A retry cannot copy them.",
}


def _worst(charged: Iterable[Charged]) -> Charged:
    found = set(charged)
    return "yes" if "yes" in found else "unknown" if "unknown" in found else "no"


def _can_be_copied_later(error: ApimartError) -> bool:
    """Return whether another try may succeed. Reading is never final: only a task that delivered nothing is."""
    if isinstance(error, TaskFailedError | TaskCancelledError):
        return False
    return error.retryable or not isinstance(error, TransferError)


def _reason_for(task_id: str, outcome: Task | ApimartError | None) -> ApimartError:
    """Return why a task that was queried has no pictures."""
    if isinstance(outcome, TaskNotFoundError):
        return TransferError(
            f"the gateway does not know the task now ({outcome}). The id may be of another account, or mistyped",
            task_id=task_id,
            charged="unknown",
        )
    if isinstance(outcome, ApimartError):
        return outcome
    if outcome is None:
        return TransferError("the gateway's response does not mention it", task_id=task_id, charged="unknown")
    if not outcome.is_finished:
        reason = f"it still runs at the gateway (status {outcome.status!r}); it may be charged when it completes"
        return TransferError(reason, task_id=task_id, charged="unknown")
    return task_error(outcome) or TransferError("it holds no picture", task_id=task_id)
