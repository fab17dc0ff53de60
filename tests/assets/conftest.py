"""An operator that says what it is told to say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from operators.task_instance import TaskInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_apimart.operators.base import ApimartBaseOperator


@pytest.fixture
def task_instance() -> TaskInstance:
    return TaskInstance()


@pytest.fixture
def producer() -> Callable[..., Callable[[], ApimartBaseOperator]]:
    """Describe an operator that has bought and stored something, or has not."""
    from airflow_provider_apimart.assets import IMAGES, PURCHASES
    from airflow_provider_apimart.operators.base import ApimartBaseOperator

    class Producer(ApimartBaseOperator):
        produces = (PURCHASES, IMAGES)

        def __init__(self, *, bought: Any = None, stored: Any = None, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.bought = bought
            self.stored = stored

        def execute(self, context: Any) -> None:
            self._emit(context, PURCHASES, self.bought)
            self._emit(context, IMAGES, self.stored)

    def describe(**parameters: Any) -> Callable[[], ApimartBaseOperator]:
        return lambda: Producer(task_id="a_task", **parameters)

    describe.partial = Producer.partial  # type: ignore[attr-defined]
    return describe
