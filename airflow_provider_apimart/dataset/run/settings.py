"""The parameters of a dataset's task, as they were rendered when its generation began."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Self

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.ledger.entry import CallState, Entry

__all__ = ["BuyingParameters", "DatasetSettings", "Rules", "continued_settings"]

#: The parameters that decide which pictures count as bought.
_PLACES: Final = ("bucket", "prefix")
#: What is not a parameter of the DAG author.
_STATE: Final = frozenset(
    {"generation", "run_began_at", "rows", "recoveries", "recent_failures", "recent_losses", "refused_since"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyingParameters:
    """
    The parameters of the DAG author that decide what is bought, and when.

    :param run_began_at: Unix seconds, when the DAG run began for the first time. Purchases that another run made later
        are not regenerated: two runs at a time would buy from each other without end.
    :param on_existing: ``"regenerate"`` buys once more, in each run, what other runs had bought when this one began.
    :param on_unknown_submit: ``"resubmit"`` submits a key again whose response was lost; ``"fail"`` gives the row up.
    :param row_retries: how often a call is bought again in one run after it failed without being charged.
    :param timeout: seconds that one try waits for an accepted call.
    :param initial_delay: seconds between a submit and the first poll; ``poll_interval`` between two polls.
    :param max_in_flight: calls that run at the gateway at once.
    :param max_cost: US dollars that the DAG run may spend from this ledger; ``None`` for no limit.
    :param max_failed: number, or as a float share, of the calls that may fail; ``None`` for none, and no failure keeps
        the others from being bought.
    :param max_failure_rate: share of the last 50 calls that may fail before nothing more is bought; ``None`` for any.
    """

    run_began_at: float = 0.0
    on_existing: Literal["reuse", "regenerate"] = "reuse"
    on_unknown_submit: Literal["fail", "resubmit"] = "fail"
    row_retries: int = 2
    timeout: float = 600.0
    initial_delay: float = 12.0
    poll_interval: float = 4.0
    max_in_flight: int = 200
    max_cost: float | None = None
    max_failed: float | None = None
    max_failure_rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSettings(BuyingParameters):
    """
    The parameters of one generation of a task: its tries and resumes use them, and not a new rendering.

    Names and units are those of :class:`~airflow_provider_apimart.operators.dataset.ApimartImageDatasetOperator`, with
    times in seconds. None of them is a secret: they pass through Airflow's database.

    :param generation: the task instance's ``max_tries``, which a clear raises and a retry does not.
    :param prefix: without slashes at its ends.
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
    rows: str = ""
    recoveries: int = 0
    recent_failures: str = ""
    recent_losses: str = ""
    refused_since: float = 0.0

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read the JSON of :meth:`to_json`, also that of a later release."""
        known = {field.name: value[field.name] for field in fields(cls) if field.name in value}
        shard = known.get("shard")
        return cls(**{**known, "shard": tuple(shard) if shard else None})

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON."""
        return {**asdict(self), "shard": list(self.shard) if self.shard else None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules(BuyingParameters):
    """
    The buying parameters for one worker, and its identity. The times are Unix seconds.

    :param ledger: address of the ledger: the same row in another ledger is another picture.
    :param gateway: host of the gateway that the connection leads to.
    :param writer: this task instance, in try ``try_number`` of the DAG run ``run_id`` (``dag_id/run_id``).
    :param max_tries: of the task instance; a clear raises it, which allows new retries.
    :param try_began_at: of this try; ``ends_at`` is when nothing is bought or waited for any more.
    """

    ledger: str
    writer: str
    try_number: int
    run_id: str
    max_tries: int
    try_began_at: float
    ends_at: float = math.inf
    gateway: str = ""

    @classmethod
    def of(cls, settings: DatasetSettings, **worker: Any) -> Self:
        """Return the rules of a worker, with the parameters of its generation."""
        parameters = {field.name: getattr(settings, field.name) for field in fields(BuyingParameters)}
        return cls(max_tries=settings.generation, **parameters, **worker)

    def deadline(self, state: CallState | Entry) -> float:
        """Return the Unix seconds until which this try waits for an accepted call."""
        is_own = state.run_id == self.run_id
        return (max(state.accepted_at, self.try_began_at) if is_own else state.accepted_at) + self.timeout


def continued_settings(
    recorded: DatasetSettings | None, rendered: DatasetSettings
) -> tuple[DatasetSettings, list[str]]:
    """
    Return the settings that a try uses, and the names of the parameters that are rendered otherwise now.

    A retry uses the recorded parameters of its generation. After a clear the new rendering counts, except for bucket
    and prefix, where the pictures are, unless ``on_existing`` was changed to ``"regenerate"``.

    :param recorded: the settings that the task instance recorded before; ``None`` for none.
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
