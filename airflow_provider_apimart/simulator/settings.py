"""How one simulator behaves; shared by the command line and the context manager."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["RetryAfter", "SimulatorSettings"]

RetryAfter = Literal["seconds", "date", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """
    How one simulator behaves. The command line has an option for each field, with its default except for the port.

    :param host: address to listen on. Anything but a loopback address opens the simulator to the network.
    :param port: port to listen on; ``0`` takes a free one.
    :param seed: repeats durations, the random part of task ids, probabilities of faults, in the order of acceptance.
    :param speed: divides the durations of tasks: ``10`` makes a task of 40 seconds take 4.
    :param url_lifetime: seconds after its task's completion for which a picture can be downloaded.
    :param balance: US dollars on the account; ``None`` for a key without limit.
    :param api_key: the only key that is accepted; ``None`` accepts any that is not empty.
    :param apimaster_synchronous: whether APIMaster's plain submit path waits and answers with URLs.
    :param requests_per_second: submits allowed per second, averaged over at least one request; ``None`` for no limit.
    :param retry_after: form of the ``Retry-After`` header of the 429 that follows.
    :param idempotency: whether the header ``Idempotency-Key`` is honoured.
    :param batch_limit: most ids that one batch request may hold; ``None`` for no limit, as none is documented.
    :param faults: rules as JSON objects, in force from the start and again after a reset.
    :param access_log: whether each request is logged by uvicorn.
    :param clock: seconds since the epoch; tests inject their own.
    :raises ValueError: a value that cannot be meant.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 0
    speed: float = 1.0
    url_lifetime: float = 86_400.0
    balance: float | None = 1000.0
    api_key: str | None = field(default=None, repr=False)
    apimaster_synchronous: bool = False
    requests_per_second: float | None = None
    retry_after: RetryAfter = "seconds"
    idempotency: bool = True
    batch_limit: int | None = None
    faults: tuple[Mapping[str, Any], ...] = ()
    access_log: bool = False
    clock: Callable[[], float] = field(default=time.time, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("speed", "requests_per_second", "batch_limit"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be greater than 0, not {value!r}")
        if self.url_lifetime < 0:
            raise ValueError(f"url_lifetime must not be negative, not {self.url_lifetime!r}")
        if self.retry_after not in get_args(RetryAfter):
            raise ValueError(f"retry_after must be one of {', '.join(get_args(RetryAfter))}, not {self.retry_after!r}")
