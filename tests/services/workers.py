"""The distribution of the tests over the workers of pytest-xdist."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

__all__ = ["ByFile", "group_of", "longest_first", "worker_count"]

#: Most of the time that a test takes, it waits for a process or a clock.
WORKERS_PER_CORE: Final = 3
#: Each worker takes up to a gigabyte of memory, its S3 server included, and reads all test files first.
MOST_WORKERS: Final = 12
#: Files that share servers which take long to start, by the beginning of their paths.
TOGETHER: Final = {
    "tests/e2e/test_main_job.py": "examples",
    "tests/e2e/test_secrets.py": "examples",
    "tests/e2e/test_ui_": "examples",
    "tests/e2e/test_pages.py": "disturbed",
    "tests/e2e/test_reliability": "disturbed",
}
#: Files whose tests take long and share nothing that is not shared by all, by the beginning of their paths.
APART: Final = (
    "tests/e2e/test_demo.py",
    "tests/laws/datasets/",
    "tests/operators/test_dataset.py",
    "tests/decorators/test_images.py",
)
#: What takes longest, by the beginning of the paths: it begins first, so that no worker is left alone with it.
FIRST: Final = (*TOGETHER, "tests/e2e/", "tests/faults/", "tests/triggers/test_soak.py", *APART)


class ByFile(LoadScopeScheduling):
    """Gives each file to one worker, since its tests share fixtures, and files that share servers to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """Return the name of the group of a test: all tests of a group run in one worker, one after the other."""
    path = nodeid.partition("::")[0]
    if path.startswith(APART):
        return nodeid
    return next((group for start, group in TOGETHER.items() if path.startswith(start)), path)


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return the tests in the order in which workers take them."""

    def place(item: pytest.Item) -> int:
        return next((number for number, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST))

    return sorted(items, key=place)


def worker_count() -> int:
    """Return how many workers ``-n auto`` starts."""
    return min(MOST_WORKERS, WORKERS_PER_CORE * len(os.sched_getaffinity(0)))
