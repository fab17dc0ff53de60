"""What goes wrong around a scenario's processes: at its gateway, at the S3 server, in what Airflow or a person does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.s3_proxy import S3Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from faults.gateways import Gateway
    from faults.journal import Journal
    from faults.kinds import Fault
    from faults.plan import Scenario
    from services.s3_proxy import S3Proxy

__all__ = ["Surroundings"]


class Surroundings:
    """
    Puts a scenario's rules into force, and knows which of them were followed.

    :param kill: ends the process that is copying, after some seconds.
    """

    def __init__(
        self, scenario: Scenario, journal: Journal, gateway: Gateway, proxy: S3Proxy, kill: Callable[[float], None]
    ) -> None:
        self._scenario = scenario
        self._journal = journal
        self._gateway = gateway
        self._match = {"prompt": f"{scenario.prompt}$"}
        # The first one never happens: it counts the paid calls that arrive.
        rules = [{"fault": "delay", "on": "submit", "times": 0, "match": self._match}]
        rules += [{**fault.details, "match": self._match} for _, fault in self._faults("gateway")]
        gateway.add_faults(rules)
        self._s3_rules = {index: self._s3_rule(fault, kill) for index, fault in self._faults("s3")}
        for rule in self._s3_rules.values():
            proxy.add_rule(rule)

    def received(self) -> int:
        """Return how many paid calls have arrived at the gateway."""
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
        self._journal.fired |= {index for index, rule in self._s3_rules.items() if rule.fired}

    def _s3_rule(self, fault: Fault, kill: Callable[[float], None]) -> S3Rule:
        details = dict(fault.details)
        kills_after = details.pop("kills_after", None)
        rule = S3Rule(path=f"/{self._scenario.name}/", **details)
        if kills_after is not None:
            rule.notify = lambda: kill(kills_after)
        return rule

    def _rules(self) -> list[dict[str, Any]]:
        return [rule for rule in self._gateway.faults() if rule["match"] == self._match]

    def _faults(self, site: str) -> Iterable[tuple[int, Fault]]:
        return ((index, fault) for index, fault in enumerate(self._scenario.faults) if fault.site == site)
