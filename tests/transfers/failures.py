"""In which ways a store may fail once."""

from __future__ import annotations

import pytest

__all__ = ["each_failure"]

each_failure = pytest.mark.parametrize(
    ("action", "status"),
    [
        pytest.param("refuse", 403, id="403"),
        pytest.param("refuse", 503, id="503"),
        pytest.param("refuse", 307, id="another region"),
        pytest.param("cut_before", 0, id="cut before"),
        pytest.param("cut_midway", 0, id="cut midway"),
        pytest.param("cut_after", 0, id="cut after"),
    ],
)
