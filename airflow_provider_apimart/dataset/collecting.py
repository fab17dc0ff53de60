"""What has ended at the gateway: asked after, copied to S3, and written down. I/O."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.dataset.object_names import key_template
from airflow_provider_apimart.dataset.outcome import copied, ending_of, failed
from airflow_provider_apimart.exceptions import ApimartError, TaskNotFoundError
from airflow_provider_apimart.transfers.source import facts_of, pictures_of_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from threading import Event
    from typing import Any

    from airflow.sdk.types import Logger

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.outcome import Ending
    from airflow_provider_apimart.dataset.recorder import Recorder
    from airflow_provider_apimart.gateway.task import Task
    from airflow_provider_apimart.hooks.apimart import ApimartHook
    from airflow_provider_apimart.transfers.copier import Copier

    Ended = tuple[Entry, Ending]

__all__ = ["Collector"]

#: How often a gateway must say that it does not know a task, and the seconds between.
_LOOKS: Final = 5
_BETWEEN_LOOKS: Final = 1.0


@dataclass
class Collector:
    """
    Collects for one worker.

    :param prefix: of the dataset, without a slash at its end.
    :param at_once: calls whose pictures are copied at the same time.
    :param stopping: set when the worker is about to be killed: no other copy begins then.
    :param clock: Unix seconds.
    :param uncopied: why calls that have ended could not be copied; the next worker tries again.
    """

    hook: ApimartHook
    copier: Copier
    recorder: Recorder
    prefix: str
    at_once: int
    stopping: Event
    log: Logger
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    uncopied: dict[bytes, ApimartError] = field(default_factory=dict)

    def ended(self, entries: Iterable[Entry]) -> list[Ended]:
        """
        Return those accepted calls that have ended, and how.

        :raises GatewayError: when the gateway could not be asked at all.
        """
        wanted = [entry for entry in entries if entry.key not in self.uncopied]
        delivered = {task["id"] for entry in wanted for task in entry.delivered}
        asked = [task_id for entry in wanted for task_id in entry.task_ids if task_id not in delivered]
        found = self._found(asked)
        endings = [(entry, ending_of(entry, found, now=self.clock())) for entry in wanted]
        return [(entry, ending) for entry, ending in endings if ending is not None]

    def _found(self, task_ids: list[str]) -> dict[str, Task | ApimartError]:
        """Return what the gateway says of tasks; it must deny one several times, since it was paid for."""
        found: dict[str, Task | ApimartError] = {}
        asked = task_ids
        for look in range(_LOOKS):
            if not asked:
                break
            if look:
                self.sleep(_BETWEEN_LOOKS)
            found.update(self.hook.get_tasks(asked))
            asked = [task_id for task_id in asked if isinstance(found.get(task_id), TaskNotFoundError)]
        return found

    def collect(self, ended: Sequence[Ended]) -> None:
        """
        Copy what there is, what dies first before the rest, and note what became of each call.

        :raises RecordUnavailableError: when the ledger could not be written.
        """
        pool = ThreadPoolExecutor(self.at_once, thread_name_prefix="apimart-copy")
        try:
            copies = {pool.submit(self._outcome, *each): each[0] for each in sorted(ended, key=_dies_at)}
            for copy in as_completed(copies):
                outcome = copy.result()
                if isinstance(outcome, ApimartError):
                    self.uncopied[copies[copy].key] = outcome
                    self.log.warning("Row %s could not be copied yet: %s", copies[copy].id, outcome)
                elif outcome is not None:
                    self.recorder.note(outcome)
        finally:
            pool.shutdown(cancel_futures=True)
        self.recorder.flush()

    def _outcome(self, entry: Entry, ending: Ending) -> Entry | ApimartError | None:
        """Return the call's next entry, why there is none yet, or ``None`` when the worker is about to be killed."""
        if self.stopping.is_set():
            return None
        objects, losses = self._copies(entry, ending)
        for loss in losses:
            if loss.retryable:
                return loss
            self.log.warning("A picture of row %s is lost, although it was paid for: %s", entry.id, loss)
        if objects:
            return copied(entry, ending, objects, now=self.clock())
        return failed(entry, ending, next(iter(losses), None), now=self.clock())

    def _copies(self, entry: Entry, ending: Ending) -> tuple[list[dict[str, Any]], list[ApimartError]]:
        copier = replace(self.copier, key_template=key_template(self.prefix, entry.id))
        made_by = facts_of({"gateway": str(self.hook.settings.gateway), "model": entry.model, "row": entry.id})
        objects: list[dict[str, Any]] = []
        losses: list[ApimartError] = []
        for task in ending.tasks:
            for picture in pictures_of_task(task):
                try:
                    objects.append(copier.copy(replace(picture, facts=(*made_by, *picture.facts))))
                except ApimartError as error:
                    losses.append(error)
        return objects, losses


def _dies_at(ended: Ended) -> float:
    """Return when the first URL of a call dies."""
    expiries = [image.expires_at for task in ended[1].tasks for image in task.images]
    return min((expiry for expiry in expiries if expiry is not None), default=math.inf)
