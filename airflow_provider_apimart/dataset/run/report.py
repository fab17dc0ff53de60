"""What a task returns about its dataset: the XCom value, the plan, and the extra data of its asset events."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.assets import ModelFigures, images_extra, purchase_extra
from airflow_provider_apimart.dataset.ledger.reading import TABLE
from airflow_provider_apimart.dataset.object_names import IMAGES, made_by
from airflow_provider_apimart.dataset.run.plan import CallStep
from airflow_provider_apimart.gateway.cost import share, total

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from airflow_provider_apimart.dataset.input import Input
    from airflow_provider_apimart.dataset.ledger.entry import CallState, Entry
    from airflow_provider_apimart.dataset.ledger.manifest import Manifest
    from airflow_provider_apimart.dataset.ledger.money import Account
    from airflow_provider_apimart.dataset.run.buying import Buyer
    from airflow_provider_apimart.dataset.run.tally import Tally

__all__ = ["MOST_OBJECTS", "images_event", "plan_report", "purchase_event", "task_report"]

#: Calls up to which the XCom lists all pictures. The manifest lists any number.
MOST_OBJECTS: Final = 1000
#: Rows that a plan lists.
_MOST_PLANNED: Final = 1000


def task_report(
    tally: Tally, rows: Input, accounts: Sequence[Account], manifest: Manifest, *, ledger: str
) -> dict[str, Any]:
    """
    Return the XCom value of a finished task.

    :param accounts: the money of this task instance, over all generations.
    :param manifest: with the entries of the first :data:`MOST_OBJECTS` calls.
    :param ledger: address of the ledger's folder.
    """
    return {
        "schema_version": 1,
        "total": tally.total,
        "done": tally.done,
        "failed": tally.failed,
        "written_off": tally.written_off,
        "invalid": rows.invalid,
        "left_out": rows.left_out,
        "bought": sum(account.calls for account in accounts),
        "cost": total(account.cost for account in accounts) if accounts else 0.0,
        "credits_cost": total(account.credits_cost for account in accounts) if accounts else 0.0,
        "currency": "USD",
        "ledger": f"{ledger}{TABLE}",
        "images": f"{ledger.removesuffix('ledger/')}{IMAGES}",
        "manifest": manifest.address,
        "objects": [_object(entry, held) for entry in manifest.entries for held in entry.objects]
        if tally.total <= MOST_OBJECTS
        else None,
    }


def plan_report(tally: Tally, rows: Input, buyer: Buyer, *, ledger: str) -> dict[str, Any]:
    """
    Return the plan of a task: what it would buy, and at what cost. Nothing is bought.

    :param ledger: address of the ledger's folder.
    """
    calls = tally.take(tally.left, now=0.0)
    kinds: Counter[tuple[str, str, str, float | None]] = Counter()
    for _, call in calls:
        request = call.request
        kinds[request.model, request.size or "", request.resolution or "", buyer.price(request)] += 1
    prices = [(price, number) for (*_, price), number in kinds.items()]
    return {
        "schema_version": 1,
        "plan_only": True,
        "total": tally.total,
        "done": tally.done,
        "to_buy": len(calls),
        "in_flight": tally.count(CallStep.COLLECT, CallStep.WAIT),
        "unanswered": tally.count(CallStep.RESUBMIT),
        "failed": tally.failed,
        "written_off": tally.written_off,
        "invalid": rows.invalid,
        "left_out": rows.left_out,
        "cost": None if any(price is None for price, _ in prices) else round(sum(p * n for p, n in prices if p), 6),
        "currency": "USD",
        "by_kind": [
            {"model": model, "size": size or None, "resolution": resolution or None, "calls": number, "price": price}
            for (model, size, resolution, price), number in kinds.items()
        ],
        "rows": [{"row": call.row.number, "id": call.row.id} for _, call in calls[:_MOST_PLANNED]],
        "problems": tally.reasons({}),
        "ledger": f"{ledger}{TABLE}",
    }


def plan_text(plan: Mapping[str, Any]) -> str:
    """Return a plan as lines for the log."""
    lines = [
        (
            f"Plan: {plan['to_buy']:,} of {plan['total']:,} calls to buy, {plan['done']:,} in S3, "
            f"{plan['in_flight']:,} in flight, {plan['failed']:,} failed, {plan['invalid']:,} invalid rows, "
            f"{plan['left_out']:,} left out. Nothing was bought."
        )
    ]
    for kind in plan["by_kind"]:
        name = " ".join(str(kind[field]) for field in ("model", "size", "resolution") if kind[field])
        price = "price not known" if kind["price"] is None else f"{kind['price']:g} USD each"
        lines.append(f"  {kind['calls']:>8,} x {name}: {price}")
    cost = "not known" if plan["cost"] is None else f"about {plan['cost']:g} USD"
    return "\n".join([*lines, f"  cost: {cost}"])


def purchase_event(
    accounts: Sequence[Account],
    manifest: Manifest,
    *,
    run_id: str,
    purchase: str,
    connection: str,
    gateway: str,
    ledger: str,
) -> dict[str, Any] | None:
    """
    Return the extra data of a task instance's purchase event, or ``None`` where it has bought nothing.

    :param accounts: its money.
    :param manifest: with the first entries of the run.
    :param run_id: of the DAG run, as in the ledger.
    :param purchase: id of the task instance: each of its events replaces the one before it.
    :param connection: id of the gateway's connection.
    :param ledger: address of the ledger.
    """
    if not accounts:
        return None
    entries = [entry for entry in manifest.entries if entry.run_id == run_id and entry.charged != "no"]
    figures = [
        ModelFigures(
            model=account.model,
            delivered=account.pictures,
            cost=round(float(account.spent), 10),
            unknown=account.untold,
        )
        for account in accounts
    ]
    return purchase_extra(
        purchase=purchase,
        connection=connection,
        gateway=gateway,
        bought_at=max(account.bought_at for account in accounts),
        task_ids=(task_id for entry in entries for task_id in entry.task_ids),
        delivered=sum(account.pictures for account in accounts),
        cost=total(account.cost for account in accounts),
        credits_cost=total(account.credits_cost for account in accounts),
        models=figures,
        ledger=ledger,
    )


def images_event(
    stored: Iterable[CallState], manifest: Manifest, *, prefix: str, connection: str, aws_connection: str | None
) -> dict[str, Any] | None:
    """
    Return the extra data of the event of the pictures of all rows, whichever run has bought them, or ``None``.

    :param stored: the calls whose pictures are in S3.
    :param manifest: with the first entries of the dataset.
    :param prefix: address of the dataset's folder.
    :param connection: id of the gateway's connection.
    :param aws_connection: id of the connection that reaches the bucket.
    """
    count, models = 0, set[str]()
    costs, credits_costs = list[float | None](), list[float | None]()
    for state in stored:
        if state.answer is not None:
            count += state.answer.n_objects
            models.add(state.kind[0])
            costs.append(state.answer.cost)
            credits_costs.append(state.answer.credits_cost)
    if not models:
        return None
    entries = [entry for entry in manifest.entries if entry.objects]
    return images_extra(
        prefix=prefix,
        connection=connection,
        aws_connection=aws_connection,
        count=count,
        task_ids=(task_id for entry in entries for task_id in entry.task_ids),
        models=models,
        cost=total(costs),
        credits_cost=total(credits_costs),
        images=(image for entry in entries for image in _images(entry)),
        manifest=manifest.address,
    )


def _object(entry: Entry, held: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": entry.id, "row": entry.row, "uri": held["uri"], "width": held["width"], "height": held["height"]}


def _images(entry: Entry) -> Iterator[dict[str, Any]]:
    asked = {name: getattr(entry, name) for name in ("id", "prompt", "model", "size", "resolution", "quality")}
    cost = share(entry.cost, len(entry.objects))
    for held in entry.objects:
        task_id, index = made_by(held["uri"], entry.task_ids) or (None, None)
        yield {**asked, **held, "cost": cost, "task_id": task_id, "index": index}
