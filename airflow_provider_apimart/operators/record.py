"""
The record of a purchase, and the decisions that rest on it.

A request becomes one or more *parts*, each one paid call with an ``Idempotency-Key`` of its own. A part is recorded as
``intended`` before its paid call and as ``accepted`` after it. A *generation* is a run of the task until somebody
clears it; its retries belong to it. The request is fixed once per generation, and afterwards only the record is read.

============  ====================================  ==========================================================
Phase         Meaning                               Next step
============  ====================================  ==========================================================
``open``      nothing was submitted, or it was      submit with the key of this generation, or with the key that
              refused                               the part has kept from a call whose outcome is unknown
``intended``  the call was about to be made; its    retry: fail without submitting, or with
              outcome is unknown                    ``on_unknown_submit="resubmit"`` submit the same key while it
                                                    lives; cleared: ``open``, with the old key while it lives
``accepted``  the gateway gave task ids             poll. A free failure makes it ``open`` with the next attempt.
                                                    After a clear, a picture that can no longer be had makes it
                                                    ``open``
============  ====================================  ==========================================================
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.gateway.request import REQUEST_PARAMETERS
from airflow_provider_apimart.gateway.task import ASSUMED_URL_LIFETIME, Task, TaskState, is_moderation

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from airflow_provider_apimart.gateway.request import ImageRequest

__all__ = [
    "DIGEST",
    "KEY_LIFETIME",
    "PurchasePart",
    "PurchasePhase",
    "PurchaseRecord",
    "describe_request",
    "differing_fields",
    "is_unclaimed",
    "reopen_lost_parts",
    "resume_purchase",
    "shorten_text",
]

_VERSION: Final = 2
#: Seconds for which the same idempotency key may be submitted again. The gateways keep keys for 24 hours.
KEY_LIFETIME: Final = 23 * 3600.0
#: Seconds for which a worker of the previous try may still hold a paid call.
_CALL_LIFETIME: Final = 300.0
#: Seconds that pass at most before the last attempt at a call that the gateway refuses for now.
_PAUSES: Final = 270.0
#: Characters of a text, such as a data URI, beyond which the record holds its digest instead.
_LONGEST_TEXT: Final = 4096
#: Begins the digest of a long text.
DIGEST: Final = "sha256:"


class PurchasePhase(StrEnum):
    """The progress of one part."""

    OPEN = "open"
    INTENDED = "intended"
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class PurchasePart:
    """
    One paid call of a purchase.

    :param n: number of pictures.
    :param attempt: number of free failures before; part of the idempotency key.
    :param key: the idempotency key of a call whose outcome is unknown.
    :param intended_at: Unix seconds of the first call with that key; ``None`` where it is not known.
    :param task_ids: ids of the gateway tasks.
    :param delivered: gateway tasks that came finished with the response, in the gateway's own shape.
    :param is_reused: the part was accepted before the task was cleared.
    """

    phase: PurchasePhase = PurchasePhase.OPEN
    n: int = 1
    attempt: int = 0
    key: str = ""
    intended_at: float | None = None
    task_ids: tuple[str, ...] = ()
    delivered: tuple[dict[str, Any], ...] = ()
    is_reused: bool = False

    def has_living_key(self, now: float) -> bool:
        """Return whether the key of an unanswered call can be submitted again."""
        if not self.key or self.intended_at is None:
            return False
        # A call in the future means that a clock was set: its age is not known.
        return -_CALL_LIFETIME < now - self.intended_at < KEY_LIFETIME


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseRecord:
    """
    A purchase and its progress.

    :param generation: the task instance's ``max_tries``, which a clear raises and a retry does not.
    :param fingerprint: of the request and the connection; part of the idempotency keys.
    :param parts: the paid calls, in the order of the result.
    :param request: the request fields that are set. Empty in a record of 0.1, which did not hold them.
    :param connection_id: id of the Airflow connection that bought.
    :param gateway: the vendor.
    :param submit_path: path of the paid call.
    :param uploads: URLs of uploaded reference images, by address.
    :param writer: number of the try that wrote the record last.
    :param deadline: Unix seconds at which the wait of that try times out.
    :param recoveries: number of waits in that try that ended because the trigger failed.
    :param replacement: the purchase to make when nothing of this one can be reused after a clear.
    """

    generation: int
    fingerprint: str
    parts: tuple[PurchasePart, ...]
    request: Mapping[str, Any] = field(default_factory=dict)
    connection_id: str = ""
    gateway: str = ""
    submit_path: str = ""
    uploads: Mapping[str, str] = field(default_factory=dict)
    writer: int = 0
    deadline: float | None = None
    recoveries: int = 0
    replacement: PurchaseRecord | None = None

    @classmethod
    def from_json(cls, value: Any) -> PurchaseRecord:
        """
        Read what :meth:`to_json` returned, or a record of 0.1.

        :raises ValueError: for anything else, which does not prove that nothing was bought.
        """
        try:
            if value["version"] not in {1, _VERSION}:
                raise ValueError(f"version {value['version']!r}")  # noqa: TRY301 - one message for all that is wrong
            known = {name: value[name] for name in _COMPACT if name in value}
            if "replacement" in known:
                known["replacement"] = cls.from_json(known["replacement"])
            parts = tuple(map(_part_from_json, value["parts"]))
            return cls(generation=value["generation"], fingerprint=value["fingerprint"], parts=parts, **known)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a purchase record of this release: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Return the record as compact JSON, without what has its default value."""
        described: dict[str, Any] = {
            "version": _VERSION,
            "generation": self.generation,
            "fingerprint": self.fingerprint,
            **{name: getattr(self, name) for name in _COMPACT if getattr(self, name)},
            "parts": list(map(_part_to_json, self.parts)),
        }
        if self.replacement is not None:
            described["replacement"] = self.replacement.to_json()
        return described

    @property
    def task_ids(self) -> tuple[str, ...]:
        """All accepted ids, each once, in order."""
        return tuple(dict.fromkeys(task_id for part in self.parts for task_id in part.task_ids))

    @property
    def delivered(self) -> dict[str, Task]:
        """Tasks that came finished with the response to the submit, by id."""
        tasks = (Task.from_json(task) for part in self.parts for task in part.delivered)
        return {task.task_id: task for task in tasks}

    @property
    def pending_indexes(self) -> list[int]:
        """Places of the parts that are not accepted."""
        return [index for index, part in enumerate(self.parts) if part.phase is not PurchasePhase.ACCEPTED]

    @property
    def is_reused(self) -> bool:
        """Whether the purchase holds pictures that were bought before the task was cleared."""
        return any(part.is_reused for part in self.parts)

    @property
    def n(self) -> int:
        """Number of pictures."""
        return sum(part.n for part in self.parts)

    def with_parts(self, changed: Mapping[int, PurchasePart], **changes: Any) -> PurchaseRecord:
        """Return the record with some parts, by place, and some fields replaced."""
        parts = tuple(changed.get(index, part) for index, part in enumerate(self.parts))
        return replace(self, parts=parts, **changes)


