"""
What is remembered of a purchase, and what a later attempt may still buy.

A request becomes one or more parts, each a gateway task with an ``Idempotency-Key`` of its own. A part is written
down as ``intended`` before the paid call and as ``accepted`` after it, so that an attempt that finds ``intended`` knows
that the call may have gone out. Pure: where the record is kept is somebody else's business.

=============  ==========================================================  ==============================
Phase          Meaning                                                     What the next attempt does
=============  ==========================================================  ==============================
``open``       nothing was sent, or it was provably refused                submits
``intended``   the call was about to go out; its outcome is not known      fails, or sends the same key
``accepted``   the gateway gave task ids                                   asks after them
=============  ==========================================================  ==============================
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow_provider_apimart.exceptions import ApimartError, SubmitOutcomeUnknownError
from airflow_provider_apimart.gateway.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OnClear", "OnUnknownSubmit", "Part", "Phase", "Record"]

OnClear = Literal["regenerate", "reuse"]
OnUnknownSubmit = Literal["fail", "resubmit"]

_VERSION: Final = 1


class Phase(StrEnum):
    """How far the purchase of one part has come."""

    OPEN = "open"
    INTENDED = "intended"
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Part:
    """
    One gateway task of a request.

    :param attempt: how often this part was bought before in vain; part of its idempotency key.
    :param task_ids: what the gateway accepted it as.
    :param delivered: tasks that came finished with the answer, in the gateway's shape: they cannot be asked after.
    """

    phase: Phase = Phase.OPEN
    attempt: int = 0
    task_ids: tuple[str, ...] = ()
    delivered: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """
    A purchase as far as it has come.

    :param generation: changes when a person clears the task, not when Airflow retries it.
    :param fingerprint: of the request and the connection.
    :param parts: in the order of the requests that they stand for.
    """

    generation: int
    fingerprint: str
    parts: tuple[Part, ...]

    @classmethod
    def new(cls, *, generation: int, fingerprint: str, parts: int) -> Record:
        """Return the record of a purchase that has not begun."""
        return cls(generation, fingerprint, (Part(),) * parts)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Record:
        """
        Read what :meth:`to_json` gave.

        :raises ValueError: for anything else. That is no proof that nothing was bought.
        """
        try:
            if value["version"] != _VERSION:
                raise ValueError(f"version {value['version']!r}")  # noqa: TRY301 - one message for all that is wrong
            parts = tuple(
                Part(Phase(part["phase"]), part["attempt"], tuple(part["task_ids"]), tuple(part["delivered"]))
                for part in value["parts"]
            )
            return cls(value["generation"], value["fingerprint"], parts)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a purchase record of this release: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON."""
        parts = [
            {
                "phase": str(part.phase),
                "attempt": part.attempt,
                "task_ids": list(part.task_ids),
                "delivered": list(part.delivered),
            }
            for part in self.parts
        ]
        return {
            "version": _VERSION,
            "generation": self.generation,
            "fingerprint": self.fingerprint,
            "parts": parts,
        }

    @property
    def task_ids(self) -> tuple[str, ...]:
        """All accepted ids, in order."""
        return tuple(task_id for part in self.parts for task_id in part.task_ids)

    @property
    def delivered(self) -> dict[str, Task]:
        """Tasks that came finished with the answer to the submit."""
        tasks = (Task.from_json(task) for part in self.parts for task in part.delivered)
        return {task.task_id: task for task in tasks}

    def continued(
        self, *, generation: int, fingerprint: str, on_clear: OnClear, on_unknown_submit: OnUnknownSubmit
    ) -> Record | None:
        """
        Return the record that the present attempt goes on with, or ``None`` to begin a new purchase.

        :raises SubmitOutcomeUnknownError: when an earlier attempt may have bought and must not be repeated.
        """
        if fingerprint != self.fingerprint:
            return None
        if generation != self.generation:
            if on_clear == "regenerate":
                return None
            # Clearing is a person's word to buy what is not known to be bought.
            return replace(self, generation=generation, parts=tuple(map(_reopened, self.parts)))
        if on_unknown_submit == "fail" and any(part.phase is Phase.INTENDED for part in self.parts):
            raise SubmitOutcomeUnknownError(
                "An earlier attempt of this task sent a paid request whose outcome is not known, so nothing is sent "
                "again. Look at the gateway's console; clear the task to buy anew, or set "
                "on_unknown_submit='resubmit' to send the same idempotency key once more."
            )
        return self

    def marked(self, index: int, phase: Phase, tasks: tuple[Task, ...] = ()) -> Record:
        """Return the record with one part brought to a phase."""
        delivered = tuple(task.to_json() for task in tasks if task.is_finished)
        ids = tuple(task.task_id for task in tasks)
        part = replace(self.parts[index], phase=phase, task_ids=ids, delivered=delivered)
        return replace(self, parts=(*self.parts[:index], part, *self.parts[index + 1 :]))

    def reviewed(self, found: Mapping[str, Task | ApimartError]) -> Record:
        """
        Return the record with those parts opened again that failed at the gateway and were provably not charged.

        :param found: what the gateway says of the accepted ids.
        """
        return replace(self, parts=tuple(_reviewed(part, found) for part in self.parts))


def _reopened(part: Part) -> Part:
    return part if part.phase is Phase.ACCEPTED else replace(part, phase=Phase.OPEN)


def _reviewed(part: Part, found: Mapping[str, Task | ApimartError]) -> Part:
    tasks = [found.get(task_id) for task_id in part.task_ids]
    if part.phase is Phase.ACCEPTED and tasks and all(isinstance(task, Task) and task.is_free for task in tasks):
        return Part(attempt=part.attempt + 1)
    return part
