"""Who takes part, and with how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["IN_FLIGHT", "MAPPING", "Contestant", "in_one_task", "side_by_side"]

#: The DAG with a mapped task for each row.
MAPPING: Final = "mapping"
#: The DAGs with the dataset operator, and how many paid calls of each may run at the gateway: its default, or a
#: thousand rows at once.
IN_FLIGHT: Final[Mapping[str, int]] = {"dataset": 200, "dataset_all_in_flight": 1_000}

#: Seconds after which a run is ended: twice what mapping needs for a thousand rows, or the operator for ten thousand.
_CUT_OFF: Final = 900.0
_LARGE_CUT_OFF: Final = 2_400.0
#: Half of the pictures are made within 12 s, divided by these.
_SHORT_GENERATION: Final = 20.0
_LONG_GENERATION: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """
    One run of a DAG.

    :param rows: of the dataset.
    :param speed: how many times faster than the real gateway a simulator finishes pictures.
    :param cut_off: seconds after which the run is ended.
    """

    dag_id: str
    rows: int
    speed: float
    cut_off: float = _CUT_OFF

    @property
    def title(self) -> str:
        """What tables call it."""
        return "mapped image operator" if self.dag_id == MAPPING else f"dataset operator, {self.in_flight:,} in flight"

    @property
    def name(self) -> str:
        """What is its own is called by this: connection, folders, files."""
        return f"{self.dag_id}_{self.rows}"

    @property
    def in_flight(self) -> int:
        """How many paid calls may run at the gateway at once."""
        return IN_FLIGHT.get(self.dag_id, self.rows)


def side_by_side(rows: int) -> list[Contestant]:
    """Return those who are compared. Generation takes so little time that what Airflow needs is what shows."""
    dag_ids = (MAPPING, "dataset_all_in_flight", "dataset")
    return [Contestant(dag_id=dag_id, rows=rows, speed=_SHORT_GENERATION) for dag_id in dag_ids]


def in_one_task(rows: int) -> Contestant:
    """Return the dataset operator as it is by default. Generation takes so long that it has to wait."""
    return Contestant(dag_id="dataset", rows=rows, speed=_LONG_GENERATION, cut_off=_LARGE_CUT_OFF)
