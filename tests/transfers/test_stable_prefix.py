"""Which folder the pictures of all runs have in common."""

from __future__ import annotations

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.transfers.apimart_to_s3 import DEFAULT_KEY
from airflow_provider_apimart.transfers.keys import stable_prefix


@pytest.mark.parametrize(
    ("s3_key", "expected"),
    [
        (DEFAULT_KEY, "apimart/{{ dag.dag_id }}"),
        ("products/{{ dag_run.run_after | ds }}/{task_id}.{ext}", "products"),
        ("shots/{{ task.task_id }}/x/{task_id}.{ext}", "shots/{{ task.task_id }}/x"),
        ("{{ var.value.get('a/b', 'c') }}/x/{{ ds }}/y", "{{ var.value.get('a/b', 'c') }}/x"),
        ("a/{{ dag.dag_id }}-{{ run_id }}/b/c", "a"),
        ("a/{task_id}/b/c", "a"),
        ("a/{{ params.sku }}/b/c", "a"),
        ("{% if dag.tags %}a{% endif %}/b/{{ ds }}/c", "{% if dag.tags %}a{% endif %}/b"),
        ("{% set month = ds[:7] %}a/{{ month }}/b", ""),
        ("a/b/c", "a/b"),
        ("/a/b", "/a"),
        ("a//{{ ds }}/b", "a"),
        ("{task_id}-{index}.{ext}", ""),
        ("{{ ds }}/{task_id}.{ext}", ""),
        ("", ""),
    ],
)
def test_folders_count_up_to_the_first_that_depends_on_the_run_or_the_picture(s3_key: str, expected: str) -> None:
    assert stable_prefix(s3_key) == expected


@pytest.mark.parametrize(
    ("s3_key", "expected"), [("a/{{ dag", "a"), ("{{ }}/a/b", ""), ("a/{% if dag %}b/c{% endif %}/d", "a")]
)
def test_what_jinja_cannot_read_piece_by_piece_ends_it(s3_key: str, expected: str) -> None:
    assert stable_prefix(s3_key) == expected


folders = st.sampled_from(
    ["a", "b c", "é", "{{ dag.dag_id }}", "{{ 'x/y' }}", "{{ run_id }}", "{{ ds }}-{{ dag.dag_id }}", "{task_id}", ""]
)


@given(st.lists(folders, min_size=1, max_size=6), st.text(st.characters(codec="ascii", categories=["L", "N"])))
def test_every_key_of_every_run_lies_below_it(parts: list[str], run_id: str) -> None:
    template = "/".join(parts)
    prefix = stable_prefix(template)

    def rendered(text: str, run: str) -> str:
        names = {"dag": {"dag_id": "shots"}, "run_id": run, "ds": run}
        return jinja2.Template(text).render(names).replace("{task_id}", run)

    folder = rendered(prefix, "monday")
    assert rendered(prefix, run_id) == folder
    assert not prefix or rendered(template, run_id).startswith(f"{folder}/")
    assert template.startswith(prefix)
