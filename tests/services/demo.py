"""``make demo``: the shipped example with mapped prompts, through a real Airflow, into a real S3 server."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote

from rich.console import Console

from services.demo_services import PARTS, DemoServices, demo_services
from services.pictures import describe, pictures_of, table_of, total_cost, verify
from services.progress import Progress
from services.waiting import ServiceError

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from services.dag_run import DagRun

__all__ = ["main"]

DIRECTORY = Path(__file__).parents[2] / ".demo"
DAG_ID = "apimart_mapped_prompts"
# A table in a log file need not be squeezed into the 80 columns that an unknown terminal is taken for.
LOG_FILE_WIDTH = 200
INTERRUPTED = 130


def main() -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(prog="services.demo", description=__doc__)
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="state and logs; wiped at the start")
    directory = parser.parse_args().directory.resolve()
    keep_open = sys.stdout.isatty() and os.environ.get("ONCE", "0") in {"", "0"}
    console = Console(width=None if sys.stdout.isatty() else LOG_FILE_WIDTH, highlight=False)
    # A shell that starts this in the background has Ctrl-C ignored, and a hang-up or a kill should clean up too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    try:
        with _fresh(directory):
            _demonstrate(directory, console, keep_open=keep_open)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - whatever it was, the user wants to know where to look.
        if not isinstance(error, ServiceError):
            console.print_exception()
        console.print(f"The demo failed: {error}\nAll logs are under {directory}", markup=False, soft_wrap=True)
        return 1
    return 0


def _demonstrate(directory: Path, console: Console, *, keep_open: bool) -> None:
    progress = Progress(console)
    with demo_services(directory, progress) as services:
        run = _generate(services, console, progress)
        home = services.airflow.home
        gallery = f"/dags/{run.dag_id}/runs/{quote(run.run_id)}/plugin/apimart-images-run"
        console.print(f"Look at them: {home.url}{gallery}", soft_wrap=True)
        console.print(f"Airflow: {home.url}  user: {home.username}  password: {home.password}", soft_wrap=True)
        if keep_open:
            console.print("Airflow stays open until Ctrl-C.")
            _stay(services)


def _generate(services: DemoServices, console: Console, progress: Progress) -> DagRun:
    api = services.airflow.api
    with progress.stage(f"Running the DAG {DAG_ID}") as tell:
        api.wait_for_dag(DAG_ID)
        run = api.trigger(DAG_ID)

        def look() -> None:
            services.require_alive()
            tell(describe(run))

        run.wait(while_waiting=look)
    pictures = pictures_of(run)
    verify(pictures, services.s3.client())
    cost = total_cost(pictures)
    console.print(table_of(pictures))
    console.print(
        f"{len(pictures)} pictures, all of them in S3. Total cost: {'unknown' if cost is None else f'{cost} USD'}"
    )
    return run


def _stay(services: DemoServices) -> None:
    try:
        while True:
            services.require_alive()
            time.sleep(1)
    except KeyboardInterrupt:
        return


@contextmanager
def _fresh(directory: Path) -> Generator[None]:
    """Remove what an earlier demo has left in the directory, unless one is at work in it."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceError(f"Another demo is running in {directory}.") from None
        for part in PARTS:
            shutil.rmtree(directory / part, ignore_errors=True)
        yield


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
