"""Where the pictures of a row go."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.dataset.object_names import key_template, made_by


def key(prefix: str, row_id: str) -> str:
    return key_template(prefix, row_id).format(task_id="task_1", index=0, ext="png")


@pytest.mark.parametrize(
    ("prefix", "row_id", "expected"),
    [
        ("catalogue", "sku-1", "catalogue/images/sku-1-task_1-0.png"),
        ("", "sku-1", "images/sku-1-task_1-0.png"),
        ("a/b", "lamp, red/blue", "a/b/images/lamp_red_blue-task_1-0.png"),
        ("a", "Käse 猫", "a/images/Käse_猫-task_1-0.png"),
        ("a", "../../etc", "a/images/_.._etc-task_1-0.png"),
        ("a", "=1+1", "a/images/_1_1-task_1-0.png"),
        ("{date}", "{task_id}", "{date}/images/_task_id_-task_1-0.png"),
    ],
)
def test_the_id_comes_first_and_the_gateway_task_tells_pictures_apart(prefix: str, row_id: str, expected: str) -> None:
    assert key(prefix, row_id) == expected


@pytest.mark.parametrize("row_id", ["猫" * 80, "ж" * 200, "a" * 200, "a" + "😀é猫" * 60])
def test_a_name_fits_into_a_file_name_in_any_script(row_id: str) -> None:
    name = key("prefix", row_id).removeprefix("prefix/images/")

    assert len(name.encode()) <= 150
    assert "\ufffd" not in name


@given(st.text(max_size=200))
def test_an_id_never_leaves_its_folder(row_id: str) -> None:
    made = key("prefix", row_id)

    assert made.startswith("prefix/images/")
    assert "/" not in made.removeprefix("prefix/images/")
    assert len(made.removeprefix("prefix/images/").encode()) <= 150
    assert list(string.Formatter().parse(made)) == list(string.Formatter().parse(made.replace("{", "")))


@given(st.text(max_size=100), st.sampled_from(["task_1", "task_12", "sync_0"]), st.integers(0, 20))
def test_the_name_of_an_object_tells_which_picture_it_is(row_id: str, task_id: str, index: int) -> None:
    key = key_template("prefix", row_id).format(task_id=task_id, index=index, ext="png")

    assert made_by(f"s3://bucket/{key}", ["task_1", "task_12", "sync_0"]) == (task_id, index)


@pytest.mark.parametrize("name", ["a-task_2-0.png", "a-task_1-x.png", "a-task_1-0", "a.png"])
def test_an_object_of_another_name_is_no_picture_that_is_known(name: str) -> None:
    assert made_by(f"s3://bucket/{name}", ["task_1"]) is None