#: Fields of a record that are left out of its JSON where they have their default value.
_COMPACT: Final = (
    "request",
    "connection_id",
    "gateway",
    "submit_path",
    "uploads",
    "writer",
    "deadline",
    "recoveries",
    "replacement",
)
_PART_FIELDS: Final = ("n", "attempt", "key", "intended_at", "task_ids", "delivered", "is_reused")
_NEW_PART: Final = PurchasePart()


def _part_to_json(part: PurchasePart) -> dict[str, Any]:
    values = {name: getattr(part, name) for name in _PART_FIELDS if getattr(part, name) != getattr(_NEW_PART, name)}
    listed = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {"phase": str(part.phase), **listed}


def _part_from_json(value: Mapping[str, Any]) -> PurchasePart:
    known = {name: value[name] for name in _PART_FIELDS if name in value}
    tuples: dict[str, Any] = {n: tuple(item) if isinstance(item, list) else item for n, item in known.items()}
    return PurchasePart(phase=PurchasePhase(value["phase"]), **tuples)


def describe_request(request: ImageRequest | None, *, is_compact: bool = True) -> dict[str, Any]:
    """
    Return the fields of a request that are set, as JSON.

    :param is_compact: put a digest in place of each long text but the prompt.
    """
    values = {} if request is None else _values_of(request)
    return {name: _compacted(value) if is_compact and name != "prompt" else value for name, value in values.items()}


