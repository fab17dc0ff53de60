"""
No schedule of whole workers buys a picture twice, loses one, or money: random ones, in virtual time.

Workers are siblings, zombies (an old try that lives on when the next begins), successors of killed ones, and other runs
on the same ledger. The gateway honours idempotency keys or ignores them, loses responses, and refuses calls; requests
to the store may take an hour.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from dataset.run.agents import Agent, Stage, stepping
from dataset.run.virtual import BEGIN, PRICE, ModelCopier, World
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from airflow_provider_apimart.dataset.ledger import appends, log, reading
from airflow_provider_apimart.dataset.ledger.ledger import Ledger
from airflow_provider_apimart.dataset.ledger.reading import read_entries
from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.exceptions import (
    ApimartError,
    RateLimitError,
    RecordUnavailableError,
    RequestRejectedError,
    SubmitOutcomeUnknownError,
)
from airflow_provider_apimart.gateway import polling
from airflow_provider_apimart.gateway.task import Submission, Task, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from airflow_provider_apimart.gateway.request import ImageRequest

#: Seconds in which the last workers must have collected everything.
LONG = 3 * 3600.0


@dataclass
class Plan:
    """
    What happens in an example.

    :param faults: shares of lost responses, of responses lost before acceptance, of refusals, of slow requests.
    :param max_cost: of each DAG run.
    """

    seed: int
    honours_keys: bool
    resubmits: bool
    regenerates: bool
    faults: tuple[float, float, float, float]
    max_cost: float | None
    tries: list[Try]


@dataclass(frozen=True)
class Try:
    """
    One try of a task instance.

    :param rows: first and last of its rows.
    :param run: number of its DAG run, and ``sibling`` of the task instance in it.
    :param starts: virtual seconds after the beginning, whoever is still alive then, and ``lives`` how long.
    :param is_clear: whether a person has cleared the task instance before it.
    """

    rows: tuple[int, int]
    run: int
    sibling: int
    starts: float
    lives: float
    is_clear: bool
    may_leave: bool
    in_flight: int

    @property
    def writer(self) -> str:
        return f"{self.run:08}{self.sibling:08}"


@dataclass
class HonestGateway:
    """The gateway of a world, as one worker reaches it: each paid call is a step of its own."""

    world: World
    agent: Agent
    plan: Plan
    random: random.Random
    by_key: dict[str, str]
    known: set[str]
    durations: tuple[float, ...] = (5.0, 40.0, 40.0, 200.0, 900.0)
    flush: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.settings = self.world.gateway.settings

    def pause(self, seconds: float) -> None:
        """Sleep; the ledger's timer writes outcomes meanwhile."""
        with suppress(RecordUnavailableError):
            self.flush()
        self.agent.pause(seconds)

    def submit_many(
        self,
        purchases: Iterable[tuple[ImageRequest, str]],
        *,
        on_unread: Any = None,  # noqa: ARG002 - as the hook's
    ) -> Generator[tuple[int, Any], None, None]:
        # Each is drawn when its turn has come: it says then whether it may still begin.
        for place, (request, key) in enumerate(purchases):
            if seconds := self.random.choice([0.0, 1.0, 5.0, 25.0]):
                self.pause(0.0)
            response = self.agent.step(lambda request=request, key=key: self._submit(request, key), after=seconds)
            if isinstance(response, Submission):
                self.known.update(task.task_id for task in response.tasks)
            yield place, response

    def _submit(self, request: ImageRequest, key: str) -> Any:
        lost, unreceived, refused, _ = self.plan.faults
        drawn = self.random.random()
        if drawn < unreceived:
            return SubmitOutcomeUnknownError("no response")
        if drawn < unreceived + refused:
            return self.random.choice([RateLimitError("slow down", charged="no"), RequestRejectedError("no kites")])
        gateway = self.world.gateway
        task_id = self.by_key.get(key) if self.plan.honours_keys else None
        if task_id is None:
            task_id = f"task_{len(gateway.tasks)}"
            gateway.submits.append((self.world.now(), request.prompt, key))
            duration = self.random.choice(self.durations)
            gateway.tasks[task_id] = (self.world.now(), self.world.now() + duration, request.prompt, PRICE)
            self.by_key[key] = task_id
        if drawn > 1 - lost:
            return SubmitOutcomeUnknownError("the response was lost")
        return Submission((Task(task_id=task_id, status="submitted", state=TaskState.RUNNING),), replayed=False)

    def get_tasks(self, task_ids: Iterable[str]) -> dict[str, Any]:
        return self.agent.step(lambda: self.world.gateway.get_tasks(task_ids))

    def get_price(self, model: str) -> Any:
        return self.world.gateway.get_price(model)


