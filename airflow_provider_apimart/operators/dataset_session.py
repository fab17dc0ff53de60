"""The work of one worker on a dataset: opened from the operator's parameters, and closed in good order."""

from __future__ import annotations

import math
from collections import deque
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

from airflow_provider_apimart.assets import MOST_LISTED
from airflow_provider_apimart.dataset.input import Input, delete_input, empty_input, read_dataset
from airflow_provider_apimart.dataset.ledger.entry import EntryStatus
from airflow_provider_apimart.dataset.ledger.ledger import Ledger
from airflow_provider_apimart.dataset.ledger.manifest import write_manifest
from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.dataset.references.resolver import ReferenceResolver
from airflow_provider_apimart.dataset.row import shard_of
from airflow_provider_apimart.dataset.run.buying import JUDGED_CALLS, Buyer
from airflow_provider_apimart.dataset.run.collecting import Collector
from airflow_provider_apimart.dataset.run.plan import CallStep
from airflow_provider_apimart.dataset.run.report import (
    MOST_OBJECTS,
    images_event,
    plan_report,
    plan_text,
    purchase_event,
    task_report,
)
from airflow_provider_apimart.dataset.run.session import RATED_CALLS, Session
from airflow_provider_apimart.dataset.run.settings import Rules
from airflow_provider_apimart.dataset.run.tally import Tally
from airflow_provider_apimart.exceptions import ApimartError, RecordUnavailableError
from airflow_provider_apimart.gateway.request import rendered_values
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.links import console_url, s3_folder_url
from airflow_provider_apimart.operators.base import DEFAULT_FIELDS
from airflow_provider_apimart.operators.dataset_record import keep_settings, write_settings
from airflow_provider_apimart.transfers.copier import open_copier
from airflow_provider_apimart.transfers.stored_objects import writer_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import timedelta
    from threading import Event

    from airflow.sdk import Context
    from airflow.sdk.types import Logger

    from airflow_provider_apimart.dataset.run.progress import Progress
    from airflow_provider_apimart.dataset.run.settings import DatasetSettings
    from airflow_provider_apimart.dataset.run.waves import DatasetWait

    class DatasetParameters(Protocol):
        """The attributes of the operator that a session reads."""

        s3_folder_url: str
        console_url: str
        id_column: str
        columns: Any
        prompt_template: str | None
        max_concurrency: int
        max_bytes: int
        on_invalid: Any
        on_suspicious: Any
        extra_args: Mapping[str, Any] | None
        deferrable: bool
        execution_timeout: timedelta | None

        @property
        def log(self) -> Logger: ...

        def field_values(self, names: Iterable[str]) -> dict[str, Any]: ...

        def rows_to_read(self, context: Context) -> Any: ...


__all__ = ["OpenDataset", "open_dataset"]

#: The XCom that shows the task's progress, also while it is deferred.
_PROGRESS: Final = "progress"
#: Seconds before the end of ``execution_timeout`` after which nothing is bought.
_BEFORE_ALARM: Final = 30.0


