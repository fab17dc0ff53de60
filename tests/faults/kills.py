"""Where the workers of a dataset are killed: just before or after something that can be seen outside. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.s3_proxy import Action

__all__ = ["DURING_A_READ", "KINDS", "Kill", "plan_kills", "plan_stops"]

Site = Literal["gateway", "s3", "clock"]


@dataclass(frozen=True)
class Kill:
    """
    One SIGKILL.

    :param kind: as reports call it.
    :param site: whose requests are counted; ``clock`` for a moment that no request stands for.
    :param path: text that the path of the request must hold.
    :param action: ``cut_before`` the request arrives, ``cut_midway``, or ``cut_after``, with all done but the answer.
    :param skip: such requests, or processes, that pass first, from the beginning of the task on.
    :param seconds: by the clock, after the start of that process; or after the start of the process that follows one
        that is stopped, until that works on.
    :param is_stop: SIGSTOP instead, and SIGCONT later.
    """

    kind: str
    site: Site
    method: str = ""
    path: str = ""
    action: Action = "pass"
    skip: int = 0
    seconds: float = 0.0
    is_stop: bool = False


@dataclass(frozen=True)
class _Kind:
    """
    Kills of one kind.

    :param per_call: such requests that there are for sure, for each paid call of the dataset.
    """

    name: str
    site: Site
    method: str
    path: str
    actions: Sequence[Action]
    per_call: float

    def draw(self, random: Random, calls: int) -> Kill:
        skip = random.randint(0, int(self.per_call * calls))
        seconds = round(random.uniform(0.0, 0.3), 3) if self.site == "clock" else 0.0
        return Kill(self.name, self.site, self.method, self.path, random.choice(self.actions), skip, seconds)


_BOTH: Final = ("cut_before", "cut_after")
_ALL: Final = ("cut_before", "cut_midway", "cut_after")

#: All that a worker does outside.
KINDS: Final = (
    _Kind("paid call", "gateway", "POST", "/images/generations", _BOTH, 0.9),
    _Kind("question after tasks", "gateway", "POST", "/tasks/batch", _BOTH, 0.1),
    _Kind("download", "gateway", "GET", "/f/image/", _BOTH, 0.9),
    _Kind("store is probed", "s3", "PUT", "/ledger/probe", _BOTH, 0.0),
    _Kind("ledger is listed", "s3", "GET", "list-type=2", _BOTH, 0.02),
    _Kind("ledger is read", "s3", "GET", "/ledger/log/", _BOTH, 0.05),
    _Kind("log is appended to", "s3", "PUT", "/ledger/log/", _ALL, 0.06),
    _Kind("rows are stored", "s3", "PUT", "/ledger/inputs/", _ALL, 0.0),
    _Kind("rows are read", "s3", "GET", "/ledger/inputs/", _BOTH, 0.0),
    _Kind("picture is looked for", "s3", "HEAD", "/images/", _BOTH, 0.9),
    _Kind("picture is written", "s3", "PUT", "/images/", _ALL, 0.9),
    _Kind("table is written", "s3", "PUT", "/ledger/ledger.jsonl.gz", _ALL, 0.0),
    _Kind("checkpoint is written", "s3", "PUT", "/ledger/checkpoints/", _ALL, 0.0),
    _Kind("manifest is written", "s3", "PUT", "/ledger/manifests/", _ALL, 0.0),
    _Kind("random moment", "clock", "", "", ("pass",), 0.05),
)
#: Requests of a kind for each paid call, from which on it comes in the middle of the work.
_OFTEN: Final = 0.05
#: Happens to every worker, also to one that finds nothing to do.
DURING_A_READ: Final = Kill("ledger is read once more", "s3", "GET", "list-type=2", "cut_after")


def plan_stops(seed: int, count: int, *, calls: int) -> list[Kill]:
    """
    Return moments at which a worker is stopped and taken for dead, to work on beside its successor.

    :param calls: how many paid calls the dataset takes: the moments are spread over them.
    """
    random = Random(seed)  # noqa: S311 - repeatable, not secret
    places = random.choices([kind for kind in KINDS if kind.per_call >= _OFTEN and kind.site != "clock"], k=count)
    return [
        replace(kind.draw(random, calls), action="pass", is_stop=True, seconds=round(random.uniform(0.0, 1.5), 3))
        for kind in places
    ]


def plan_kills(seed: int, count: int, *, calls: int) -> list[Kill]:
    """
    Return kills, of all kinds in turn.

    :param calls: how many paid calls the dataset takes: the kills are spread over them.
    """
    random = Random(seed)  # noqa: S311 - repeatable, not secret
    order = random.sample(KINDS, len(KINDS))
    return [order[number % len(order)].draw(random, calls) for number in range(count)]
