"""The parameters of a dataset's task, as they were rendered when its generation began."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Literal, Self

__all__ = ["DatasetSettings", "continued_settings"]

#: The parameters that decide which pictures count as bought.
_PLACES: Final = ("bucket", "prefix")
#: What is not a parameter of the DAG author.
_STATE: Final = frozenset(
    {"generation", "run_began_at", "rows", "recoveries", "recent_failures", "recent_losses", "refused_since"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSettings:
    """
    The parameters of one generation of a task: its tries and resumes use them, and not a new rendering.

    Names and units are those of :class:`~airflow_provider_apimart.operators.dataset.ApimartImageDatasetOperator`, with
    times in seconds. None of them is a secret: they pass through Airflow's database.

    :param generation: the task instance's ``max_tries``, which a clear raises and a retry does not.
    :param prefix: without slashes at its ends.
    :param run_began_at: Unix seconds, when the DAG run began for the first time.
    :param rows: name of the stored rows beside the ledger; empty before they are stored.
    :param recoveries: how often the trigger of this generation has failed.
    :param recent_failures: of the last calls, ``1`` for each that ended without a picture and ``0`` for the others.
    :param recent_losses: of the last paid calls, ``1`` for each that got no usable response.
    :param refused_since: Unix seconds of the first of the refusals that no acceptance has followed; 0 for none.
    """

    generation: int
    bucket: str
    prefix: str
    apimart_conn_id: str
    aws_conn_id: str | None
    shard: tuple[int, int] | None = None
    limit: int | None = None
    max_in_flight: int = 200
    max_cost: float | None = None
    max_failed: float | None = None
    max_failure_rate: float | None = None
    row_retries: int = 2
    on_existing: Literal["reuse", "regenerate"] = "reuse"
    on_unknown_submit: Literal["fail", "resubmit"] = "fail"
    initial_delay: float = 12.0
    poll_interval: float = 4.0
    timeout: float = 600.0
    run_began_at: float = 0.0
    rows: str = ""
    recoveries: int = 0
    recent_failures: str = ""
    recent_losses: str = ""
    refused_since: float = 0.0

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what :meth:`to_json` returned, also of a later release."""
        known = {field.name: value[field.name] for field in fields(cls) if field.name in value}
        shard = known.get("shard")
        return cls(**{**known, "shard": tuple(shard) if shard else None})

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON."""
        return {**asdict(self), "shard": list(self.shard) if self.shard else None}


def continued_settings(
    recorded: DatasetSettings | None, rendered: DatasetSettings
) -> tuple[DatasetSettings, list[str]]:
    """
    Return the settings that a try uses, and the names of the parameters that are rendered otherwise now.

    A retry uses what its generation began with. After a clear the parameters are those of the new rendering, but what
    is bought already is looked for, and stored, in the same place, unless the policy has changed to regenerate it.

    :param recorded: what the task instance has recorded before, if anything.
    :param rendered: the present parameters.
    """
    if recorded is None:
        return rendered, []
    if recorded.generation == rendered.generation:
        return recorded, _differing(recorded, rendered, set(_parameters()))
    rendered = replace(rendered, run_began_at=min(recorded.run_began_at, rendered.run_began_at))
    if rendered.on_existing == "regenerate" != recorded.on_existing:
        return rendered, []
    places = {name: getattr(recorded, name) for name in _PLACES}
    return replace(rendered, **places), _differing(recorded, rendered, set(_PLACES))


def _parameters() -> list[str]:
    return [field.name for field in fields(DatasetSettings) if field.name not in _STATE]


def _differing(recorded: DatasetSettings, rendered: DatasetSettings, names: set[str]) -> list[str]:
    return [name for name in _parameters() if name in names and getattr(recorded, name) != getattr(rendered, name)]
