"""How far a dataset has come, as its task says while it works. I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, NonNegativeFloat, NonNegativeInt, ValidationError

if TYPE_CHECKING:
    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
    from airflow_provider_apimart.plugins.web.scope import Scope

__all__ = ["Progress", "find_progress"]

#: The key of the XCom.
_KEY: Final = "progress"


class Progress(BaseModel, strict=True, allow_inf_nan=False):
    """
    What the pages show of :class:`airflow_provider_apimart.dataset.progress.Progress`.

    :param spent: US dollars.
    """

    total: NonNegativeInt
    done: NonNegativeInt
    in_flight: NonNegativeInt
    failed: NonNegativeInt
    spent: NonNegativeFloat


async def find_progress(api: AirflowApi, source: Scope) -> Progress | None:
    """Return how far the task of a dataset says it has come; ``None`` where it says nothing that makes sense."""
    try:
        return Progress.model_validate(await api.xcom(source, _KEY))
    except ValidationError:
        return None
