"""A picture, or a picture that is being made, as the gallery shows it. Does no I/O, but reads the clock."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.object_names import made_by
from airflow_provider_apimart.gateway.cost import share
from airflow_provider_apimart.gateway.request import REQUEST_FIELDS
from airflow_provider_apimart.plugins.web.facts import read_facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_apimart.plugins.web.events import Event
    from airflow_provider_apimart.plugins.web.scope import Scope

__all__ = ["Card", "Status", "cards_of_event", "cards_of_images", "cards_of_line"]


_UNKNOWN: Final = "It is not known whether the gateway accepted the paid call."
#: The states of a call that has no picture and waits for nothing, with the reason where its entry gives none.
_WITHOUT_PICTURE: Final = {
    "failed": "The call failed.",
    "refused": "The gateway refused the call.",
    "unknown": _UNKNOWN,
    "unanswered": _UNKNOWN,
    "presumed_lost": _UNKNOWN,
    "written_off": "Somebody decided to go without this picture. It may have been charged.",
}


class Status(StrEnum):
    """The state of a picture."""

    STORED = "stored"
    BOUGHT = "bought"
    RUNNING = "running"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """
    One tile of the gallery.

    :param source: the task instance that reported the picture.
    :param at: Unix seconds of the report.
    :param facts: the known properties, named as in :mod:`airflow_provider_apimart.assets`: ``prompt``, ``model``,
        ``size``, ``cost``, ``task_id``, ``index``, ``uri``, ``seconds``, ``expires_at`` and others.
    :param error: the reason why there is no picture.
    :param progress: of a dataset that is being bought, as its XCom has it.
    """

    status: Status
    source: Scope
    at: float | None
    facts: Mapping[str, Any]
    error: str | None = None
    progress: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The gateway's name of the picture: its task and its place among the pictures of that."""
        return f"{self.facts['task_id']}-{self.facts.get('index', 0)}" if "task_id" in self.facts else ""

    @property
    def identity(self) -> str:
        """An identifier of the picture, the same wherever it is reported; empty where there is no picture."""
        return str(self.facts.get("uri", self.name)) if self.has_picture else ""

    @property
    def has_picture(self) -> bool:
        """Return whether there is a picture."""
        return self.status in {Status.STORED, Status.BOUGHT}

    @property
    def is_expired(self) -> bool:
        """Return whether the gateway's URL has expired, and no copy in S3 is known."""
        return self.status is Status.BOUGHT and bool(self.facts.get("expires_at", math.inf) <= time.time())

    @property
    def title(self) -> str:
        """The prompt, or a name of the picture where that is not known."""
        return str(self.facts.get("prompt") or self.facts.get("id") or self.name or self.source.task_id)

    @property
    def size(self) -> str:
        """The size of the picture, or else the requested one."""
        if self.facts.get("width") and self.facts.get("height"):
            return f"{self.facts['width']} x {self.facts['height']}"
        return str(self.facts.get("size") or "")

    @property
    def request(self) -> dict[str, Any]:
        """The known fields of the request besides the prompt, under the names of the parameters."""
        return {name: self.facts[name] for name in REQUEST_FIELDS if name in self.facts and name != "prompt"}

    def address(self) -> dict[str, Any]:
        """Return the parameters of the picture's own page."""
        held = {"uri": self.facts["uri"]} if "uri" in self.facts else {"picture": self.name}
        return {**self.source.query(), **held}

    def matches(self, text: str) -> bool:
        """Return whether prompt, names or error contain a text, in upper or lower case."""
        wanted = text.casefold()
        searched = (self.facts.get(name) for name in ("prompt", "id", "model", "task_id", "uri"))
        return any(wanted in str(value).casefold() for value in (*searched, self.error) if value)


def cards_of_event(event: Event) -> list[Card]:
    """Return the pictures that an event itself lists."""
    return cards_of_images(event, event.images)


def cards_of_images(event: Event, images: Iterable[Any]) -> list[Card]:
    """
    Return pictures that a task has reported, without any that cannot be understood.

    :param images: from the event, or from the ``objects`` of the transfer's XCom.
    """
    cards = []
    for image in images:
        with suppress(ValueError):
            facts = read_facts(image)
            status = Status.STORED if "uri" in facts else Status.BOUGHT
            cards.append(Card(status=status, source=event.source, at=event.at, facts=facts))
    return cards


def cards_of_line(source: Scope, line: Mapping[str, Any]) -> list[Card]:
    """
    Return the pictures of a line of a dataset's ledger or manifest, or one card for a call without pictures.

    :param source: the task instance whose dataset it is.
    :param line: see :meth:`airflow_provider_apimart.dataset.ledger.entry.Entry.to_line`. Lines of release 0.1 have the
        status ``unknown`` besides.
    """
    at = datetime.fromisoformat(line["updated_at"]).timestamp()
    asked = {name: line.get(name) for name in ("id", "row", "prompt", "model", "size", "resolution", "quality", "n")}
    if not line["objects"]:
        reason = _WITHOUT_PICTURE.get(line["status"])
        return [
            Card(
                status=Status.FAILED if reason else Status.RUNNING,
                source=source,
                at=at,
                facts=read_facts({**asked, "cost": line["cost"], "task_id": next(iter(line["task_ids"]), None)}),
                error=(line["error"] or {}).get("message", reason) if reason else None,
            )
        ]
    cost = share(line["cost"], len(line["objects"]))
    seconds = round(at - datetime.fromisoformat(line["intended_at"]).timestamp())
    return [
        Card(
            status=Status.STORED,
            source=source,
            at=at,
            facts=read_facts({**asked, **held, "cost": cost, "seconds": seconds, **_named(held, line)}),
        )
        for held in line["objects"]
    ]


def _named(held: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, Any]:
    task_id, index = made_by(held["uri"], line["task_ids"]) or (None, None)
    return {"task_id": task_id, "index": index}
