"""The operators under observation: they note when they hold a worker, and when they copy."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator
from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator
from benchmarks.dataset.notes import copying_noted, session_noted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow.sdk import Context

__all__ = ["ObservedDataset", "ObservedImage", "ObservedTransfer"]


class ObservedDataset(ApimartImageDatasetOperator):
    """The dataset operator."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Note the first stay on a worker."""
        with session_noted(context):
            return super().execute(context)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Note a later stay on a worker."""
        with session_noted(context, resumed=True):
            return super().execute_complete(context, event)

    def _work(self, context: Context, *settings: Any, **times: Any) -> dict[str, Any]:
        with _copies_noted(context):
            return super()._work(context, *settings, **times)


class ObservedImage(ApimartImageOperator):
    """The operator for one picture."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Note the first stay on a worker."""
        with session_noted(context):
            return super().execute(context)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Note the second stay on a worker."""
        with session_noted(context, resumed=True):
            return super().execute_complete(context, event)


class ObservedTransfer(ApimartToS3Operator):
    """The transfer, which copies from its beginning to its end."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Note the stay on a worker, all of which is copying."""
        with session_noted(context), copying_noted(context):
            return super().execute(context)


@contextmanager
def _copies_noted(context: Context) -> Iterator[None]:
    """Note when each picture of a dataset is copied, for the length of a ``with`` statement."""
    from airflow_provider_apimart.transfers.copier import Copier

    copy = Copier.copy

    def observed(copier: Copier, picture: Any) -> dict[str, Any]:
        with copying_noted(context):
            return copy(copier, picture)

    Copier.copy = observed
    try:
        yield
    finally:
        Copier.copy = copy
