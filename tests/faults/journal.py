"""What scenarios share, and what is written down of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from faults.processes import ForkServer
    from services.s3_proxy import S3Proxy

__all__ = ["UNKNOWN", "Journal", "Outcome", "World"]

UNKNOWN = "SubmitOutcomeUnknownError"
#: What a segment reported to Airflow, see :mod:`faults.segment`; ``died`` when it reported nothing.
Outcome = dict[str, Any]


@dataclass(frozen=True)
class World:
    """
    What all scenarios share.

    :param s3_connection: to the server behind the proxy.
    """

    directory: Path
    fork_server: ForkServer
    proxy: S3Proxy
    bucket: str
    s3_connection: Mapping[str, Any]


@dataclass
class Journal:
    """
    What happened in one scenario, as Airflow and the person saw it.

    :param outcomes: of each segment, with the time of its end.
    :param clears: when the image task was cleared.
    :param fired: indexes of the faults that happened.
    :param violations: promises that were seen broken on the way.
    :param final: what the scenario ended with.
    """

    outcomes: list[tuple[float, str, Outcome]] = field(default_factory=list)
    clears: list[float] = field(default_factory=list)
    fired: set[int] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    final: Outcome = field(default_factory=lambda: {"kind": "died"})