def differing_fields(record: PurchaseRecord, other: PurchaseRecord) -> list[str]:
    """Return the names of the request fields and of the connection's properties in which two purchases differ."""
    if not record.request:
        return [] if record.fingerprint == other.fingerprint else ["the request or the connection"]
    names = [name for name in REQUEST_PARAMETERS if record.request.get(name) != other.request.get(name)]
    about_connection = ("connection_id", "gateway", "submit_path")
    return names + [name for name in about_connection if getattr(record, name) != getattr(other, name)]


def resume_purchase(
    recorded: PurchaseRecord, rendered: PurchaseRecord | None, *, generation: int, is_reuse: bool, now: float
) -> tuple[PurchaseRecord | None, list[str]]:
    """
    Return the purchase that a try continues, and warnings about what may have been bought besides.

    :param recorded: the record that earlier tries have left.
    :param rendered: the purchase that the present rendering describes; ``None`` where it cannot be rendered.
    :param generation: of this try.
    :param is_reuse: whether a clear reuses what was bought.
    :param now: Unix seconds.
    :return: ``None`` where a new purchase is to be made, which cannot be rendered.
    """
    if not recorded.request:
        recorded = _completed(recorded, rendered)
    if recorded.generation == generation:
        return recorded, []
    accepted = [part for part in recorded.parts if part.phase is PurchasePhase.ACCEPTED]
    keys = [part.key or "not recorded" for part in recorded.parts if part.phase is PurchasePhase.INTENDED]
    is_same = rendered is not None and not differing_fields(recorded, rendered)
    if is_reuse and accepted:
        parts = tuple(_cleared(part, now) for part in recorded.parts)
        purchase: PurchaseRecord | None = replace(
            recorded,
            generation=generation,
            parts=parts,
            uploads={},
            deadline=None,
            recoveries=0,
            replacement=None if is_same else rendered,
        )
    elif is_reuse and is_same and rendered is not None and len(rendered.parts) == len(recorded.parts):
        purchase = rendered.with_parts({i: _cleared(part, now) for i, part in enumerate(recorded.parts)})
    else:
        purchase = rendered
    kept = {part.key for part in purchase.parts} if purchase else set()
    dropped = [key for key in keys if key not in kept]
    warning = (
        "Before the task was cleared, a paid request was submitted whose outcome is unknown (idempotency key "
        f"{', '.join(dropped)}). Its picture may exist and be billed: look at the vendor's console. It is bought again "
        "with a new key."
    )
    return purchase, [warning] if dropped else []


def is_unclaimed(part: PurchasePart, now: float, *, submit_timeout: float) -> bool:
    """
    Return whether no worker can still be making the call of an intended part.

    :param submit_timeout: seconds that the last attempt at the call may take.
    """
    return part.intended_at is None or now - part.intended_at >= max(_CALL_LIFETIME, _PAUSES + submit_timeout)