@dataclass
class OpenDataset:
    """
    A dataset as one worker works on it.

    :param error: why the rows could not be read although paid calls of this task are in flight: those are collected
        first, and then it is raised.
    """

    operator: DatasetParameters
    settings: DatasetSettings
    session: Session
    rows: Input
    context: Context
    error: Exception | None

    @property
    def ledger(self) -> Ledger:
        """The ledger of the dataset."""
        return self.session.ledger

    def plan(self) -> dict[str, Any]:
        """Log and return the plan. Nothing is bought."""
        if self.error is not None:
            raise self.error
        self.session.begin()
        plan = plan_report(self.session.tally, self.rows, self.session.buyer, ledger=self.ledger.store.address)
        self.operator.log.info("%s", plan_text(plan))
        return plan

    def work(self) -> DatasetWait | None:
        """Work while there is something to do; return what to wait for, or ``None`` at the end."""
        tally = self.session.tally
        self.session.begin()
        has_work = tally.left or any(tally.calls_with(CallStep.COLLECT, CallStep.WAIT, CallStep.RESUBMIT))
        if has_work and not self.settings.rows and self.error is None:
            # A worker of the generation before, which is late, must not replace them.
            name = f"{self.session.rules.writer}-{self.settings.generation}"
            self.rows.save(self.ledger.store, name)
            self.settings = replace(self.settings, rows=name)
            try:
                write_settings(self.context, self.settings)
            except RecordUnavailableError as error:
                # Pictures that are paid for must be collected before their URLs expire.
                if not any(tally.calls_with(CallStep.COLLECT)):
                    raise
                self.operator.log.warning("%s", error)
        elif self.settings.rows:
            keep_settings(self.context, self.settings, self.operator.log)
        wait = self.session.work()
        self.settings = replace(
            self.settings,
            recent_failures=_flags(self.session.recent_failures),
            recent_losses=_flags(self.session.buyer.recent_losses),
            refused_since=self.session.refused_since,
        )
        if wait is None and self.error is not None:
            raise self.error
        return wait

    def finish(self) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any] | None]:
        """Return the task's result, and the extra data of its two asset events."""
        rules, settings, ledger, tally = self.session.rules, self.settings, self.ledger, self.session.tally
        ledger.flush()
        keys = list(islice(tally.call_keys(), max(MOST_OBJECTS, MOST_LISTED)))
        manifest = write_manifest(tally.call_keys(), ledger, listed=keys)
        accounts = ledger.index.accounts(buyer=rules.writer, with_open=True)
        address = ledger.store.address
        report = task_report(tally, self.rows, accounts, manifest, ledger=address)
        purchase = purchase_event(
            accounts,
            manifest,
            run_id=rules.run_id,
            purchase=rules.writer,
            connection=settings.apimart_conn_id,
            gateway=str(self.session.buyer.hook.settings.gateway),
            ledger=report["ledger"],
        )
        images = images_event(
            tally.states(),
            manifest,
            prefix=f"s3://{settings.bucket}/{settings.prefix}".rstrip("/"),
            connection=settings.apimart_conn_id,
            aws_connection=settings.aws_conn_id,
        )
        if settings.rows:
            with suppress(RecordUnavailableError):
                delete_input(ledger.store, settings.rows)
        return report, purchase, images


@contextmanager
def open_dataset(
    operator: DatasetParameters,
    settings: DatasetSettings,
    context: Context,
    *,
    began_at: float | None,
    stopping: Event,
    concluded: Iterable[str] = (),
) -> Iterator[OpenDataset]:
    """
    Connect to the gateway and to S3, open the ledger, and read the dataset unless its rows are stored already.

    :param began_at: Unix seconds at which this try of the task began, by the store's clock; ``None`` for now.
    :param stopping: set when the worker is about to be killed.
    :param concluded: gateway tasks that the trigger has seen for long enough without a picture, or denied.
    """
    ti = context["ti"]
    writer = writer_id(ti)
    extra_args = operator.extra_args or {}
    with (
        ApimartHook(settings.apimart_conn_id) as hook,
        open_copier(
            hook,
            bucket=settings.bucket,
            aws_conn_id=settings.aws_conn_id,
            key_template="{task_id}-{index}.{ext}",
            on_existing="skip",
            writer=writer,
            at_once=operator.max_concurrency,
            max_bytes=operator.max_bytes,
            extra_args=extra_args,
        ) as copier,
    ):
        operator.console_url = console_url(hook.settings)
        operator.s3_folder_url = s3_folder_url(copier.bucket.client, settings.bucket, settings.prefix)
        store = LedgerStore(copier.bucket.client, settings.bucket, settings.prefix, extra_args)
        ledger = Ledger.open(store, writer=writer, try_number=ti.try_number, warn=operator.log.warning)
        with _closing_ledger(ledger, operator.log) as end:
            stored = _stored_rows(settings, ledger, operator.log)
            if stored is None:
                settings = replace(settings, rows="")
                rows, error = _rows(operator, settings, context, hook=hook, ledger=ledger)
            else:
                rows, error = stored, None
            began_at = store.now() if began_at is None else began_at
            limit = operator.execution_timeout.total_seconds() if operator.execution_timeout else math.inf
            rules = Rules.of(
                settings,
                ledger=store.address,
                gateway=hook.settings.host,
                writer=writer,
                try_number=ti.try_number,
                run_id=f"{ti.dag_id}/{ti.run_id}",
                try_began_at=began_at,
                # Airflow's own alarm counts from a moment before, and what is on the wire needs a response.
                ends_at=began_at + limit - min(_BEFORE_ALARM, limit / 10),
            )
            collector = Collector(
                hook,
                copier,
                ledger,
                rules,
                prefix=settings.prefix,
                at_once=operator.max_concurrency,
                stopping=stopping,
                log=operator.log,
            )
            collector.believe(concluded)
            with closing(rows), closing(collector):
                dataset = OpenDataset(
                    operator,
                    settings,
                    _session(
                        operator, settings, context, rows=rows, rules=rules, collector=collector, stopping=stopping
                    ),
                    rows,
                    context,
                    error,
                )
                yield dataset
                end.is_finished = not dataset.session.is_waiting


