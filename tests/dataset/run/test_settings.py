"""The parameters of a generation: retries keep them, a clear renders them again but for the place of the pictures."""

from __future__ import annotations

import json
from dataclasses import replace

from airflow_provider_apimart.dataset.run.settings import DatasetSettings, continued_settings

FIRST = DatasetSettings(
    generation=0,
    bucket="pictures",
    prefix="kites/0900",
    apimart_conn_id="apimart_default",
    aws_conn_id="aws_default",
    shard=(1, 4),
    max_cost=1.0,
    run_began_at=1000.0,
)


def test_settings_pass_through_json() -> None:
    assert DatasetSettings.from_json(json.loads(json.dumps(FIRST.to_json()))) == FIRST
    assert DatasetSettings.from_json({**FIRST.to_json(), "of_a_later_release": 1}) == FIRST


def test_the_first_try_uses_what_is_rendered() -> None:
    assert continued_settings(None, FIRST) == (FIRST, [])


def test_a_retry_uses_what_its_generation_began_with_and_names_what_differs() -> None:
    recorded = replace(FIRST, rows="stored", recoveries=2)
    rendered = replace(FIRST, prefix="kites/0905", max_cost=9.0, run_began_at=2000.0)

    assert continued_settings(recorded, rendered) == (recorded, ["max_cost", "prefix"])


def test_a_clear_uses_new_parameters_but_looks_for_pictures_where_they_are() -> None:
    rendered = replace(FIRST, generation=1, prefix="kites/0905", max_cost=9.0, run_began_at=2000.0)

    settings, differing = continued_settings(replace(FIRST, rows="stored"), rendered)

    assert settings == replace(FIRST, generation=1, max_cost=9.0)
    assert differing == ["prefix"]
    assert settings.rows == ""


def test_a_clear_that_regenerates_uses_the_new_place_too() -> None:
    rendered = replace(FIRST, generation=1, prefix="kites/0905", on_existing="regenerate", run_began_at=2000.0)

    settings, differing = continued_settings(FIRST, rendered)

    assert settings == replace(rendered, run_began_at=1000.0)
    assert differing == []