def reopen_lost_parts(
    record: PurchaseRecord,
    tasks: Mapping[str, Task],
    denied: Collection[str],
    *,
    retries: int | None,
    now: float,
) -> PurchaseRecord:
    """
    Return the record with those parts open whose pictures can be bought again.

    :param tasks: finished gateway tasks, by id.
    :param denied: ids that the gateway has denied for minutes.
    :param retries: how often a part may fail free of charge and be bought again; ``None`` where this try is the one
        that sees the failure, and fails.
    :param now: Unix seconds, to find URLs that have expired.
    """
    changed: dict[int, PurchasePart] = {}
    for index, part in enumerate(record.parts):
        if part.phase is not PurchasePhase.ACCEPTED:
            continue
        outcomes = [tasks.get(task_id) for task_id in part.task_ids]
        known = [task for task in outcomes if task is not None]
        if part.is_reused and all(
            task_id in denied or (task is not None and _is_lost(task, now))
            for task_id, task in zip(part.task_ids, outcomes, strict=True)
        ):
            changed[index] = PurchasePart(n=part.n)
        elif retries is not None and part.attempt < retries and len(known) == len(outcomes) and _is_free_failure(known):
            changed[index] = PurchasePart(n=part.n, attempt=part.attempt + 1)
    reviewed = record.with_parts(changed) if changed else record
    is_all_lost = not any(part.phase is not PurchasePhase.OPEN or part.key for part in reviewed.parts)
    return reviewed.replacement if changed and is_all_lost and reviewed.replacement is not None else reviewed


def _is_free_failure(tasks: Sequence[Task]) -> bool:
    """Return whether all tasks failed, free of charge, and not for their content, which would be refused again."""
    return all(task.is_free and not is_moderation(task.error_code, task.error_message) for task in tasks)


def _is_lost(task: Task, now: float) -> bool:
    """Return whether a task that was bought before a clear has no picture that can still be downloaded."""
    if task.state is not TaskState.COMPLETED:
        return True
    if not task.images:  # They may follow, for as long as their URLs would live.
        return task.completed is not None and task.completed + ASSUMED_URL_LIFETIME <= now
    return all(image.expires_at is not None and image.expires_at <= now for image in task.images)


def _cleared(part: PurchasePart, now: float) -> PurchasePart:
    """Return a part as a clear leaves it: accepted parts are reused, and a living key is submitted again."""
    if part.phase is PurchasePhase.ACCEPTED:
        return replace(part, is_reused=True, attempt=0)
    if part.has_living_key(now):
        return PurchasePart(n=part.n, key=part.key, intended_at=part.intended_at)
    return PurchasePart(n=part.n)


def _completed(recorded: PurchaseRecord, rendered: PurchaseRecord | None) -> PurchaseRecord:
    """Return a record of 0.1, which holds no request, with the present rendering as its request."""
    if rendered is None:
        return recorded
    parts: tuple[PurchasePart, ...]
    if len(recorded.parts) == len(rendered.parts):
        parts = tuple(replace(old, n=new.n) for old, new in zip(recorded.parts, rendered.parts, strict=True))
    else:
        # The request has changed since, so what is left to buy of the recorded one is not known.
        parts = tuple(part for part in recorded.parts if part.phase is not PurchasePhase.OPEN)
    if not parts:
        return replace(rendered, generation=recorded.generation)
    about_request = {name: getattr(rendered, name) for name in ("request", "connection_id", "gateway", "submit_path")}
    return replace(recorded, parts=parts, **about_request)


def _values_of(request: ImageRequest) -> dict[str, Any]:
    values = {name: getattr(request, name) for name in REQUEST_PARAMETERS}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if value is not None
    }


def shorten_text(text: str) -> str:
    """Return a text, or its digest where it is too long for a record."""
    return text if len(text) <= _LONGEST_TEXT else DIGEST + hashlib.sha256(text.encode()).hexdigest()


def _compacted(value: Any) -> Any:
    if isinstance(value, str):
        return shorten_text(value)
    if isinstance(value, list | tuple):
        return [_compacted(item) for item in value]
    if isinstance(value, dict):
        return {name: _compacted(item) for name, item in value.items()}
    return value
