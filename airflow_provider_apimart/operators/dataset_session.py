"""The session of a dataset: built from the operator's parameters, and closed in good order."""

from __future__ import annotations

import math
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from airflow_provider_apimart.dataset.buying import Buyer
from airflow_provider_apimart.dataset.collecting import Collector
from airflow_provider_apimart.dataset.compaction import compact
from airflow_provider_apimart.dataset.event import images_of, purchase_of
from airflow_provider_apimart.dataset.intake import read_dataset
from airflow_provider_apimart.dataset.journal import Journal
from airflow_provider_apimart.dataset.ledger import Ledger
from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects
from airflow_provider_apimart.dataset.plan import Rules
from airflow_provider_apimart.dataset.queue import Queue
from airflow_provider_apimart.dataset.recorder import Recorder
from airflow_provider_apimart.dataset.references.resolver import ReferenceResolver
from airflow_provider_apimart.dataset.row import shard_of
from airflow_provider_apimart.dataset.session import Session
from airflow_provider_apimart.exceptions import RecordUnavailableError
from airflow_provider_apimart.gateway.request import rendered_values
from airflow_provider_apimart.gateway.validation import duration, require
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.links import console_url, s3_folder_url
from airflow_provider_apimart.operators.base import DEFAULT_FIELDS
from airflow_provider_apimart.transfers.copier import open_copier
from airflow_provider_apimart.transfers.stored_objects import writer_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import timedelta
    from threading import Event

    from airflow.sdk import Context
    from airflow.sdk.types import Logger

    from airflow_provider_apimart.dataset.intake import Intake, Shard
    from airflow_provider_apimart.dataset.progress import Progress
    from airflow_provider_apimart.dataset.session import Result

    class DatasetParameters(Protocol):
        """The operator, as far as a session needs it."""

        prompts: Any
        s3_bucket: str
        s3_prefix: str
        s3_folder_url: str
        console_url: str
        aws_conn_id: str | None
        apimart_conn_id: str
        id_column: str
        shard: Any
        max_in_flight: int
        max_concurrency: int
        max_bytes: int
        max_failed: float | None
        row_retries: int
        on_invalid: Any
        on_existing: Any
        on_unknown_submit: Any
        extra_args: Mapping[str, Any] | None
        timeout: Any
        execution_timeout: timedelta | None

        @property
        def log(self) -> Logger: ...

        def cost_limit(self) -> float | None: ...

        def field_values(self, names: Iterable[str]) -> dict[str, Any]: ...


__all__ = ["events_of", "open_session"]

#: The XCom that shows the task's progress, also while it is deferred.
_PROGRESS: Final = "progress"
#: The number of objects from which on a journal is slow to read.
_MANY_SEGMENTS: Final = 64
#: The key under which the task state store holds when the run first began.
_BEGAN_AT: Final = "apimart_dataset_began_at"


@contextmanager
def open_session(
    operator: DatasetParameters, context: Context, *, began_at: float, stopping: Event
) -> Iterator[Session]:
    """
    Connect to the gateway and to S3, read the dataset and its ledger, and flush the ledger at the end.

    :param began_at: Unix seconds at which this try of the task began.
    :param stopping: set when the worker is about to be killed.
    """
    prefix = operator.s3_prefix.strip("/")
    shard = _shard(operator.shard)
    writer = writer_id(context["ti"])
    with (
        ApimartHook(operator.apimart_conn_id) as hook,
        closing(_read(operator, hook, shard)) as intake,
        open_copier(
            hook,
            bucket=operator.s3_bucket,
            aws_conn_id=operator.aws_conn_id,
            key_template="{task_id}-{index}.{ext}",
            on_existing="skip",
            writer=writer,
            at_once=operator.max_concurrency,
            max_bytes=operator.max_bytes,
            extra_args=operator.extra_args or {},
        ) as copier,
    ):
        operator.console_url = console_url(hook.settings)
        operator.s3_folder_url = s3_folder_url(copier.bucket.client, operator.s3_bucket, prefix)
        objects = LedgerObjects(copier.bucket.client, operator.s3_bucket, prefix, operator.extra_args or {})
        recorder = Recorder(Journal(objects), Ledger())
        recorder.ledger.add(recorder.journal.read())
        rules = _rules(operator, context, ledger=objects.address)
        references = ReferenceResolver(
            hook,
            LedgerStore(objects.client, objects.bucket, prefix, objects.extra_args),
            aws_conn_id=operator.aws_conn_id,
        )
        queue = Queue(recorder.journal, writer)
        queue.remove_earlier()
        limit = operator.execution_timeout.total_seconds() if operator.execution_timeout else math.inf
        session = Session(
            intake=intake,
            recorder=recorder,
            rules=rules,
            buyer=Buyer(hook, recorder, queue, rules, references, stopping),
            collector=Collector(hook, copier, recorder, prefix, operator.max_concurrency, stopping, operator.log),
            writer=writer,
            belongs=lambda entry: shard is None or shard_of(entry, shard[1]) == shard[0],
            began_at=began_at,
            timeout=duration("timeout", operator.timeout),
            ends_at=began_at + limit,
            report=lambda progress: _show(operator, context, progress),
            warn=operator.log.warning,
            stopping=stopping,
        )
        with _kept(session, operator.log):
            yield session


