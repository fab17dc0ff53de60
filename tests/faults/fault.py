"""Faults and their kinds: what a fault is, and the functions that make a kind of each site."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from random import Random

__all__ = [
    "DOWNLOADED",
    "AnyOf",
    "Fault",
    "Kind",
    "at_image",
    "at_purchase",
    "at_query",
    "at_s3",
    "at_submit",
    "by_airflow",
    "in_between",
    "kill",
    "kill_at_random",
    "rendering",
    "reshaped",
]

Site = Literal["gateway", "proxy", "s3", "execute", "trigger", "resume", "copy", "airflow"]


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One thing that goes wrong.

    :param kind: name of its row in the table.
    :param site: at the gateway, in the proxy before it, at the S3 server, in the process of a segment, or in what
        Airflow or a person does.
    :param details: a rule of the simulator or of a proxy, a point in a process, or words for the driver.
    :param occurrence: which process of that segment is meant, counted over all tries.
    :param ends_purchase: whether what was bought cannot be had any more, so that a clear may buy it again.
    """

    kind: str
    site: Site
    details: Mapping[str, Any]
    occurrence: int = 1
    ends_purchase: bool = False


@dataclass(frozen=True)
class Kind:
    """
    One row of the table.

    :param site: of its faults.
    :param details: draws them, given the number of parts of the request, and of the groups that are bought at a time.
    :param needs: what a scenario must be like for the fault to be possible.
    :param ends_purchase: of its faults.
    """

    name: str
    site: Site
    details: Callable[[Random, int, int], list[dict[str, Any]]]
    needs: Mapping[str, Any] = field(default_factory=dict)
    ends_purchase: bool = False

    def faults(self, random: Random, *, parts: int, groups: int, occurrence: int = 1) -> list[Fault]:
        """Return the faults of this kind for one scenario."""
        drawn = self.details(random, parts, groups)
        return [
            Fault(self.name, details.pop("site", self.site), details, occurrence, self.ends_purchase)
            for details in drawn
        ]

    def combines_with(self, other: Kind) -> bool:
        """Return whether both can be in one scenario."""
        agree = all(other.needs.get(name, value) == value for name, value in self.needs.items())
        return self.name != other.name and agree


#: Need of a kind that befalls a download: a picture that comes within an answer has none.
DOWNLOADED: Final = {"inline": False}


class AnyOf(tuple[Any, ...]):
    """Values of which a scenario gets one."""

    __slots__ = ()


def kill(name: str, site: Site, point: str, *, action: str = "kill", **needs: Any) -> Kind:
    return Kind(name, site, lambda *_: [{"point": point, "action": action}], needs)


def at_purchase(
    name: str,
    point: str,
    nth: Callable[[int], int],
    action: str | Mapping[str, Any] = "kill",
    **needs: Any,
) -> Kind:
    """
    Return a kind that happens while a group of the request's parts is bought, whichever.

    :param nth: returns which passing of the point it is for a group, from 0.
    :param action: of the process, or with its parameters.
    """
    action = {"action": action} if isinstance(action, str) else action
    return Kind(
        name,
        "execute",
        lambda random, _parts, groups: [{"point": point, "nth": nth(random.randrange(groups)), **action}],
        needs,
    )


def kill_at_random(name: str, site: Site, longest: float, **needs: Any) -> Kind:
    def details(random: Random, *_: int) -> list[dict[str, Any]]:
        return [{"point": "start", "action": "kill_later", "seconds": round(random.uniform(0, longest), 3)}]

    return Kind(name, site, details, needs)


def at_submit(name: str, fault: str, needs: Mapping[str, Any] | None = None, **parameters: Any) -> Kind:
    """Return a kind that befalls the paid call for one of the request's tasks."""

    def details(random: Random, parts: int, _groups: int) -> list[dict[str, Any]]:
        return [{"times": 1, "skip": random.randrange(parts), "on": "submit", **parameters, "fault": fault}]

    return Kind(name, "gateway", details, needs or {})


def at_query(name: str, fault: str, **parameters: Any) -> Kind:
    """Return a kind that befalls a status query."""

    def details(_random: Random, parts: int, _groups: int) -> list[dict[str, Any]]:
        return [{"times": 1, "on": "task" if parts == 1 else "batch", "retry_after": 0, **parameters, "fault": fault}]

    return Kind(name, "gateway", details)


def at_image(name: str, fault: str, **parameters: Any) -> Kind:
    details = {"times": 1, "on": "image", **parameters, "fault": fault}
    return Kind(name, "gateway", lambda *_: [dict(details)], DOWNLOADED)


def at_s3(name: str, method: str, action: str, **parameters: Any) -> Kind:
    return Kind(name, "s3", lambda *_: [{"method": method, "action": action, **parameters}])


def by_airflow(name: str, what: str, *, longest: float = 0.0, **needs: Any) -> Kind:
    """
    Return a kind that Airflow or a person does.

    :param longest: seconds that pass at the most before it happens.
    """
    return Kind(
        name,
        "airflow",
        lambda random, *_: [{"what": what, "seconds": round(random.uniform(0, longest), 3)}],
        needs,
    )


def in_between(name: str, on: str, action: str, needs: Mapping[str, Any] | None = None, **parameters: Any) -> Kind:
    """
    Return a kind that the proxy before the gateway does: at the submit of a part, or to some requests in a row.

    :param on: ``submit``, ``query`` or ``image``.
    """
    endpoints = ("task", "batch") if on == "query" else (on,)

    def details(random: Random, parts: int, _groups: int) -> list[dict[str, Any]]:
        skip = {"skip": random.randrange(parts)} if on == "submit" else {}
        return [{"on": endpoints, "action": action, **skip, **_drawn(random, parameters)}]

    return Kind(name, "proxy", details, DOWNLOADED if on == "image" else needs or {})


def reshaped(
    name: str, on: str, shapes: Collection[str], more_needs: Mapping[str, Any] | None = None, **parameters: Any
) -> Kind:
    """Return a kind that answers in one of several shapes, at every request."""
    needs = {"timeout": 6.0, "model": "gpt-image-2", **(more_needs or {})}
    return in_between(name, on, "reshape", needs, shape=AnyOf(tuple(shapes)), **{"times": None, **parameters})


def rendering(name: str, what: str, **needs: Any) -> Kind:
    """Return a kind in which a template comes out otherwise in a later process."""
    return Kind(name, "airflow", lambda *_: [{"what": "rendering"}], {"rendering": what, **needs})


def _drawn(random: Random, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: random.choice(value) if isinstance(value, AnyOf) else value for name, value in parameters.items()}
