from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_apimart.decorators.images import _ImagesDecoratedOperator
from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator
from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.plugins.web.buying_tasks import CLASSES, NAMES, begun, buying

OPERATORS = (ApimartImageOperator, ApimartImageDatasetOperator, _ImagesDecoratedOperator)


def test_the_names_are_those_of_the_operators() -> None:
    assert tuple(operator.custom_operator_name for operator in OPERATORS) == NAMES
    assert tuple(operator.__name__ for operator in OPERATORS) == CLASSES


@pytest.mark.parametrize("airflow", ["3.2.0", "3.2.0rc1", "3.3.2", "3.10.0", "4.0.0.dev0"])
def test_they_are_asked_for_by_the_name_that_derived_classes_inherit(airflow: str) -> None:
    assert buying(airflow) == {"operator_name_pattern": "APIMart image|APIMart image dataset|@task.apimart_images"}


@pytest.mark.parametrize("airflow", ["3.1.0", "3.1.8"])
def test_an_airflow_that_has_no_filter_for_that_is_asked_for_the_classes(airflow: str) -> None:
    assert buying(airflow) == {"operator": CLASSES}


def test_tasks_that_have_begun_did_so_in_the_past() -> None:
    now = datetime.now(UTC)
    assert datetime.fromisoformat(begun()["start_date_lt"]) < now
    assert datetime.fromisoformat(begun(before=now + timedelta(days=1))["start_date_lt"]) < now
    yesterday = now - timedelta(days=1)
    assert begun(before=yesterday) == {"start_date_lt": yesterday.isoformat()}
