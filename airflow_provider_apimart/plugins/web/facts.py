"""What is known of one picture, checked: whoever writes DAGs, or edits XComs, can have written it. Pure."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, NonNegativeFloat, NonNegativeInt

__all__ = ["Moment", "read_facts"]

#: Unix seconds of a moment that a date can name.
Moment = Annotated[float, Field(ge=0, lt=253_402_300_800)]


class _Facts(BaseModel, allow_inf_nan=False):
    uri: str | None = None
    task_id: str | None = None
    index: NonNegativeInt | None = None
    id: str | None = None
    row: NonNegativeInt | None = None
    prompt: str | None = None
    model: str | None = None
    size: str | None = None
    resolution: str | None = None
    quality: str | None = None
    n: NonNegativeInt | None = None
    cost: NonNegativeFloat | None = None
    seconds: float | None = None
    width: NonNegativeInt | None = None
    height: NonNegativeInt | None = None
    bytes: NonNegativeInt | None = None
    expires_at: Moment | None = None


def read_facts(given: Any) -> dict[str, Any]:
    """
    Return what is known, under the names of :mod:`airflow_provider_apimart.assets`, and nothing else.

    :raises ValueError: where it is not of the shape that this provider writes.
    """
    return _Facts.model_validate(given).model_dump(exclude_none=True)
