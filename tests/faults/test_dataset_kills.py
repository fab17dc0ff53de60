"""A dataset whose workers are killed: each row is bought once, each picture copied once, the ledger knows of all."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from faults.dataset_audit import UNKNOWN, Books
from faults.dataset_clock import DatasetClock
from faults.dataset_rows import call_count, lines_of, pictures_of, some_rows, write_rows
from faults.dataset_task import DatasetTask, Shop
from faults.gateways import FAST, Gateway
from faults.kills import KINDS, Kill, plan_kills, plan_stops
from faults.processes import ForkServer
from services.airflow_home import AirflowHome

from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.dataset.ledger.verdicts import decide_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from faults.dataset_rows import Row
    from mypy_boto3_s3 import S3Client
    from services.seaweedfs import SeaweedFS

    OpenShop = Callable[..., Shop]
    ReadBooks = Callable[[Shop], Books]

PREFIX = "pictures"
#: A picture takes about 0.3 s, so that tasks wait for some and find others finished.
MODERATE = 40.0
#: Paid calls that are intended, and submitted, together: as many may be left without an outcome by one kill.
GROUP = 16
#: Rows whose first picture fails and costs nothing.
FAILING = (7, 42, 99)


@pytest.fixture(scope="module")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    directory = tmp_path_factory.mktemp("processes")
    home = AirflowHome(directory / "airflow", dags_folder=directory)
    home.prepare()
    with ForkServer(home.environment, directory / "fork-server.log") as server:
        yield server


@pytest.fixture
def open_shop(fork_server: ForkServer, s3_server: SeaweedFS, bucket: str, tmp_path: Path) -> Iterator[OpenShop]:
    with ExitStack() as stack:

        def opened(*, honours_keys: bool, speed: float = MODERATE) -> Shop:
            gateway = stack.enter_context(Gateway(tmp_path / "gateway", speed=speed, honours_keys=honours_keys))
            gateway.add_faults(
                [{"fault": "task_failed", "times": 1, "match": {"prompt": f"picture {number}$"}} for number in FAILING]
            )
            return Shop(tmp_path, fork_server, gateway, s3_server.connection, bucket, DatasetClock(tmp_path / "clock"))

        yield opened


@pytest.fixture
def read_books(s3_server: SeaweedFS) -> ReadBooks:
    def read(shop: Shop) -> Books:
        books = Books.read(shop, s3_server.client(), PREFIX)
        print(books.summary())  # noqa: T201
        return books

    return read


@pytest.fixture
def seed() -> int:
    """Where a test fails, pytest shows it. ``FAULTS_SEED`` repeats the plan."""
    drawn = int(os.environ.get("FAULTS_SEED") or secrets.randbelow(10**6))
    print(f"seed {drawn}")  # noqa: T201
    return drawn


def task(shop: Shop, rows: Sequence[Row], name: str, *, kills: Sequence[Kill] = (), **parameters: Any) -> DatasetTask:
    """Return the task of the DAG run ``name`` that buys rows."""
    dataset = shop.directory / f"{name}-{len(list(shop.directory.iterdir()))}.jsonl"
    write_rows(dataset, rows)
    where = {"s3_bucket": shop.bucket, "s3_prefix": PREFIX}
    everything = {"prompts": str(dataset), "size": "256x256", **where, **parameters}
    map_index = parameters["shard"][0] if "shard" in parameters else -1
    return DatasetTask(shop, dataset.stem, everything, kills=kills, run_id=name, map_index=map_index)


def test_each_row_is_bought_once_and_copied_once(open_shop: OpenShop, read_books: ReadBooks, seed: int) -> None:
    shop, rows = open_shop(honours_keys=True), some_rows(140)
    kills = plan_kills(seed, 20, calls=call_count(rows))

    with task(shop, rows, "run", kills=kills, max_in_flight=16, on_unknown_submit="resubmit") as buyer:
        result = buyer.run()["value"]

    books = read_books(shop)
    assert len(buyer.killed) == 20
    assert books.bought() == pictures_of(rows)
    assert len(books.sold) == len(books.charged) + len(FAILING)
    assert books.stored_pictures() == books.paid_pictures()
    assert set(buyer.pictures_written().values()) == {1}
    assert books.lines() == lines_of(rows)
    assert books.statuses() == {"copied": len(books.charged)}
    assert books.noted_pictures() == books.pictures
    assert books.is_merged
    assert (result["total"], result["done"], result["failed"]) == (len(books.charged), len(books.charged), 0)
    assert (result["bought"], result["cost"]) == (len(books.charged), pytest.approx(books.cost))
    assert {picture["uri"].rpartition("/")[2] for picture in result["objects"]} == set(books.pictures)


def decide_unknown(shop: Shop, client: S3Client, books: Books) -> None:
    """Do what a person does who finds each call of unknown outcome in the vendor's console, or does not."""
    sold = {task["idempotency_key"]: task["id"] for task in books.sold}
    store = LedgerStore(client, shop.bucket, PREFIX, clock=shop.clock.now)
    for line in books.unknown:
        task_id = sold.get(line["idempotency_key"])
        if task_id:
            decide_rows(store, [line["id"]], "bought", task_id=task_id, first=line["first"])
        else:
            decide_rows(store, [line["id"]], "not-bought", first=line["first"])


