"""``make faults``: buy and copy pictures while a thousand things go wrong, and count purchases and losses."""

from __future__ import annotations

import argparse
import json
import re
import secrets
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from faults.audit import Audit, Finding, audit, find_secrets, read_purchases
from faults.gateways import Gateways
from faults.journal import Journal, World
from faults.observer import Observer
from faults.plan import Scenario, plan_scenario
from faults.processes import ForkServer
from faults.report import as_json, summary, table_of
from faults.run import ScenarioRun
from rich.console import Console
from services.airflow_home import AirflowHome
from services.s3_proxy import S3Proxy
from services.seaweedfs import SeaweedFS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from types import FrameType

__all__ = ["Campaign", "Result", "campaign", "main"]

BUCKET = "campaign"
BATCH = 40
#: Scenarios at the same time; most of the time they wait.
WIDTH = 8


@dataclass(frozen=True)
class Result:
    """One scenario, what happened in it, and what came of it."""

    scenario: Scenario
    journal: Journal
    finding: Finding
    seconds: float = 0.0

    @property
    def injected(self) -> set[str]:
        """Kinds of the faults that happened, all parts of each."""
        kinds = {fault.kind for fault in self.scenario.faults}
        missed = {fault.kind for i, fault in enumerate(self.scenario.faults) if i not in self.journal.fired}
        return kinds - missed


@dataclass
class Campaign:
    """
    Services that scenarios run against.

    :param violations: promises broken that no single scenario can be blamed for.
    """

    world: World
    gateways: Gateways
    observer: Observer
    secrets: Sequence[str]
    violations: list[str] = field(default_factory=list)

    def run(self, scenarios: Sequence[Scenario]) -> list[Result]:
        """Run scenarios side by side, then look at what was bought and stored."""
        with self.observer, ThreadPoolExecutor(WIDTH) as pool:
            runs = list(pool.map(self._run_one, scenarios))
        stored = self.observer.look()
        sold = {gateway: read_purchases(gateway) for gateway in self.gateways.all()}
        results = []
        for run, seconds in runs:
            scenario = run.scenario
            gateway = self.gateways.of(honours_keys=scenario.honours_keys, speed=scenario.speed)
            facts = Audit(
                scenario=scenario,
                journal=run.journal,
                purchases=[sale for sale in sold[gateway] if re.match(scenario.matching_prompt, sale.prompt)],
                stored=frozenset(digest for key, digest in stored.items() if key.startswith(f"{scenario.name}/")),
                known=_read(run.directory, "*.json", "*.jsonl", "*.history"),
                recorded=_read(run.directory, "state-generate.history"),
                log=_read(run.directory, "*.log"),
            )
            results.append(Result(scenario, run.journal, audit(facts), seconds))
        self._forget()
        return results

    def _run_one(self, scenario: Scenario) -> tuple[ScenarioRun, float]:
        gateway = self.gateways.of(honours_keys=scenario.honours_keys, speed=scenario.speed)
        started_at = time.monotonic()
        run = ScenarioRun(scenario, self.world, gateway)
        try:
            run.run()
        except Exception as error:
            error.add_note(f"This happened in scenario {scenario.index} of seed {scenario.seed}.")
            raise
        return run, time.monotonic() - started_at

    def _forget(self) -> None:
        """Check what concerns all scenarios of a batch, and return to the beginning."""
        self.violations += [f"not a whole picture: {broken}" for broken in self.observer.broken]
        self.observer.broken.clear()
        leaks = find_secrets(self.world.directory, self.secrets)
        self.violations += [f"a secret was written to {path}" for path in leaks]
        for gateway in self.gateways.all():
            if gateway.stats()["image_requests_with_authorization"]:
                self.violations.append("the API key was sent to the image host")
            gateway.reset()
        self.world.proxy.clear_rules()


@contextmanager
def campaign(directory: Path) -> Generator[Campaign]:
    """
    Start everything that a campaign needs, and stop it at the end.

    :param directory: for all state and logs.
    """
    home = AirflowHome(directory / "airflow", dags_folder=directory)
    home.prepare()
    scenarios = directory / "scenarios"
    scenarios.mkdir()
    with ExitStack() as stack:
        s3 = stack.enter_context(SeaweedFS(directory / "s3", buckets=[BUCKET]))
        gateways = stack.enter_context(Gateways(directory / "gateways"))
        proxy = stack.enter_context(S3Proxy(s3.endpoint))
        fork_server = stack.enter_context(ForkServer(home.environment, directory / "fork-server.log"))
        world = World(
            directory=scenarios, fork_server=fork_server, proxy=proxy, bucket=BUCKET, s3_connection=s3.connection
        )
        keys = [s3.secret_key, *(gateway.api_key for gateway in gateways.all())]
        yield Campaign(world=world, gateways=gateways, observer=Observer(s3.client(), BUCKET), secrets=keys)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a campaign, and return 1 where a promise was broken."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(f"seed {seed}")
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="apimart-faults-") as name, campaign(Path(name)) as running:
        results: list[Result] = []
        for batch in _batches(seed, options.only):
            results += running.run(batch)
            injected = sum(len(result.injected) for result in results)
            elapsed = time.monotonic() - started_at
            console.print(f"{len(results)} scenarios, {injected} faults, {elapsed:.0f} s")
            if injected >= options.faults or elapsed > options.minutes * 60:
                break
        if options.only is not None:
            console.print_json(json.dumps(as_json(seed, results, running.violations)["scenarios"]))
            for path in sorted(running.world.directory.rglob("*.log")):
                console.print(path.read_text(), markup=False, soft_wrap=True)
    console.print(table_of(results))
    console.print(summary(seed, results, running, time.monotonic() - started_at), markup=False, soft_wrap=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(as_json(seed, results, running.violations), indent=1))
    failed = running.violations or any(result.finding.violations for result in results)
    return 1 if failed or (options.only is None and injected < options.faults) else 0


def _read(directory: Path, *patterns: str) -> str:
    paths = sorted(path for pattern in patterns for path in directory.glob(pattern))
    return "".join(path.read_text(errors="replace") for path in paths)


def _batches(seed: int, only: Sequence[int] | None) -> Iterable[list[Scenario]]:
    if only:
        yield [plan_scenario(seed, index) for index in only]
        return
    start = 0
    while True:
        yield [plan_scenario(seed, index) for index in range(start, start + BATCH)]
        start += BATCH


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave by all ``with`` statements, so that nothing is left running."""
    sys.exit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="faults.campaign", description=__doc__)
    parser.add_argument("--faults", type=int, default=1500, help="inject at least so many (%(default)s)")
    parser.add_argument("--seed", type=int, help="repeats the plans of a campaign (random)")
    parser.add_argument(
        "--only", type=int, nargs="+", metavar="K", help="run these scenarios only, and tell everything"
    )
    parser.add_argument("--minutes", type=float, default=25, help="begin nothing new after this time (%(default)g)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
