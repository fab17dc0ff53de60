from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from plugins.money import TODAY, days_ago, model, reported
from plugins.reports import BOUGHT

from airflow_provider_apimart.plugins.web.periods import Period, last_days
from airflow_provider_apimart.plugins.web.purchases import Charge, latest, read_purchases
from airflow_provider_apimart.plugins.web.scope import Scope
from airflow_provider_apimart.plugins.web.spending import By, Spent, dearest_runs, over_time, shares, total

COSTS = st.decimals(0, 5, places=4).map(float)
MODELS = st.builds(
    model,
    COSTS | st.none(),
    name=st.sampled_from([f"model-{number}" for number in range(9)]),
    pictures=st.integers(0, 9),
    unknown=st.sampled_from([0, 0, 1, 3]),
)
#: Few names, so that many events tell of the same purchase anew.
EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(),
            "name": st.just(BOUGHT),
            "source_dag_id": st.sampled_from(["posters", "shots"]),
            "source_run_id": st.sampled_from(["monday", "tuesday"]),
            "source_task_id": st.just("buy"),
            "source_map_index": st.sampled_from([-1, 3]),
            "timestamp": st.integers(0, 10**6).map(lambda us: (days_ago(0) + timedelta(microseconds=us)).isoformat()),
            "extra": st.builds(
                lambda name, models, age, connection: reported(name, *models, at=days_ago(age), connection=connection),
                st.sampled_from(["a", "b"]),
                st.lists(MODELS, min_size=1, max_size=3),
                st.integers(0, 40),
                st.sampled_from(["apimart_default", "other"]),
            ),
        }
    ),
    max_size=20,
    unique_by=lambda event: event["timestamp"],
)


def charges_of(events: list[dict[str, Any]]) -> list[Charge]:
    purchases, unreadable = read_purchases(events)
    assert not unreadable
    return [charge for purchase in latest(purchases) for charge in purchase.charges]


def naive(events: list[dict[str, Any]], period: Period) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return events with the models that count, in the most direct way: later ones overwrite earlier ones."""
    counted = {}
    for event in sorted(events, key=lambda event: event["timestamp"]):
        source = tuple(event[f"source_{name}"] for name in ("dag_id", "run_id", "task_id", "map_index"))
        counted[source, event["extra"]["purchase"]] = event
    return [
        (event, it)
        for event in counted.values()
        if datetime.fromtimestamp(event["extra"]["bought_at"], UTC).date() in period
        for it in event["extra"]["models"]
    ]


@given(events=EVENTS)
def test_sums_equal_those_of_the_most_direct_reckoning(events: list[dict[str, Any]]) -> None:
    period = last_days(30, TODAY)
    expected = naive(events, period)
    charges = [charge for charge in charges_of(events) if charge.day in period]

    spent = total(charges)

    assert spent.cost == sum((Decimal(str(it["cost"])) for _, it in expected if it["cost"] is not None), Decimal(0))
    assert spent.pictures == sum(it["delivered"] for _, it in expected)
    assert spent.unknown == sum(it["unknown"] or it["cost"] is None for _, it in expected)
    for by, name_of in {
        By.DAG: lambda event, _: event["source_dag_id"],
        By.MODEL: lambda _, it: it["model"],
        By.CONNECTION: lambda event, _: event["extra"]["connection"],
    }.items():
        costs: dict[str, Decimal] = defaultdict(Decimal)
        for event, it in expected:
            costs[name_of(event, it)] += Decimal(str(it["cost"] or 0))
        assert {share.name: share.spent.cost for share in shares(charges, by, most=100)} == costs


@given(events=EVENTS, shuffled=st.randoms(use_true_random=False))
def test_the_order_of_events_and_their_repetition_do_not_matter(events: list[dict[str, Any]], shuffled: Any) -> None:
    again = [*events, *events]
    shuffled.shuffle(again)
    assert total(charges_of(again)) == total(charges_of(events))
    assert shares(charges_of(again), By.MODEL, most=3) == shares(charges_of(events), By.MODEL, most=3)


@given(events=EVENTS, most=st.integers(1, 5))
def test_however_it_is_divided_nothing_is_lost_and_nothing_counted_twice(
    events: list[dict[str, Any]], most: int
) -> None:
    period = last_days(41, TODAY)
    charges = charges_of(events)
    whole = total(charges)
    for by in By:
        listed = shares(charges, by, most=most)
        assert len(listed) <= most + 1
        assert sum((share.spent for share in listed), Spent()) == whole
        timeline = over_time(charges, period, by)
        assert sum((bar.total for bar in timeline.bars), Spent()) == whole
        for bar in timeline.bars:
            assert sum(bar.parts, Spent()) == bar.total
    assert sum((spent for _, spent in dearest_runs(charges, most=100)), Spent()) == whole


@given(events=EVENTS)
def test_what_is_unknown_adds_nothing_to_a_sum_and_is_not_forgotten(events: list[dict[str, Any]]) -> None:
    charges = charges_of(events)
    known = total(charge for charge in charges if not charge.unknown)
    whole = total(charges)
    assert (whole.priced, whole.price) == (known.pictures, known.cost)
    assert whole.unknown == sum(charge.unknown for charge in charges)
    assert not known.unknown


def charge(cost: str, *, name: str = "gpt-image-2", run: str = "run", pictures: int = 1, unknown: int = 0) -> Charge:
    source = Scope("posters", run, "buy", -1)
    return Charge(source, "apimart_default", name, TODAY, pictures, Decimal(cost), unknown)


def test_pictures_per_dollar_leave_out_purchases_whose_cost_is_not_known() -> None:
    spent = total([charge("0.50", pictures=10), charge("0.10", pictures=7, unknown=3)])
    assert spent.pictures_per_dollar == 20
    assert spent.cost == Decimal("0.60")
    assert spent.pictures == 17
    assert total([charge("0", unknown=1)]).pictures_per_dollar is None
    assert total([]).pictures_per_dollar is None


def test_sums_of_many_small_amounts_are_exact() -> None:
    assert total(charge("0.0085") for _ in range(10_000)).cost == 85


def test_the_dearest_come_first_and_the_rest_is_one_row() -> None:
    charges = [charge(str(number), name=f"model-{number}") for number in range(1, 6)]
    assert [(share.name, share.spent.cost) for share in shares(charges, By.MODEL, most=2)] == [
        ("model-5", 5),
        ("model-4", 4),
        (None, 6),
    ]


def test_runs_are_told_apart_by_their_dag_and_ranked_by_cost() -> None:
    charges = [charge("1", run="a"), charge("3", run="b"), charge("1.50", run="a"), charge("9", run="c")]
    assert [(run.run_id, spent.cost) for run, spent in dearest_runs(charges, most=2)] == [("c", 9), ("b", 3)]


def test_a_chart_names_as_many_as_people_tell_apart_and_has_a_bar_for_every_day() -> None:
    timeline = over_time([charge("1", name=f"model-{number}") for number in range(8)], last_days(7, TODAY), By.MODEL)
    assert timeline.names == [*(f"model-{number}" for number in range(6)), None]
    assert [bar.total.cost for bar in timeline.bars] == [0, 0, 0, 0, 0, 0, 8]
    assert timeline.bars[-1].parts[-1].cost == 2
