"""What a finished dataset says as events: of what this DAG run has bought, and of the pictures of all rows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.assets import ModelFigures, images_extra, purchase_extra
from airflow_provider_apimart.dataset.object_names import made_by
from airflow_provider_apimart.gateway.cost import share, total

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.ledger import State
    from airflow_provider_apimart.dataset.manifest import Manifest

__all__ = ["images_of", "purchase_of"]


def purchase_of(
    own: Sequence[State],
    manifest: Manifest,
    *,
    run_id: str,
    purchase: str,
    connection: str,
    gateway: str,
    ledger: str,
) -> dict[str, Any] | None:
    """
    Return what an event says of everything that a DAG run has bought of the dataset so far, or ``None`` for nothing.

    :param own: the purchases of the run.
    :param manifest: with the first entries of the run.
    :param run_id: of the DAG run, as in the ledger.
    :param purchase: stands for the task instance: each of its events replaces the one before it.
    :param connection: id of the gateway's connection.
    :param ledger: address of the ledger.
    """
    paid = [state for state in own if state.charged != "no"]
    if not paid:
        return None
    models = sorted({state.model for state in paid})
    entries = [entry for entry in manifest.entries if entry.run_id == run_id and entry.charged != "no"]
    figures = [_figures([state for state in paid if state.model == model], manifest, run_id) for model in models]
    return purchase_extra(
        purchase=purchase,
        connection=connection,
        gateway=gateway,
        bought_at=max(state.intended_at for state in paid),
        task_ids=(task_id for entry in entries for task_id in entry.task_ids),
        delivered=sum(each["delivered"] for each in figures),
        cost=total(state.cost for state in paid),
        credits_cost=total(state.credits_cost for state in paid),
        models=figures,
        ledger=ledger,
    )


def images_of(
    stored: Sequence[State], manifest: Manifest, *, prefix: str, connection: str, aws_connection: str | None
) -> dict[str, Any] | None:
    """
    Return what an event says of the pictures of all rows, whichever run has bought them, or ``None`` for no picture.

    :param stored: the purchases whose pictures are in S3.
    :param manifest: with the first entries of the dataset.
    :param prefix: address of the dataset's folder.
    :param connection: id of the gateway's connection.
    :param aws_connection: id of the connection that reaches the bucket.
    """
    if not stored:
        return None
    entries = [entry for entry in manifest.entries if entry.objects]
    return images_extra(
        prefix=prefix,
        connection=connection,
        aws_connection=aws_connection,
        count=manifest.pictures.total(),
        task_ids=(task_id for entry in entries for task_id in entry.task_ids),
        models=(state.model for state in stored),
        cost=total(state.cost for state in stored),
        credits_cost=total(state.credits_cost for state in stored),
        images=(image for entry in entries for image in _images(entry)),
        manifest=manifest.address,
    )


def _figures(paid: Sequence[State], manifest: Manifest, run_id: str) -> ModelFigures:
    (model,) = {state.model for state in paid}
    known = [state.cost for state in paid if state.cost is not None]
    return ModelFigures(
        model=model,
        delivered=manifest.pictures[run_id, model],
        cost=round(sum(known), 10),
        unknown=len(paid) - len(known),
    )


def _images(entry: Entry) -> Iterator[dict[str, Any]]:
    asked = {name: getattr(entry, name) for name in ("id", "prompt", "model", "size", "resolution", "quality")}
    cost = share(entry.cost, len(entry.objects))
    for held in entry.objects:
        task_id, index = made_by(held["uri"], entry.task_ids) or (None, None)
        yield {**asked, **held, "cost": cost, "task_id": task_id, "index": index}
