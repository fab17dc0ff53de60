"""The environment variables that the services start with."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["clean_environment", "executable"]

# A developer's own Airflow, AWS account or Python path must not leak into the services.
FOREIGN_PREFIXES = ("AIRFLOW", "AWS_", "APIMART_", "PYTHON")
LOOPBACK = "127.0.0.1,localhost"


def clean_environment(**additions: str) -> dict[str, str]:
    """Return this process's environment without what could disturb a service, plus some variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_PREFIXES)}
    for name in ("no_proxy", "NO_PROXY"):
        environment[name] = ",".join(filter(None, [os.environ.get(name), LOOPBACK]))
    environment |= {"AWS_EC2_METADATA_DISABLED": "true", "PYTHONUNBUFFERED": "1"}
    # Airflow's components find the program "airflow" by the path.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return environment | additions


def executable(name: str) -> str:
    """Return the path of a program of the Python environment that runs this."""
    return str(Path(sys.executable).parent / name)
