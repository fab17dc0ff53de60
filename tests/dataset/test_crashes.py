"""
What the ledger promises, whatever dies when: a row is bought once, what was paid for is copied, money is kept.

Workers of the real code take turns in any order, each step of which may be the last; gateway and S3 are models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataset.entries import rules
from dataset.turns import Worker
from dataset.world import PRICE, World, rows
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.ledger import Ledger
from airflow_provider_apimart.dataset.line import read_line

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.plan import Rules

COUNT = 4
PROMPTS = [part.request.prompt for part in rows(COUNT)]

fates = st.sampled_from(["", "die before", "die after", "lose", "refuse", "run on"])
#: Which worker takes how many steps, and how the last of them ends.
schedules = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12), fates), min_size=5, max_size=40)
failures = st.dictionaries(st.sampled_from(PROMPTS), st.integers(1, 2), max_size=1)
#: Seconds by which the clocks of the workers are wrong.
SKEWS = (0.0, 40.0, -40.0)


def of_run(run_id: str, **changes: object) -> Rules:
    return rules(run_id=run_id, **{"on_unknown_submit": "resubmit", "max_in_flight": 3, **changes})


def disturbed(world: World, schedule: list[tuple[int, int, str]], all_rules: list[Rules]) -> None:
    """Let workers work at the same time by a schedule, a new one for each that has died; then one after the other."""

    def start(which: int) -> Worker:
        worker = Worker(lambda it: world.work(it, rows(COUNT), all_rules[which]), skew=SKEWS[which])
        worker.start()
        return worker

    workers = [start(which) for which in range(len(all_rules))]
    for which, steps, fate in schedule:
        chosen = which % len(workers)
        for _ in range(steps - 1):
            workers[chosen].advance()
        workers[chosen].advance(fate)
        if workers[chosen].ended:
            workers[chosen].finish()
            workers[chosen] = start(chosen)
    for worker in workers:
        worker.finish()


def whole(world: World, one: Rules) -> Ledger:
    """Let one more worker come after all, and return what the ledger says then."""
    worker = Worker(lambda it: world.work(it, rows(COUNT), one))
    worker.start()
    worker.finish()
    return ledger_of(world)


def ledger_of(world: World) -> Ledger:
    ledger = Ledger()
    for name, content in world.objects.items():
        if name.endswith(".jsonl"):
            ledger.add(map(read_line, content.splitlines()))
    return ledger


def unpaid(ledger: Ledger) -> set[str]:
    """Return the prompts that are known to have cost nothing so far."""
    states = {part.request.prompt: ledger.find(part.key) for part in rows(COUNT)}
    return {prompt for prompt, state in states.items() if state is None or state.charged == "no"}


@given(schedules, failures)
def test_each_row_is_bought_once_and_copied_where_the_gateway_honours_keys(
    schedule: list[tuple[int, int, str]], failures: dict[str, int]
) -> None:
    world = World(failures=failures)

    disturbed(world, schedule, [of_run("monday"), of_run("monday"), of_run("tuesday")])

    assert sorted(it.prompt for it in world.paid()) == PROMPTS
    assert set(world.pictures) == {it.task_id for it in world.paid()}


@given(schedules, failures)
def test_no_row_is_bought_twice_even_where_the_gateway_ignores_keys(
    schedule: list[tuple[int, int, str]], failures: dict[str, int]
) -> None:
    world = World(honours_keys=False, failures=failures)
    cautious = {"on_unknown_submit": "fail"}

    disturbed(
        world, schedule, [of_run("monday", **cautious), of_run("monday", **cautious), of_run("tuesday", **cautious)]
    )

    assert all(len(world.paid(prompt)) <= 1 for prompt in PROMPTS)


@given(schedules, failures, st.sampled_from(["fail", "resubmit"]))
def test_whatever_was_noted_as_accepted_is_copied(
    schedule: list[tuple[int, int, str]], failures: dict[str, int], mode: str
) -> None:
    world = World(honours_keys=mode == "resubmit", failures=failures)
    careful = of_run("monday", on_unknown_submit=mode)
    disturbed(world, schedule, [careful, careful])

    ledger = whole(world, careful)

    free = {it.task_id for it in world.purchases if it.is_free}
    entries = map(read_line, world.written)
    accepted = {task_id for entry in entries if entry.status is Status.ACCEPTED for task_id in entry.task_ids}
    assert accepted - free == set(world.pictures)
    assert len(ledger) == COUNT
    assert {state.status for state in ledger.states()} <= {Status.COPIED, Status.UNKNOWN}


@given(schedules)
def test_a_row_that_always_fails_is_given_up_by_two_runs_at_once(schedule: list[tuple[int, int, str]]) -> None:
    world = World(failures={PROMPTS[0]: 1000})

    disturbed(world, schedule, [of_run("monday"), of_run("tuesday")])

    assert 3 <= sum(it.is_free for it in world.purchases) <= 4


@given(schedules, failures, st.sampled_from([True, False]))
def test_a_run_that_comes_later_buys_only_what_runs_that_gave_up_have_left_unpaid(
    schedule: list[tuple[int, int, str]], failures: dict[str, int], honours_keys: bool
) -> None:
    world = World(honours_keys=honours_keys, failures=failures)
    mode = "resubmit" if honours_keys else "fail"
    disturbed(world, schedule, [of_run("monday", on_unknown_submit=mode), of_run("tuesday", on_unknown_submit=mode)])
    bought = len(world.purchases)
    # Where keys are sent again, no run gives up.
    left = set() if honours_keys else unpaid(ledger_of(world))

    ledger = whole(world, of_run("wednesday", on_unknown_submit=mode, began_at=world.now))

    assert {it.prompt for it in world.purchases[bought:]} <= left
    assert len(ledger) == COUNT


@given(schedules, failures, st.integers(1, COUNT))
def test_the_budget_of_a_run_is_kept_and_raising_it_continues(
    schedule: list[tuple[int, int, str]], failures: dict[str, int], affordable: int
) -> None:
    world = World(failures=failures)
    disturbed(world, schedule, [of_run("monday", max_cost=affordable * PRICE)] * 2)

    assert len(world.paid()) == affordable

    whole(world, of_run("monday", max_tries=1, max_cost=COUNT * PRICE))

    assert sorted(it.prompt for it in world.paid()) == PROMPTS


@given(schedules)
def test_two_runs_that_regenerate_at_once_buy_each_row_once_more(schedule: list[tuple[int, int, str]]) -> None:
    world = World()
    whole(world, of_run("sunday"))
    regenerating = {"on_existing": "regenerate", "began_at": world.now}

    disturbed(world, schedule, [of_run("monday", **regenerating), of_run("tuesday", **regenerating)])

    assert sorted(it.prompt for it in world.paid()) == sorted(PROMPTS * 2)
    assert set(world.pictures) == {it.task_id for it in world.paid()}
