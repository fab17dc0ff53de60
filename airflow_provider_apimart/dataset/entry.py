"""
One line of the ledger: how far the purchase of one row has come. Pure.

==============  =======================================================  ============================================
Status          Meaning                                                  What comes next
==============  =======================================================  ============================================
``intended``    the paid call is about to go out, or has gone out        the same key again, or ``unknown``
``refused``     the gateway took nothing, and charged nothing            another call, where that may help
``unknown``     nobody knows what became of the call                     the same key again, where that is wanted
``accepted``    the gateway gave task ids: it is paid for                asking after them, then copying
``failed``      it ended without a picture; ``charged`` says if paid     another call, where it was not charged
``copied``      the pictures are in S3                                   nothing
==============  =======================================================  ============================================
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.part import key_of

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.part import Kind
    from airflow_provider_apimart.exceptions import Charged

__all__ = ["UNSETTLED", "Entry", "Failure", "Status"]


class Status(StrEnum):
    """How far a purchase has come. Where two writers differ about the same paid call, the later member counts."""

    INTENDED = "intended"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    FAILED = "failed"
    COPIED = "copied"


#: Those after which the gateway, or a person, may still have something to say.
UNSETTLED: Final = frozenset({Status.INTENDED, Status.UNKNOWN, Status.ACCEPTED})


@dataclass(frozen=True, slots=True)
class Failure:
    """
    Why there is no picture.

    :param code: the gateway's.
    :param retryable: whether the same request may succeed later without a change.
    """

    code: str | None
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    The state of one paid call of one row. Row, part, generation and attempt stand for one purchase and its key.

    :param row: where a person finds the row in the dataset.
    :param id: what the row's picture is called.
    :param part: the call's place among those of the row, from 0.
    :param fingerprint: of what the whole row asks for.
    :param charged: whether it was paid for, as far as is known.
    :param generation: how often the row was bought anew although it had been paid for, because a person wanted it.
    :param attempt: how many purchases before this one, in the same generation, failed without being charged.
    :param refusals: how often the gateway has refused the call. It went out again with the same key, since another
        worker may have sent that key meanwhile.
    :param retries: how many of ``attempt`` belong to this run, since it was last cleared.
    :param idempotency_key: went with the call.
    :param task_ids: what the gateway accepted it as.
    :param delivered: tasks that came finished with the answer, in the gateway's shape: they cannot be asked after.
    :param n: pictures that the call asks for; likewise ``model``, ``size``, ``resolution`` and ``quality``.
    :param prompt: the beginning of it.
    :param objects: the pictures in S3: ``uri``, ``bytes``, ``sha256``, ``content_type``, ``width``, ``height``.
    :param cost: US dollars; ``None`` where it is not known, which is never 0. ``credits_cost`` likewise.
    :param reserved: US dollars held for it for as long as its cost is not known.
    :param run_id: of the DAG run that made the call.
    :param max_tries: of its task instance: Airflow raises it when a person clears the task.
    :param intended_at: Unix seconds, when the call was about to go out for the first time.
    :param updated_at: Unix seconds.
    """

    row: int
    id: str
    part: int
    status: Status
    charged: Charged
    cost: float | None = None
    credits_cost: float | None = None
    reserved: float | None = None
    prompt: str
    model: str
    size: str | None = None
    resolution: str | None = None
    quality: str | None = None
    n: int
    objects: tuple[dict[str, Any], ...] = ()
    error: Failure | None = None
    task_ids: tuple[str, ...] = ()
    delivered: tuple[dict[str, Any], ...] = ()
    generation: int
    attempt: int
    refusals: int
    retries: int
    idempotency_key: str
    fingerprint: str
    run_id: str
    max_tries: int
    intended_at: float
    updated_at: float

    def __post_init__(self) -> None:
        # As exactly as a line has it, so that an entry that was read back equals the one that was written.
        object.__setattr__(self, "intended_at", round(self.intended_at, 3))
        object.__setattr__(self, "updated_at", round(self.updated_at, 3))

    @property
    def key(self) -> bytes:
        """What the ledger knows it by."""
        return key_of(self.fingerprint, self.id, self.part)

    @property
    def kind(self) -> Kind:
        """What its price depends on."""
        return (self.model, self.size, self.resolution, self.quality, self.n)
