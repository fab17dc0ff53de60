"""The benchmarks are no part of the wheel: they are found in the checkout, behind everything that is installed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