def events_of(
    operator: DatasetParameters, session: Session, result: Result
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return the extra data of two asset events: what this DAG run has bought, and the pictures that are in S3 now."""
    purchase = purchase_of(
        result.own,
        result.manifest,
        run_id=session.rules.run_id,
        purchase=session.writer,
        connection=operator.apimart_conn_id,
        gateway=str(session.buyer.hook.settings.gateway),
        ledger=result.report["ledger"],
    )
    images = images_of(
        result.stored,
        result.manifest,
        prefix=f"s3://{operator.s3_bucket}/{operator.s3_prefix.strip('/')}".rstrip("/"),
        connection=operator.apimart_conn_id,
        aws_connection=operator.aws_conn_id,
    )
    return purchase, images


def _read(operator: DatasetParameters, hook: ApimartHook, shard: Shard | None) -> Intake:
    """Return the dataset, and log what is odd about it."""
    intake = read_dataset(
        operator.prompts,
        defaults=rendered_values(operator.field_values(DEFAULT_FIELDS)),
        gateway=hook.settings.gateway,
        id_column=operator.id_column,
        shard=shard,
        aws_conn_id=operator.aws_conn_id,
        skip_invalid=operator.on_invalid == "skip",
    )
    if intake.invalid:
        operator.log.warning("Skipped: %s", intake)
    for notice, rows in intake.notices.items():
        operator.log.warning("Note on %d row(s): %s", rows, notice)
    if not len(intake.spool):
        operator.log.warning("No row to buy%s", "" if shard is None else f" in shard {shard[0]} of {shard[1]}")
    return intake


def _rules(operator: DatasetParameters, context: Context, *, ledger: str) -> Rules:
    ti = context["ti"]
    return Rules(
        ledger=ledger,
        run_id=f"{ti.dag_id}/{ti.run_id}",
        began_at=_run_began_at(operator, context),
        max_tries=ti.max_tries,
        on_existing=operator.on_existing,
        on_unknown_submit=operator.on_unknown_submit,
        row_retries=operator.row_retries,
        max_in_flight=operator.max_in_flight,
        max_cost=operator.cost_limit(),
        max_failed=operator.max_failed,
    )


def _run_began_at(operator: DatasetParameters, context: Context) -> float:
    """
    Return the Unix seconds at which the DAG run began; its first start, where that is known.

    A clear moves the start of a run, and what another run has regenerated before it must not be regenerated again.
    """
    start = context["dag_run"].start_date
    began_at = time.time() if start is None else start.timestamp()
    store = context.get("task_state_store")
    if store is None or operator.on_existing != "regenerate":
        return began_at
    from airflow.sdk.execution_time.context import NEVER_EXPIRE  # noqa: PLC0415 - from Airflow 3.3 on

    noted = store.get(_BEGAN_AT)
    if noted is None:
        store.set(_BEGAN_AT, began_at, retention=NEVER_EXPIRE)
        return began_at
    return float(str(noted))


def _shard(value: Any) -> Shard | None:
    if value is None:
        return None
    allowed = "a pair (index, count) with 0 <= index < count"
    try:
        index, count = (int(number) for number in value)
    except (TypeError, ValueError):
        index, count = 0, 0
    require("shard", value, 0 <= index < count, allowed)
    return index, count


def _show(operator: DatasetParameters, context: Context, progress: Progress) -> None:
    operator.log.info("%s", progress)
    try:
        context["ti"].xcom_push(_PROGRESS, progress.to_json())
    except Exception as error:  # noqa: BLE001 - whatever Airflow lacks, paid pictures go on
        operator.log.warning("Could not push the XCom %s: %s", _PROGRESS, error)


@contextmanager
def _kept(session: Session, log: Logger) -> Iterator[None]:
    """Flush the ledger and merge its journal, whatever ends the session."""
    recorder = session.recorder
    try:
        yield
        recorder.flush()
    finally:
        with suppress(RecordUnavailableError):
            recorder.flush()
        for entry in recorder.unwritten:
            log.error("Could not write to the ledger: row %s is %s, task %s", entry.id, entry.status, entry.task_ids)
        try:
            compact(recorder.journal.objects, at_least=_MANY_SEGMENTS if session.waits else 1)
        except RecordUnavailableError as error:
            log.warning("The journal holds everything, but ledger.jsonl could not be brought up to date: %s", error)
