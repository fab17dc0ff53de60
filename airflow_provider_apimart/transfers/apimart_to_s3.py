"""The transfer: finished pictures to S3 before their URLs die."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

from airflow_provider_apimart.assets import IMAGES, images_extra
from airflow_provider_apimart.exceptions import ApimartError, GatewayError, TransferError
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE
from airflow_provider_apimart.gateway.cost import total
from airflow_provider_apimart.gateway.task import Task, task_error
from airflow_provider_apimart.gateway.validation import require
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.links import ApimartPicturesLink, ApimartS3FolderLink, s3_folder_url
from airflow_provider_apimart.operators.base import ApimartBaseOperator
from airflow_provider_apimart.retry_policy import failing_fast
from airflow_provider_apimart.transfers._keys import beginning_of, check_distinct, check_template
from airflow_provider_apimart.transfers._prefix import stable_prefix
from airflow_provider_apimart.transfers._source import read_source
from airflow_provider_apimart.transfers.picture import Picture, distinct, dying_first, pictures_of_task
from airflow_provider_apimart.transfers.writer import writer_id

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from contextlib import AbstractContextManager

    from airflow.sdk import Asset, BaseOperatorLink, Context

    from airflow_provider_apimart.transfers._keys import OnExisting
    from airflow_provider_apimart.transfers._source import Source
    from airflow_provider_apimart.transfers.copier import Copier

__all__ = ["DEFAULT_KEY", "ApimartToS3Operator"]

#: Told apart by DAG, run and gateway task; nothing in it is missing in a run without a logical date.
DEFAULT_KEY: Final = "apimart/{{ dag.dag_id }}/{{ run_id }}/{task_id}-{index}.{ext}"


class ApimartToS3Operator(ApimartBaseOperator):
    """
    Copies finished pictures to S3, each with its content type, a SHA-256 and the facts of its making as metadata.

    A picture is downloaded completely and checked before it is written, so no part of one is ever seen under its key.
    The API key never goes to an image host. One picture that cannot be copied does not keep the others from it: they
    are copied first, then the task fails and names each loss; a retry copies only what is missing.

    :param source: what ``ApimartImageOperator`` returned, a list of such as a mapped task gives it, or gateway task
        ids.
    :param s3_bucket: name of the bucket.
    :param s3_key: template of each picture's key, with ``{task_id}``, ``{index}`` and ``{ext}`` besides Jinja.
    :param aws_conn_id: connection of type ``aws``.
    :param apimart_conn_id: connection of the gateway, to ask after task ids and for fresh URLs.
    :param on_existing: when the key holds something already: ``"skip"`` leaves the same picture alone, ``"overwrite"``
        writes it anew, ``"fail"`` takes it for an error. Another object is replaced by ``"overwrite"`` only. What an
        earlier try of the same task wrote is left alone in any case.
    :param max_concurrency: pictures that are copied at the same time.
    :param max_bytes: the largest picture that is accepted.
    :param extra_args: further arguments of each ``PutObject``, such as ``{"ServerSideEncryption": "aws:kms"}``.
    :param map_index_template: what a mapped task instance is called in Airflow's pages; the beginning of its keys.
    :raises TransferError: naming each picture that was not copied, with task id, expiry and cost.
    :raises InvalidRequestError: for a source or a key template that cannot be used; nothing was copied.
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
        s3_key: str = DEFAULT_KEY,
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
        self.s3_prefix = stable_prefix(s3_key)
        self.aws_conn_id = aws_conn_id
        self.apimart_conn_id = apimart_conn_id
        self.on_existing = on_existing
        self.max_concurrency = max_concurrency
        self.max_bytes = max_bytes
        self.extra_args = extra_args
        self.s3_folder_url = ""
        self._check_when_parsed(self._check_parameters)

    def _check_parameters(self) -> None:
        is_policy = self.on_existing in {"skip", "overwrite", "fail"}
        require("on_existing", self.on_existing, is_policy, "'skip', 'overwrite' or 'fail'")
        for name in ("max_concurrency", "max_bytes"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        check_template(self.s3_key)

    def map_index_label(self, map_index: int | None) -> str:
        """Return what stands for the number of a mapped task instance: how its keys begin."""
        task_ids: Sequence[str] = ()
        # The results of a mapped task are fetched one by one, which is not worth a label.
        if isinstance(self.source, str | Mapping):
            with suppress(ApimartError):
                task_ids = read_source(self.source).all_task_ids
        beginning = beginning_of(self.s3_key, task_ids).rstrip("/-_.")
        return self._short_label(map_index, beginning, keep_end=True)

    def execute(self, context: Context) -> dict[str, Any]:
        """Copy every picture, those that die first before the others."""
        self._raise_refusal()
        with failing_fast():
            return self._transfer(context)

    def _transfer(self, context: Context) -> dict[str, Any]:
        check_template(self.s3_key)
        source = read_source(self.source)
        with ApimartHook(self.apimart_conn_id) as hook:
            tasks, lost = self._ask_after(hook, source)
            pictures = distinct([*source.pictures, *(picture for task in tasks for picture in pictures_of_task(task))])
            check_distinct(self.s3_key, pictures)
            with self._copier(context, hook) as copier:
                folder = beginning_of(self.s3_key).rpartition("/")[0]
                self.s3_folder_url = s3_folder_url(copier.bucket.client, self.s3_bucket, folder)
                objects, failed = self._copy_all(copier, pictures)
        result = self._result(source, tasks, objects)
        self.log.info("%d of %d picture(s) are in s3://%s", len(objects), len(pictures), self.s3_bucket)
        if lost or failed:
            self._fail(lost, failed, copied=len(objects))
        self._emit_images(context, self._extra(result) if objects else None)
        return result

    def _ask_after(self, hook: ApimartHook, source: Source) -> tuple[list[Task], list[tuple[str, ApimartError]]]:
        """Return the tasks whose ids were given, and why others have no pictures."""
        tasks: list[Task] = []
        lost: list[tuple[str, ApimartError]] = []
        found: dict[str, Task | GatewayError]
        try:
            found = hook.get_tasks(source.task_ids) if source.task_ids else {}
        except GatewayError as trouble:
            # The pictures whose URLs are known need no gateway: they are copied all the same.
            found = dict.fromkeys(source.task_ids, trouble)
        for task_id, outcome in found.items():
            error: ApimartError | None = task_error(outcome) if isinstance(outcome, Task) else outcome
            if error is None and isinstance(outcome, Task) and not outcome.is_finished:
                error = TransferError(f"task {task_id} still runs at the gateway ({outcome.status})", task_id=task_id)
            if error is not None:
                lost.append((f"task {task_id}", error))
            elif isinstance(outcome, Task):
                tasks.append(outcome)
        return tasks, lost

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
        )

    def _copy_all(
        self, copier: Copier, pictures: Sequence[Picture]
    ) -> tuple[list[dict[str, Any]], list[tuple[str, ApimartError]]]:
        """Return the objects in the order of the pictures, and what kept the others from being one."""

        def copy(picture: Picture) -> dict[str, Any] | ApimartError:
            try:
                return copier.copy(picture)
            except ApimartError as error:
                return error

        with ThreadPoolExecutor(self.max_concurrency, thread_name_prefix="apimart-copy") as pool:
            futures = {picture: pool.submit(copy, picture) for picture in dying_first(pictures)}
        outcomes = [(picture, futures[picture].result()) for picture in pictures]
        objects = [outcome for _, outcome in outcomes if isinstance(outcome, dict)]
        failed = [(_named(picture), outcome) for picture, outcome in outcomes if isinstance(outcome, ApimartError)]
        return objects, failed

    def _result(self, source: Source, tasks: Sequence[Task], objects: list[dict[str, Any]]) -> dict[str, Any]:
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

    def _fail(
        self, tasks: Sequence[tuple[str, ApimartError]], pictures: Sequence[tuple[str, ApimartError]], *, copied: int
    ) -> None:
        losses = [*tasks, *pictures]
        listed = "; ".join(f"{name}: {error}" for name, error in losses)
        first = losses[0][1]
        raise TransferError(
            f"{len(losses)} could not be copied, {copied} could. {listed}. Each picture named here was paid for. "
            "A retry copies only what is missing; a picture that expired can only be bought again.",
            task_id=first.task_id,
            charged="yes" if pictures else first.charged,
            retryable=any(error.retryable for _, error in losses),
        )


def _named(picture: Picture) -> str:
    expiry = "unknown" if picture.expires_at is None else datetime.fromtimestamp(picture.expires_at, UTC).isoformat()
    cost = "unknown" if picture.cost is None else f"{picture.cost} USD"
    return f"picture {picture.index} of task {picture.task_id} (URL expires: {expiry}, cost of the task: {cost})"