class AtOnce(Executor):
    """Does everything in the thread that asks for it, so that an example is the same each time."""

    def submit(self, work: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(work(*arguments, **named))
        return future


@dataclass
class Theatre:
    """Runs a plan."""

    plan: Plan
    world: World = field(default_factory=World)
    by_key: dict[str, str] = field(default_factory=dict)
    #: Gateway tasks whose acceptance a worker has received.
    known: set[str] = field(default_factory=set)
    numbers: Counter[str] = field(default_factory=Counter)
    max_tries: Counter[str] = field(default_factory=Counter)
    run_began: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.plan.seed)  # noqa: S311 - repeatable

    def perform(self) -> None:
        stage = Stage(self.random, self.world.now, self._move)
        for each in self.plan.tries:
            begins = BEGIN + each.starts
            self.run_began[each.run] = min(begins, self.run_began.get(each.run, begins))
        for each in self.plan.tries:
            begins = BEGIN + each.starts
            stage.start(lambda agent, each=each: self.work(agent, each), at=begins, dies_at=begins + each.lives)
        stage.run()
        # In the end everybody's last tries are left to themselves: what the first of them buys may take too long.
        self.plan.faults = (0.0, 0.0, 0.0, 0.0)
        for _ in range(2):
            self.world.time += LONG
            stage = Stage(self.random, self.world.now, self._move)
            for each in {each.writer: each for each in self.plan.tries}.values():
                stage.start(lambda agent, each=each: self.work(agent, each, is_last=True), at=self.world.time)
            stage.run()

    def _move(self, moment: float) -> None:
        self.world.time = moment

    def work(self, agent: Agent, each: Try, *, is_last: bool = False) -> None:
        self.max_tries[each.writer] += each.is_clear
        max_tries = self.max_tries[each.writer]
        for _ in range(4):
            self.numbers[each.writer] += 1
            number = self.numbers[each.writer]
            try:
                self.one_try(agent, each, number, max_tries, is_last=is_last)
            except ApimartError as error:
                if not error.retryable:
                    return
            else:
                return
            agent.pause(60.0)
            if self.numbers[each.writer] != number:
                return

    def one_try(self, agent: Agent, each: Try, number: int, max_tries: int, *, is_last: bool) -> None:
        slow = 0.0 if is_last else self.plan.faults[3]
        seconds = lambda: self.random.choice([60.0, 400.0, 4000.0]) if self.random.random() < slow else 0.0  # noqa: E731
        began_at = self.world.now()
        hook = HonestGateway(self.world, agent, self.plan, self.random, self.by_key, self.known)
        if is_last:
            hook.durations = (5.0, 40.0)
        while True:
            session = self.world.session(
                [{"id": f"{row}", "prompt": f"picture {row}"} for row in range(*each.rows)],
                began_at=began_at,
                may_leave=each.may_leave,
                writer=each.writer,
                run_id=f"dag/{each.run}",
                try_number=number,
                max_in_flight=each.in_flight,
                max_cost=self.plan.max_cost,
                client=stepping(self.world.s3.client(), agent, seconds),
                hook=hook,
                copier=ModelCopier(self.world.copied),
                held=math.inf,
                max_tries=max_tries,
                run_began_at=self.run_began[each.run],
                on_existing="regenerate" if self.plan.regenerates and each.run else "reuse",
                on_unknown_submit="resubmit" if self.plan.resubmits else "fail",
            )
            hook.flush = session.ledger.flush
            session.pause = hook.pause
            session.collector._pool.shutdown()
            session.collector._pool = AtOnce()  # type: ignore[assignment]
            try:
                session.begin()
                wait = session.work()
            finally:
                session.collector.close()
                session.tally.rows.close()
                session.ledger.close(is_finished=not session.is_waiting)
            if wait is None:
                return
            now = self.world.now()
            ends = sorted(self.world.gateway.tasks[task_id][1] for task_id in wait.task_ids)
            due = wait.wake_at if not ends else min(wait.wake_at, max(ends[0], now) + wait.linger, ends[-1])
            agent.pause(max(now + 10.0, min(due, wait.deadline)) + 8.0 - now)

    def check(self) -> None:
        tasks = self.world.gateway.tasks
        store = LedgerStore(self.world.s3.client(), "bucket", "prefix", clock=self.world.now)
        index = Ledger.open(store, writer="reader", try_number=1, warn=print).index
        bought = Counter(prompt for _, _, prompt, _ in tasks.values())
        runs = {each.run for each in self.plan.tries}
        most = len(runs) if self.plan.regenerates else 1
        if self.plan.honours_keys or not self.plan.resubmits:
            assert max(bought.values(), default=0) <= most, bought
        still_open = {task_id for entry in index.open_entries() for task_id in entry.task_ids}
        assert not still_open, f"{still_open} was never collected"
        copied = {uri.removeprefix("s3://bucket/") for uri in self.world.copied}
        if all(each.lives > LONG for each in self.plan.tries):
            assert copied >= self.known, "an acceptance was forgotten"
        accounts = index.accounts()
        assert float(sum(account.spent for account in accounts)) == pytest.approx(PRICE * len(copied))
        assert sum(account.pictures for account in accounts) == len(copied)
        if self.plan.max_cost is not None and not self.plan.resubmits:
            for run in {each.run for each in self.plan.tries}:
                spent = sum(account.spent for account in index.accounts(run_id=f"dag/{run}"))
                assert float(spent) <= self.plan.max_cost + 1e-9
        named = {task_id for entry in read_entries(store) for task_id in entry.task_ids}
        if self.plan.honours_keys or not self.plan.resubmits:
            # The table has one line for each purchase; a gateway that ignores keys may have accepted one twice.
            assert named == copied
        event(f"{len(tasks)} bought, {len(self.known - copied)} with a killed worker")


