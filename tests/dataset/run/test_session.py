"""One worker's share of a dataset, in virtual time: how busy the gateway is, and how long a worker is held."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from dataset.run.virtual import World

if TYPE_CHECKING:
    from collections.abc import Callable


def prompts(count: int) -> list[str]:
    return [f"picture {number}" for number in range(count)]


def log_normal(world: World, mean: float, sigma: float = 0.35) -> Callable[[], float]:
    return lambda: world.random.lognormvariate(math.log(mean) - sigma**2 / 2, sigma)


def used_share(world: World, *, in_flight: int, began_at: float) -> float:
    """Return the share of the slots that were in use from the first to the last moment."""
    busy = sum(end - begin for begin, end, _, _ in world.gateway.tasks.values())
    return busy / (in_flight * (world.time - began_at))


@pytest.mark.parametrize(
    ("rows", "mean", "share", "held"), [(2_000, 45.0, 0.80, 1.0), (1_000, 300.0, 0.75, 0.25), (2_000, 90.0, 0.78, 1.0)]
)
def test_the_slots_are_used_and_no_worker_is_held_to_wait(rows: int, mean: float, share: float, held: float) -> None:
    world = World()
    world.gateway.duration = log_normal(world, mean)
    began_at = world.time

    counts = world.run(prompts(rows), timeout=3600.0)
    print(used_share(world, in_flight=200, began_at=began_at), world.worker_seconds/(world.time-began_at), world.longest_idle, world.sessions, len(world.s3.requests)/rows)

    assert counts == {"total": rows, "done": rows, "failed": 0, "left": 0}
    assert len(world.gateway.submits) == len(world.copied) == rows
    assert world.gateway.most_running <= 200
    assert world.longest_idle <= 20.0 + 4.0
    assert used_share(world, in_flight=200, began_at=began_at) >= share
    assert world.worker_seconds <= held * (world.time - began_at)
