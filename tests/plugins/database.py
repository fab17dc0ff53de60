"""What tasks leave in Airflow's database, written without running them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.session import create_session
from sqlalchemy import delete, insert, select

from airflow_provider_apimart.decorators.images import _ImagesDecoratedOperator
from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator
from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

if TYPE_CHECKING:
    from collections.abc import Mapping

_BUNDLE = "tests"
_ENDED = {"success", "failed", "skipped", "upstream_failed"}
#: As Airflow names them in its pages.
_NAMES = {
    operator.__name__: operator.custom_operator_name
    for operator in (ApimartImageOperator, ApimartImageDatasetOperator, _ImagesDecoratedOperator, ApimartToS3Operator)
}


class Database:
    """
    Airflow's database as the tasks of a DAG fill it.

    :param began_at: when the first thing has happened; each later one follows a second after the one before it.
    """

    def __init__(self) -> None:
        self.began_at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6)
        self._now = self.began_at

    def clear(self) -> None:
        with create_session() as session:
            models = (AssetEvent, AssetModel, XComModel, RenderedTaskInstanceFields, TaskInstance, DagRun, DagModel)
            for model in models:
                session.execute(delete(model))

    def add_run(self, dag_id: str, run_id: str = "run") -> None:
        """Make a DAG run, and its DAG where there is none."""
        with create_session() as session:
            if session.get(DagBundleModel, _BUNDLE) is None:
                session.add(DagBundleModel(name=_BUNDLE))
                session.flush()
            if session.get(DagModel, dag_id) is None:
                session.add(DagModel(dag_id=dag_id, bundle_name=_BUNDLE, fileloc=f"{dag_id}.py"))
                session.flush()
                SerializedDagModel.write_dag(
                    LazyDeserializedDAG.from_dag(DAG(dag_id, schedule=None)), _BUNDLE, session=session
                )
            session.add(
                DagRun(
                    dag_id=dag_id,
                    run_id=run_id,
                    run_type="manual",
                    state="running",
                    start_date=self._moment(),
                    logical_date=None,
                    run_after=self._moment(),
                )
            )

    def add_task(
        self,
        dag_id: str,
        task_id: str,
        *,
        run_id: str = "run",
        map_index: int = -1,
        operator: str = "ApimartImageOperator",
        operator_name: str | None = None,
        state: str = "success",
        rendered: Mapping[str, Any] | None = None,
        at: datetime | None = None,
        took: timedelta | None = timedelta(0),
        **xcoms: Any,
    ) -> None:
        """
        Make a task instance.

        :param operator_name: what Airflow's pages call the operator; unless given, what its class says.
        :param rendered: its template fields.
        :param at: when it began.
        :param took: from then until it ended; ``None`` for a task that has not begun.
        :param xcoms: what it has pushed.
        """
        names = {"dag_id": dag_id, "task_id": task_id, "run_id": run_id, "map_index": map_index}
        called = {"operator": operator, "custom_operator_name": operator_name or _NAMES.get(operator, operator)}
        times = {} if took is None else _times(at or self._moment(), took, has_ended=state in _ENDED)
        with create_session() as session:
            session.execute(insert(TaskInstance).values(**names, **called, **times, **_usual(state)))
            session.flush()
            run = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).one()
            if rendered is not None:
                session.execute(insert(RenderedTaskInstanceFields).values(**names, rendered_fields=dict(rendered)))
            for key, value in xcoms.items():
                at = self._moment()
                session.execute(
                    insert(XComModel).values(**names, dag_run_id=run.id, key=key, value=value, timestamp=at)
                )

    def add_event(
        self,
        dag_id: str,
        task_id: str,
        address: str,
        extra: Mapping[str, Any],
        *,
        run_id: str = "run",
        map_index: int = -1,
        at: datetime | None = None,
    ) -> None:
        """Make an event of an asset, and the asset where there is none."""
        self.add_events(
            [
                {
                    "source_dag_id": dag_id,
                    "source_task_id": task_id,
                    "source_run_id": run_id,
                    "source_map_index": map_index,
                    "extra": dict(extra),
                    "timestamp": at or self._moment(),
                }
            ],
            address,
        )

    def add_events(self, events: list[dict[str, Any]], address: str) -> None:
        """Make many events of one asset at once, each with the columns of Airflow's table."""
        with create_session() as session:
            asset = session.scalars(select(AssetModel).where(AssetModel.uri == address)).one_or_none()
            if asset is None:
                asset = AssetModel(name=address, uri=address, group="asset")
                session.add(asset)
                session.flush()
            session.execute(insert(AssetEvent), [{**event, "asset_id": asset.id} for event in events])

    def _moment(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


def _times(began_at: datetime, took: timedelta, *, has_ended: bool) -> dict[str, Any]:
    ended = {"end_date": began_at + took, "duration": took.total_seconds()} if has_ended else {}
    return {"start_date": began_at, **ended}


def _usual(state: str) -> dict[str, Any]:
    return {
        "id": uuid4(),
        "state": state,
        "try_number": 1,
        "max_tries": 0,
        "pool": "default_pool",
        "pool_slots": 1,
        "executor_config": {},
    }