tries = st.builds(
    Try,
    rows=st.tuples(st.integers(0, 3), st.integers(4, 8)),
    run=st.integers(0, 1),
    sibling=st.integers(0, 1),
    starts=st.sampled_from([0.0, 0.0, 1.0, 10.0, 60.0, 300.0, 900.0, 2000.0]),
    lives=st.sampled_from([0.5, 5.0, 30.0, 300.0, 1e9, 1e9, 1e9]),
    is_clear=st.booleans(),
    may_leave=st.booleans(),
    in_flight=st.sampled_from([2, 4, 200]),
)
plans = st.builds(
    Plan,
    seed=st.integers(0, 2**32),
    honours_keys=st.booleans(),
    resubmits=st.booleans(),
    regenerates=st.booleans(),
    faults=st.sampled_from([(0.0, 0.0, 0.0, 0.0), (0.1, 0.0, 0.0, 0.0), (0.1, 0.1, 0.1, 0.0), (0.1, 0.0, 0.1, 0.05)]),
    max_cost=st.sampled_from([None, None, 0.03, 0.055]),
    tries=st.lists(tries, min_size=1, max_size=5),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=plans)
def test_no_schedule_buys_twice_or_loses_anything(plan: Plan) -> None:
    theatre = Theatre(plan)

    with pytest.MonkeyPatch.context() as patch:
        # An example must be the same each time: no threads of its own, and no chance that hypothesis does not draw.
        for module in (log, reading):
            patch.setattr(module, "_AT_ONCE", 1)
        patch.setattr(polling, "JITTER", 0.0)
        for module in (appends, log):
            patch.setattr(module, "uuid", SimpleNamespace(uuid4=lambda: UUID(int=theatre.random.getrandbits(128))))
        theatre.perform()

    theatre.check()
