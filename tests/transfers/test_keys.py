"""Where pictures go, and what happens to what is there already."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.exceptions import InvalidRequestError, TransferError
from airflow_provider_apimart.transfers._keys import (
    Existing,
    beginning_of,
    check_distinct,
    check_template,
    key_of,
    metadata_of,
    must_copy,
)
from airflow_provider_apimart.transfers.source import Picture

PICTURE = Picture(task_id="task_1", index=0, url="https://example.com/a.png", facts=(("model", "m"), ("note", "é")))
POLICIES = ["skip", "overwrite", "fail"]


def held(picture: Picture = PICTURE, *, writer: str = "us", size: int = 10) -> Existing:
    metadata = metadata_of(picture, size=10, sha256="00", width=1, height=1, writer=writer)
    return Existing(size, "image/png", metadata)


def decide(existing: Existing | None, on_existing: str) -> bool | str:
    try:
        return must_copy(PICTURE, "key", existing, on_existing=on_existing, writer="us")
    except TransferError as error:
        return "retryable error" if error.retryable else "error"


@pytest.mark.parametrize(
    ("existing", "skip", "overwrite", "fail"),
    [
        pytest.param(None, True, True, True, id="nothing"),
        pytest.param(held(), False, False, False, id="what an earlier try wrote"),
        pytest.param(held(writer="them"), False, True, "error", id="the same picture by another task"),
        pytest.param(held(size=9), "error", True, "error", id="a shorter object that says it were the same"),
        pytest.param(Existing(10, "text/plain", {}), "error", True, "error", id="another object"),
    ],
)
def test_what_a_key_holds_decides_together_with_the_policy(
    existing: Existing | None, skip: object, overwrite: object, fail: object
) -> None:
    assert [decide(existing, policy) for policy in POLICIES] == [skip, overwrite, fail]


@given(
    st.sampled_from(POLICIES),
    st.sampled_from(["us", "them"]),
    st.builds(Picture, task_id=st.sampled_from(["task_1", "task_2"]), index=st.integers(0, 1), url=st.just("u")),
)
def test_only_overwrite_ever_replaces_an_object(on_existing: str, writer: str, picture: Picture) -> None:
    if decide(held(picture, writer=writer), on_existing) is True:
        assert on_existing == "overwrite"


def test_metadata_keeps_out_what_a_header_cannot_hold() -> None:
    metadata = metadata_of(PICTURE, size=10, sha256="00", width=1, height=1, writer="us")

    assert metadata["apimart-model"] == "m"
    assert all(value.isascii() for value in metadata.values())


def test_a_key_is_the_template_filled_in() -> None:
    assert key_of("{task_id}/{index}.{ext}", PICTURE, "png") == "task_1/0.png"


@pytest.mark.parametrize(
    "template", ["latest.png", "{task_id}", "{{ run_id }}/{task_id}-{index}.{ext}", "{% raw %}{% endraw %}{task_id}"]
)
def test_a_template_may_mix_placeholders_and_jinja(template: str) -> None:
    check_template(template)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2)), unique=True, max_size=6))
def test_pictures_that_would_overwrite_each_other_are_found_before_anything_is_copied(
    names: list[tuple[str, int]],
) -> None:
    pictures = [Picture(task_id=task_id, index=index, url="u") for task_id, index in names]

    check_distinct("{task_id}-{index}", pictures)
    if len({task_id for task_id, _ in names}) < len(names):
        with pytest.raises(InvalidRequestError, match=r"add \{task_id\} and \{index\}"):
            check_distinct("{task_id}", pictures)


@pytest.mark.parametrize(
    ("template", "task_ids", "beginning"),
    [
        ("shots/a-17/{task_id}-{index}.{ext}", [], "shots/a-17/"),
        ("shots/a-17/{task_id}-{index}.{ext}", ["task_1"], "shots/a-17/task_1-"),
        ("shots/a-17/{task_id}-{index}.{ext}", ["task_1", "task_2"], "shots/a-17/"),
        ("{index}/{task_id}.{ext}", ["task_1"], ""),
        ("{task_id:.6}/{index}", ["task_1"], ""),
        ("shots/one.png", [], "shots/one.png"),
    ],
)
def test_how_all_keys_begin_is_known_before_the_pictures(template: str, task_ids: list[str], beginning: str) -> None:
    assert beginning_of(template, task_ids) == beginning


@given(st.text(alphabet="ab/-", max_size=12), st.lists(st.integers(0, 9), min_size=1))
def test_every_key_begins_like_that(folder: str, indices: list[int]) -> None:
    template = folder + "{task_id}-{index}.{ext}"
    keys = [key_of(template, Picture(task_id="task_1", index=index, url="u"), "png") for index in indices]

    assert all(key.startswith(beginning_of(template, ["task_1"])) for key in keys)