@dataclass
class _End:
    """How the work of a worker ended: whether the task goes on after it."""

    is_finished: bool = True


def _session(
    operator: DatasetParameters,
    settings: DatasetSettings,
    context: Context,
    *,
    rows: Input,
    rules: Rules,
    collector: Collector,
    stopping: Event,
) -> Session:
    shard, hook, ledger = settings.shard, collector.hook, collector.ledger
    references = ReferenceResolver(hook, ledger.store, aws_conn_id=settings.aws_conn_id)
    return Session(
        tally=Tally(
            rows, ledger, rules, is_own_shard=lambda entry: shard is None or shard_of(entry, shard[1]) == shard[0]
        ),
        ledger=ledger,
        rules=rules,
        buyer=Buyer(
            hook,
            ledger,
            rules,
            references,
            stopping,
            recent_losses=deque((lost == "1" for lost in settings.recent_losses), JUDGED_CALLS),
        ),
        collector=collector,
        may_leave=operator.deferrable,
        report=lambda progress: _show(operator, context, progress),
        warn=lambda message: operator.log.warning("%s", message),
        stopping=stopping,
        recent_failures=deque((failed == "1" for failed in settings.recent_failures), RATED_CALLS),
        refused_since=settings.refused_since,
        pause=stopping.wait,
    )


def _stored_rows(settings: DatasetSettings, ledger: Ledger, log: Logger) -> Input | None:
    """Return the rows that this generation began with; ``None`` where they are not stored yet, or any more."""
    if not settings.rows:
        return None
    try:
        return Input.load(ledger.store, settings.rows)
    except FileNotFoundError:
        log.warning("The stored rows of this task are gone; reading the dataset again.")
        return None


def _rows(
    operator: DatasetParameters,
    settings: DatasetSettings,
    context: Context,
    *,
    hook: ApimartHook,
    ledger: Ledger,
) -> tuple[Input, Exception | None]:
    """Return the dataset as it is now, or nothing and why it cannot be read, where paid calls are to be collected."""
    try:
        rows = read_dataset(
            operator.rows_to_read(context),
            defaults=rendered_values(operator.field_values(DEFAULT_FIELDS)),
            gateway=hook.settings.gateway,
            id_column=operator.id_column,
            columns=operator.columns,
            prompt_template=operator.prompt_template,
            shard=settings.shard,
            limit=settings.limit,
            aws_conn_id=settings.aws_conn_id,
            on_invalid=operator.on_invalid,
            on_suspicious=operator.on_suspicious,
        )
    except Exception as error:  # Also that of a generator, or of whatever else the DAG author gives.
        # Calls of this task, or of a task that seems to be gone, are in flight: collect them first.
        if not any(entry.status is EntryStatus.ACCEPTED for entry in ledger.index.open_entries()):
            raise
        operator.log.exception("The dataset cannot be read; collecting what is in flight first")
        return empty_input(), error
    if rows.listed:
        operator.log.warning("Skipped invalid rows, of %d in all: %s", rows.invalid, "; ".join(map(str, rows.listed)))
    for notice in rows.notices:
        operator.log.warning("%s", notice)
    if rows.left_out:
        operator.log.info("limit=%s: %d row(s) are left for a later run", settings.limit, rows.left_out)
    if not len(rows):
        operator.log.warning("No row to buy%s", f" in shard {settings.shard}" if settings.shard else "")
    return rows, None


def _show(operator: DatasetParameters, context: Context, progress: Progress) -> None:
    operator.log.info("%s", progress)
    try:
        context["ti"].xcom_push(_PROGRESS, progress.to_json())
    except Exception as error:  # noqa: BLE001 - whatever Airflow lacks, paid pictures are collected
        operator.log.warning("Could not push the XCom %s: %s", _PROGRESS, error)


def _flags(values: Iterable[bool]) -> str:
    return "".join(str(int(value)) for value in values)


@contextmanager
def _closing_ledger(ledger: Ledger, log: Logger) -> Iterator[_End]:
    """Flush the ledger, whatever ends the work."""
    end = _End()
    try:
        yield end
        ledger.flush()
    finally:
        with suppress(RecordUnavailableError):
            ledger.flush()
        for entry in ledger.unwritten:
            log.error("Could not record row %s: %s, task %s", entry.id, entry.status, ", ".join(entry.task_ids))
        try:
            ledger.close(is_finished=end.is_finished)
        except ApimartError as error:
            log.warning("The log holds every entry, but the ledger could not be tidied up: %s", error)
