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
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.request import KEY_LIFETIME, REQUEST_PARAMETERS, ImageRequest
from airflow_provider_apimart.gateway.task import ASSUMED_URL_LIFETIME, Task, TaskState, is_moderation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

__all__ = [
    "PurchasePart",
    "PurchasePhase",
    "PurchaseRecord",
    "describe_request",
    "differing_fields",
    "reopen_lost_parts",
    "resume_purchase",
]

_VERSION: Final = 2
#: Seconds for which a worker of the previous try may still hold a paid call.
_CALL_LIFETIME: Final = 300.0
#: Characters of a text, such as a data URI, beyond which the record holds its digest instead.
_LONGEST_TEXT: Final = 4096
#: Begins the digest of a long text.
_DIGEST: Final = "sha256:"
#: Properties of the connection that a purchase depends on.
_CONNECTION_FIELDS: Final = ("connection_id", "gateway", "submit_path")


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
    :param is_unanswered: the try that made the call has given up waiting for its response.
    """

    phase: PurchasePhase = PurchasePhase.OPEN
    n: int = 1
    attempt: int = 0
    key: str = ""
    intended_at: float | None = None
    task_ids: tuple[str, ...] = ()
    delivered: tuple[dict[str, Any], ...] = ()
    is_reused: bool = False
    is_unanswered: bool = False

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PurchasePart:
        """Read what :meth:`to_json` returned."""
        known = {f.name: value[f.name] for f in fields(cls) if f.name in value}
        tuples: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in known.items()}
        return cls(**{**tuples, "phase": PurchasePhase(value["phase"])})

    def to_json(self) -> dict[str, Any]:
        """Return the part as JSON, without the fields that have their default value."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {**listed, "phase": str(self.phase)}

    def has_living_key(self, now: float) -> bool:
        """Return whether the key of an unanswered call can be submitted again."""
        if not self.key or self.intended_at is None:
            return False
        # A call in the future means that a clock was set: its age is not known.
        return -_CALL_LIFETIME < now - self.intended_at < KEY_LIFETIME

    def is_unclaimed(self, now: float, *, submit_lifetime: float) -> bool:
        """
        Return whether no worker can still be making the call of an intended part.

        :param submit_lifetime: seconds that a submit takes at most, with all its attempts.
        """
        lifetime = max(_CALL_LIFETIME, submit_lifetime)
        return self.is_unanswered or self.intended_at is None or now - self.intended_at >= lifetime

    def reopened(self, *, attempt: int = 0) -> PurchasePart:
        """Return the part as it is to be bought again, with a new key."""
        return PurchasePart(n=self.n, attempt=attempt)


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
            known = {f.name: value[f.name] for f in fields(cls) if f.name in value}
            if "replacement" in known:
                known["replacement"] = cls.from_json(known["replacement"])
            return cls(**{**known, "parts": tuple(map(PurchasePart.from_json, value["parts"]))})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a purchase record of this release: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON, without the fields that are empty."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name)}
        if self.replacement is not None:
            values["replacement"] = self.replacement.to_json()
        return {
            **values,
            "version": _VERSION,
            "generation": self.generation,
            "fingerprint": self.fingerprint,
            "parts": [part.to_json() for part in self.parts],
        }

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

    def part_requests(self, rendered: ImageRequest | None) -> list[ImageRequest]:
        """
        Return the request of each part.

        :param rendered: the present rendering, which completes a record of 0.1, and long texts that were not recorded.
        :raises InvalidRequestError: when the record lacks something that the present rendering does not have.
        """
        if not self.request and rendered is None:
            raise InvalidRequestError("The request was not recorded and cannot be rendered. Nothing was submitted.")
        present = {} if rendered is None else rendered.to_json()
        texts: dict[str, str] = {}
        _map_texts(lambda text: texts.setdefault(_shortened(text), text), present)

        def restored(text: str) -> str:
            if text.startswith(_DIGEST) and text not in texts:
                raise InvalidRequestError(
                    "A long text of the request, such as a data URI, has changed since the first try, which recorded "
                    "only its digest. Nothing was submitted. Clear the task to buy with the present request."
                )
            return texts.get(text, text)

        request = ImageRequest.from_json(_map_texts(restored, self.request or present))
        return [replace(request, n=part.n) for part in self.parts]

    def with_parts(self, changed: Mapping[int, PurchasePart], **changes: Any) -> PurchaseRecord:
        """Return the record with some parts, by place, and some fields replaced."""
        parts = tuple(changed.get(index, part) for index, part in enumerate(self.parts))
        return replace(self, parts=parts, **changes)


def describe_request(request: ImageRequest) -> dict[str, Any]:
    """Return the fields of a request that are set, as JSON, with a digest in place of each long text but the prompt."""
    return {**_map_texts(_shortened, request.to_json()), "prompt": request.prompt}


def differing_fields(record: PurchaseRecord, other: PurchaseRecord) -> list[str]:
    """Return the names of the request fields and of the connection's properties in which two purchases differ."""
    if not record.request:
        return [] if record.fingerprint == other.fingerprint else ["the request or the connection"]
    names = [name for name in REQUEST_PARAMETERS if record.request.get(name) != other.request.get(name)]
    return names + [name for name in _CONNECTION_FIELDS if getattr(record, name) != getattr(other, name)]


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
    :param retries: how often a part that failed free of charge may be bought again. ``None`` reopens none of them: the
        try that sees the failure fails, and its retry buys.
    :param now: Unix seconds, to find URLs that have expired.
    """
    changed: dict[int, PurchasePart] = {}
    for index, part in enumerate(record.parts):
        outcomes = {task_id: tasks.get(task_id) for task_id in part.task_ids}
        if part.phase is not PurchasePhase.ACCEPTED:
            continue
        if part.is_reused and all(i in denied or (task and _is_lost(task, now)) for i, task in outcomes.items()):
            changed[index] = part.reopened()
        elif part.attempt < (retries or 0) and all(task and _is_free_failure(task) for task in outcomes.values()):
            changed[index] = part.reopened(attempt=part.attempt + 1)
    reviewed = record.with_parts(changed)
    is_all_lost = not any(part.phase is not PurchasePhase.OPEN or part.key for part in reviewed.parts)
    return reviewed.replacement if changed and is_all_lost and reviewed.replacement is not None else reviewed


def _is_free_failure(task: Task) -> bool:
    """Return whether a task failed free of charge, and not for its content, which would be refused again."""
    return task.is_free and not is_moderation(task.error_code, task.error_message)


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
        return replace(part, phase=PurchasePhase.OPEN, attempt=0)
    return part.reopened()


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
    about_request = {name: getattr(rendered, name) for name in ("request", *_CONNECTION_FIELDS)}
    return replace(recorded, parts=parts, **about_request)


def _shortened(text: str) -> str:
    """Return a text, or its digest where it is too long for a record."""
    return text if len(text) <= _LONGEST_TEXT else _DIGEST + hashlib.sha256(text.encode()).hexdigest()


def _map_texts(change: Callable[[str], str], value: Any) -> Any:
    """Return a JSON value with each of its texts changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple):
        return [_map_texts(change, item) for item in value]
    if isinstance(value, dict):
        return {name: _map_texts(change, item) for name, item in value.items()}
    return value