def test_a_gateway_that_ignores_keys_sells_nothing_twice(
    open_shop: OpenShop, read_books: ReadBooks, s3_server: SeaweedFS, seed: int
) -> None:
    shop, rows = open_shop(honours_keys=False), some_rows(200)
    kills = plan_kills(seed, 20, calls=call_count(rows) // 2)

    with task(shop, rows, "run", kills=kills, max_in_flight=40) as buyer:
        outcome = buyer.run()

    books = read_books(shop)
    assert len(buyer.killed) == 20
    assert books.sold_twice() == []
    assert books.bought() <= pictures_of(rows)
    assert books.lines() == lines_of(rows)
    assert books.statuses().keys() <= {"copied", *UNKNOWN}
    assert 0 < len(books.unknown) <= GROUP * len(buyer.killed)
    assert books.unaccounted() == []
    assert books.noted_pictures() == books.pictures
    assert books.is_merged
    assert outcome["type"] == "IncompleteDatasetError"
    assert f"{len(books.unknown)} of {len(books.table)} rows have no picture" in outcome["message"]

    decide_unknown(shop, s3_server.client(), books)
    with task(shop, rows, "next", max_in_flight=40) as buyer:
        assert buyer.run()["kind"] == "returned"

    books = read_books(shop)
    assert books.sold_twice() == []
    assert books.bought() == pictures_of(rows)
    assert books.stored_pictures() == books.paid_pictures()
    assert books.unaccounted() == []


@pytest.mark.parametrize(
    ("honours_keys", "on_unknown_submit"),
    [
        pytest.param(True, "resubmit", id="submitting again"),
        pytest.param(False, "fail", id="giving up what is unknown"),
    ],
)
def test_two_runs_of_two_shards_at_once_buy_no_row_twice(
    open_shop: OpenShop, read_books: ReadBooks, seed: int, *, honours_keys: bool, on_unknown_submit: str
) -> None:
    shop, rows = open_shop(honours_keys=honours_keys), some_rows(110)
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        buyers = []
        for number, (run, index) in enumerate([("first", 0), ("first", 1), ("second", 0), ("second", 1)]):
            kills = plan_kills(seed + number, 4, calls=call_count(rows) // 4)
            parameters = {"shard": (index, 2), "max_in_flight": 12, "on_unknown_submit": on_unknown_submit}
            buyers.append(stack.enter_context(task(shop, rows, run, kills=kills, **parameters)))
        outcomes = list(pool.map(DatasetTask.run, buyers))

    books = read_books(shop)
    assert [len(buyer.killed) for buyer in buyers] == [4] * 4
    assert books.sold_twice() == []
    assert books.bought() <= pictures_of(rows)
    assert books.lines() == lines_of(rows)
    assert books.unaccounted() == []
    assert books.noted_pictures() == books.pictures
    assert books.is_merged
    if on_unknown_submit == "resubmit":
        assert books.bought() == pictures_of(rows)
        assert sum(outcome["value"]["bought"] for outcome in outcomes) == len(books.charged)
    else:
        assert books.statuses().keys() <= {"copied", *UNKNOWN}


@pytest.mark.parametrize(
    ("honours_keys", "on_unknown_submit"),
    [pytest.param(True, "resubmit", id="submitting again"), pytest.param(False, "fail", id="giving up")],
)
def test_a_worker_that_works_on_beside_its_successor_buys_nothing_twice(
    open_shop: OpenShop, read_books: ReadBooks, seed: int, *, honours_keys: bool, on_unknown_submit: str
) -> None:
    shop, rows = open_shop(honours_keys=honours_keys), some_rows(140)
    stops = plan_stops(seed, 3, calls=call_count(rows))

    with task(shop, rows, "run", kills=stops, max_in_flight=32, on_unknown_submit=on_unknown_submit) as buyer:
        buyer.run()
        # A worker may have received responses after its successor had given its calls up.
        buyer.clear()
        buyer.run()

    books = read_books(shop)
    assert len(buyer.stopped) == 3
    assert books.sold_twice() == []
    assert books.bought() <= pictures_of(rows)
    assert books.lines() == lines_of(rows)
    assert books.unaccounted() == []
    assert books.noted_pictures() == books.pictures
    assert books.is_merged
    assert len(books.unknown) <= GROUP * len(buyer.stopped)
    if on_unknown_submit == "resubmit":
        assert books.bought() == pictures_of(rows)
        assert books.stored_pictures() == books.paid_pictures()


def test_a_run_that_buys_anew_does_so_once(open_shop: OpenShop, read_books: ReadBooks, seed: int) -> None:
    shop, rows = open_shop(honours_keys=True), some_rows(100)
    with task(shop, rows, "first", on_unknown_submit="resubmit") as buyer:
        buyer.run()
    shop.gateway.reset()

    kills = plan_kills(seed, 8, calls=call_count(rows))
    parameters = {"on_existing": "regenerate", "on_unknown_submit": "resubmit", "max_in_flight": 16}
    with task(shop, rows, "second", kills=kills, **parameters) as buyer:
        assert buyer.run()["kind"] == "returned"
        buyer.clear()
        assert buyer.run()["kind"] == "returned"

    books = read_books(shop)
    assert len(buyer.killed) == 8
    assert books.bought() == pictures_of(rows)
    assert books.stored_pictures().total() == 2 * books.paid_pictures().total()
    assert books.lines() == lines_of(rows) + lines_of(rows)
    assert Counter(line["generation"] for line in books.table) == {0: call_count(rows), 1: call_count(rows)}


def test_a_changed_dataset_buys_what_was_changed(open_shop: OpenShop) -> None:
    shop = open_shop(honours_keys=True, speed=FAST)
    rows = [{"id": f"row-{number}", "prompt": f"one of many, {number}"} for number in range(2000)]
    edited = {number: {**rows[number], "prompt": f"another one, {number}"} for number in range(50, 2000, 100)}
    changed = [edited.get(number, row) for number, row in enumerate(rows)]

    def bought(run: str, dataset: Sequence[Row]) -> Counter[str]:
        shop.gateway.reset()
        with task(shop, dataset, run) as buyer:
            assert buyer.run()["kind"] == "returned"
        return Counter(sold["prompt"] for sold in shop.gateway.tasks())

    assert bought("first", rows) == pictures_of(rows)
    assert bought("second", changed) == pictures_of(list(edited.values()))
    assert len(edited) == 20
    assert bought("third", changed) == Counter()


def test_a_row_that_is_refused_after_a_crash_does_not_keep_the_others_from_being_bought(
    open_shop: OpenShop, read_books: ReadBooks
) -> None:
    shop, rows = open_shop(honours_keys=True, speed=FAST), some_rows(40)
    shop.gateway.add_faults([{"fault": "refuse", "on": "submit", "status": 400, "match": {"prompt": "picture 5$"}}])
    kill = Kill("paid call", "gateway", "POST", "/images/generations", "cut_before")

    with task(shop, rows, "run", kills=[kill], max_in_flight=10, on_unknown_submit="resubmit") as buyer:
        outcome = buyer.run()

    books = read_books(shop)
    assert books.bought() == pictures_of([row for row in rows if row["prompt"] != "picture 5"])
    assert books.statuses()["copied"] == call_count(rows) - 1
    assert outcome["type"] == "IncompleteDatasetError"


def test_a_worker_that_dies_while_it_copies_leaves_no_call_of_unknown_outcome(
    open_shop: OpenShop, read_books: ReadBooks
) -> None:
    shop = open_shop(honours_keys=False, speed=FAST)
    # No row is bought again after a failure, so that all calls have been accepted when copying begins.
    rows = [row for row in some_rows(12) if row["prompt"] != f"picture {FAILING[0]}"]
    kill = Kill("picture is written", "s3", "PUT", "/images/", "cut_after")

    with task(shop, rows, "run", kills=[kill]) as buyer:
        assert buyer.run()["kind"] == "returned"

    books = read_books(shop)
    assert buyer.killed == [kill]
    assert books.bought() == pictures_of(rows)
    assert books.statuses() == {"copied": call_count(rows)}
    assert books.stored_pictures() == books.paid_pictures()
    assert books.unaccounted() == []


def test_a_call_without_an_answer_is_accounted_for_although_its_row_has_left_the_dataset(
    open_shop: OpenShop, read_books: ReadBooks
) -> None:
    shop, rows = open_shop(honours_keys=True, speed=FAST), some_rows(20)
    kill = Kill("paid call", "gateway", "POST", "/images/generations", "cut_after", skip=3)

    with task(shop, rows, "run", kills=[kill], max_in_flight=10, on_unknown_submit="resubmit") as buyer:
        buyer._try()
        write_rows(Path(buyer.parameters["prompts"]), [{**row, "prompt": f"new {row['prompt']}"} for row in rows])
        buyer.run()

    assert read_books(shop).unaccounted() == []


def test_a_row_that_is_bought_twice_is_seen(open_shop: OpenShop, read_books: ReadBooks) -> None:
    """A gateway that ignores the key is one that a call must not be sent to again."""
    shop, rows = open_shop(honours_keys=False, speed=FAST), some_rows(20)
    kill = Kill("paid call", "gateway", "POST", "/images/generations", "cut_after")

    with task(shop, rows, "run", kills=[kill], on_unknown_submit="resubmit") as buyer:
        assert buyer.run()["kind"] == "returned"

    books = read_books(shop)
    assert buyer.killed == [kill]
    assert books.sold_twice() != []
    assert not books.bought() <= pictures_of(rows)
    assert books.unaccounted() != []
    assert books.stored_pictures() < books.paid_pictures()


class TestAPlan:
    def test_is_the_same_for_the_same_seed(self) -> None:
        assert plan_kills(7, 50, calls=100) == plan_kills(7, 50, calls=100)
        assert plan_kills(7, 50, calls=100) != plan_kills(8, 50, calls=100)

    def test_takes_every_kind_in_turn(self) -> None:
        kinds = Counter(kill.kind for kill in plan_kills(7, 2 * len(KINDS), calls=100))

        assert set(kinds.values()) == {2}
