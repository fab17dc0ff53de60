"""One scenario from its start to its end, as Airflow's scheduler, its triggerer and a person drive it."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

from faults.journal import UNKNOWN, Journal
from faults.surroundings import Surroundings
from faults.tries import Tries
from services.waiting import ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from faults.gateways import Gateway
    from faults.journal import Outcome, World
    from faults.plan import Scenario

__all__ = ["ScenarioRun"]

#: Times that a person clears a task whose outcome is not known.
CLEARS = 2
#: What a try may come to that tells nothing of an earlier one.
SILENT = frozenset({"died", "raced"})
#: Arguments of a trigger that are Unix seconds by the worker's clock.
WALL_CLOCK = frozenset({"deadline", "first_look"})
#: Airflow's reasons for a deferral that it fails itself.
REASONS = {"trigger_fails": "Trigger failure", "deferral_times_out": "Trigger timeout"}


class ScenarioRun:
    """
    Runs one scenario.

    :param gateway: the one that it buys from.
    """

    def __init__(self, scenario: Scenario, world: World, gateway: Gateway) -> None:
        self.scenario = scenario
        self.journal = Journal()
        self._tries = Tries(scenario, self.journal, world, gateway, lambda: self._surroundings.gateway_url)
        self._surroundings = Surroundings(scenario, self.journal, gateway, world.proxy, self._tries.kill_latest)
        self._happens = self._surroundings.happens
        self.directory = self._tries.directory

    def run(self) -> None:
        """Run it to its end, and write the journal."""
        try:
            with self._surroundings:
                self.journal.final = self._run()
        except ServiceError as error:
            self.journal.violations.append(str(error))
        self._surroundings.note_what_happened()
        self._tries.note_what_happened()

    def _run(self) -> Outcome:
        while True:
            outcome = self._generate()
            if outcome["kind"] != "returned" or not self.scenario.copies:
                return outcome
            if self._happens("clear_finished"):
                self._tries.clear()
                continue
            outcome = self._copy(outcome["value"])
            is_cleared = outcome["kind"] == "cleared" or (
                outcome["kind"] == "returned" and self._happens("clear_copied")
            )
            if not is_cleared:
                return outcome
            self._tries.clear()

    def _generate(self) -> Outcome:
        """Try until the image task succeeds or fails for good; a person clears what failed as unknown."""
        while True:
            outcome = self._try()
            if outcome["kind"] == "returned":
                return outcome
            if outcome["kind"] == "died":
                self._tries.let_heartbeat_time_out()
            if outcome["kind"] == "cleared" or (outcome["kind"] == "died" and self._happens("clear_crashed")):
                self._tries.clear()
            elif self._is_retried("generate", outcome):
                continue
            elif outcome.get("type") == UNKNOWN and len(self.journal.clears) < CLEARS:
                self._try_in_vain()
                self._tries.let_heartbeat_time_out()
                self._tries.clear()
            else:
                return outcome

    def _copy(self, value: Any) -> Outcome:
        """Copy what was bought: in one task instance, or in one for each gateway task, all at the same time."""
        sources = {-1: value}
        if self._happens("collision"):
            sources = dict(enumerate(value["task_ids"]))
        failed: list[Outcome] = []
        while sources:
            self._tries.begin("copy")
            started = {i: self._tries.start("copy", "copy", map_index=i, source=sources[i]) for i in sources}
            outcomes = {i: self._tries.finish(copy) for i, copy in started.items()}
            if any(outcome["kind"] == "died" for outcome in outcomes.values()) and self._happens("clear_copying"):
                return {"kind": "cleared"}
            raised = {i: outcome for i, outcome in outcomes.items() if outcome["kind"] != "returned"}
            sources = {i: sources[i] for i, outcome in raised.items() if self._is_retried("copy", outcome)}
            failed += [outcome for i, outcome in raised.items() if i not in sources]
        return _all_of(failed)

    def _is_retried(self, task_id: str, outcome: Outcome) -> bool:
        return outcome.get("retry", True) and self._tries.are_left(task_id)

    def _try_in_vain(self) -> None:
        """Try once more, though Airflow would not: nothing may be sent before the person clears the task."""
        received = self._surroundings.received()
        outcome = self._try()
        if self._surroundings.received() != received and self.scenario.on_unknown_submit == "fail":
            self.journal.violations.append("a paid call was sent after the outcome of another was unknown")
        if outcome["kind"] not in SILENT and outcome.get("type") not in {UNKNOWN, "RecordUnavailableError"}:
            self.journal.violations.append(f"an unknown outcome was forgotten: {outcome}")

    def _try(self) -> Outcome:
        self._tries.begin("generate")
        started = self._tries.start("execute", "generate")
        if self._tries.falls_asleep(started):
            # Airflow takes it for dead. It wakes up when the next try has done its work.
            next_one = self._try()
            started.child.send(signal.SIGCONT)
            self._tries.finish(started)
            return next_one
        outcome = self._tries.finish(started)
        return self._wait(outcome) if outcome["kind"] == "deferred" else outcome

    def _wait(self, deferred: Outcome) -> Outcome:
        """Return the outcome of a try that has deferred, as often as it defers again."""
        outcome = self._wait_once(deferred)
        return self._wait(outcome) if outcome["kind"] == "deferred" else outcome

    def _wait_once(self, deferred: Outcome) -> Outcome:
        if self._happens("forget_one"):
            self._surroundings.forget(deferred["arguments"]["task_ids"][0])
        if details := self._happens("race_waiting"):
            time.sleep(details["seconds"])
            return {"kind": "raced"}
        if details := self._happens("clear_waiting"):
            self._tries.run("trigger", "generate", **_order(deferred), cancel_after=details["seconds"])
            return {"kind": "cleared"}
        for what, reason in REASONS.items():
            if details := self._happens(what):
                time.sleep(details["seconds"])
                return self._resume("__fail__", {"error": reason})
        if self._happens("late"):
            deferred = {**deferred, "arguments": {**deferred["arguments"], "deadline": time.time()}}
        if details := self._happens("skewed_worker"):
            deferred = {**deferred, "arguments": _shifted(deferred["arguments"], details["seconds"])}
        event = self._trigger(deferred)
        if event["kind"] == "failed":
            return self._resume("__fail__", {"error": REASONS["trigger_fails"]})
        if self._happens("race_queued"):
            return {"kind": "raced"}
        outcome = self._resume(deferred["method"], {**deferred["more"], "event": event["event"]})
        return {"kind": "raced"} if self._happens("race_resuming") else outcome

    def _resume(self, method: str, arguments: Mapping[str, Any]) -> Outcome:
        return self._tries.run("resume", "generate", resume=[method, arguments])

    def _trigger(self, deferred: Outcome) -> Outcome:
        """Run the trigger until it fires, wherever and however often that takes."""
        order = _order(deferred)
        if details := self._happens("restart"):
            self._tries.run("trigger", "generate", **order, cancel_after=details["seconds"])
        outcome: Outcome = {"kind": "died"}
        if self._happens("duplicate"):
            both = [self._tries.start("trigger", "generate", **order) for _ in range(2)]
            outcomes = [self._tries.finish(started) for started in both]
            outcome = next((fired for fired in outcomes if fired["kind"] != "died"), outcome)
        while outcome["kind"] == "died":
            outcome = self._tries.run("trigger", "generate", **order)
        return outcome


def _shifted(arguments: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Return a trigger's arguments as a worker makes them whose clock is so many seconds ahead."""
    return {
        name: value + seconds if name in WALL_CLOCK and value is not None else value
        for name, value in arguments.items()
    }


def _order(deferred: Outcome) -> dict[str, Any]:
    return {"trigger": deferred["trigger"], "arguments": deferred["arguments"]}


def _all_of(failed: Sequence[Outcome]) -> Outcome:
    """Return one outcome for all instances of a mapped task."""
    if not failed:
        return {"kind": "returned"}
    return {**failed[0], "message": "\n".join(str(outcome.get("message")) for outcome in failed)}
