"""Faults around a scenario's processes: at its gateway, before it, at the S3 server, by Airflow or a person."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from faults.gateway_proxy import GatewayProxy, GatewayRule
from services.s3_proxy import S3Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Self

    from faults.fault import Fault
    from faults.gateways import Gateway
    from faults.journal import Journal
    from faults.plan import Scenario
    from services.s3_proxy import S3Proxy

__all__ = ["Surroundings"]

#: Seconds between two questions whether a rule has been followed.
PAUSE = 0.02


class Surroundings:
    """
    Puts a scenario's rules into force, and knows which of them were followed.

    A rule of the gateway may say that it ``kills``: for the length of a ``with`` statement, the process whose paid call
    it holds up is killed as soon as that has arrived.

    :param kill: ends the process that was started last, after some seconds.
    """

    def __init__(
        self, scenario: Scenario, journal: Journal, gateway: Gateway, proxy: S3Proxy, kill: Callable[[float], None]
    ) -> None:
        self._scenario = scenario
        self._journal = journal
        self._gateway = gateway
        self._match = {"prompt": scenario.matching_prompt}
        self._kill = kill
        # The first one never happens: it counts the paid calls that arrive.
        rules = [{"fault": "delay", "on": "submit", "times": 0, "match": self._match}]
        rules += [_without_kills(fault.details) | {"match": self._match} for _, fault in self._faults("gateway")]
        gateway.add_faults(rules)
        self._gateway_rules = {index: GatewayRule(**fault.details) for index, fault in self._faults("proxy")}
        self._gateway_proxy = GatewayProxy(gateway.url, list(self._gateway_rules.values()))
        self._s3_rules = {index: self._s3_rule(fault) for index, fault in self._faults("s3")}
        for rule in self._s3_rules.values():
            proxy.add_rule(rule)
        deadly = [place for place, (_, fault) in enumerate(self._faults("gateway"), 1) if "kills" in fault.details]
        self._is_over = threading.Event()
        self._serving = ExitStack()
        self._killers = [threading.Thread(target=self._kill_by, args=(place,)) for place in deadly]

    @property
    def gateway_url(self) -> str:
        """Address under which the scenario reaches its gateway."""
        return self._gateway_proxy.url if self._gateway_rules else self._gateway.url

    def received(self) -> int:
        """Return how many paid calls have arrived at the gateway, once none is on its way any more."""
        if self._gateway_rules:
            self._gateway_proxy.drain()
        return self._rules()[0]["seen"]

    def happens(self, what: str) -> Mapping[str, Any] | None:
        """Return the details of something that Airflow or the person shall do now, once."""
        for index, fault in self._faults("airflow"):
            if fault.details["what"] == what and index not in self._journal.fired:
                self._journal.fired.add(index)
                return fault.details
        return None

    def forget(self, task_id: str) -> None:
        """Let the gateway not know an id any more."""
        match = {"task_id": task_id}
        self._gateway.add_faults(
            [{"fault": "batch_missing", "match": match}, {"fault": "task_unknown", "match": match}]
        )

    def note_what_happened(self) -> None:
        """Write into the journal which rules were followed."""
        for (index, _), rule in zip(self._faults("gateway"), self._rules()[1:], strict=True):
            if rule["fired"]:
                self._journal.fired.add(index)
        for rules in (self._s3_rules, self._gateway_rules):
            self._journal.fired |= {index for index, rule in rules.items() if rule.fired}

    def __enter__(self) -> Self:
        if self._gateway_rules:
            self._serving.enter_context(self._gateway_proxy)
        for killer in self._killers:
            killer.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over.set()
        for killer in self._killers:
            killer.join()
        self._serving.close()

    def _kill_by(self, place: int) -> None:
        """Kill as soon as a rule has been followed."""
        while not self._is_over.wait(PAUSE):
            if self._rules()[place]["fired"]:
                self._kill(0.0)
                return

    def _s3_rule(self, fault: Fault) -> S3Rule:
        details = dict(fault.details)
        kills_after = details.pop("kills_after", None)
        rule = S3Rule(path=f"/{self._scenario.name}/", **details)
        if kills_after is not None:
            rule.notify = lambda: self._kill(kills_after)
        return rule

    def _rules(self) -> list[dict[str, Any]]:
        return [rule for rule in self._gateway.faults() if rule["match"] == self._match]

    def _faults(self, site: str) -> Iterable[tuple[int, Fault]]:
        return ((index, fault) for index, fault in enumerate(self._scenario.faults) if fault.site == site)


def _without_kills(details: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in details.items() if name != "kills"}
