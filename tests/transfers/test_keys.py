"""Where pictures go, and what happens to what is there already."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.exceptions import InvalidRequestError, TransferError
from airflow_provider_apimart.transfers.keys import (
    beginning_of,
    check_distinct,
    check_extra_args,
    check_template,
    key_of,
    s3_location,
)
from airflow_provider_apimart.transfers.source import Picture
from airflow_provider_apimart.transfers.stored_objects import ExistingObject, must_copy, object_metadata

PICTURE = Picture(task_id="task_1", index=0, url="https://example.com/a.png", facts=(("model", "m"), ("note", "é")))
POLICIES = ["skip", "overwrite", "fail"]


def held(picture: Picture = PICTURE, *, writer: str = "us", size: int = 10) -> ExistingObject:
    metadata = object_metadata(picture, size=10, sha256="00", width=1, height=1, writer=writer)
    return ExistingObject(size, "image/png", metadata)


def decide(existing: ExistingObject | None, on_existing: str) -> bool | str:
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
        pytest.param(ExistingObject(10, "text/plain", {}), "error", True, "error", id="another object"),
    ],
)
def test_what_a_key_holds_decides_together_with_the_policy(
    existing: ExistingObject | None, skip: object, overwrite: object, fail: object
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
    metadata = object_metadata(PICTURE, size=10, sha256="00", width=1, height=1, writer="us")

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


@pytest.mark.parametrize(
    "template",
    [
        "{index:{ext}}",
        "{index!r}",
        "{task_id.upper}",
        "{task_id[0]}",
        "{task_id!s}",
        "{}",
        "{0}",
        "{index:999999999d}",
        "{ext:03d}",
        "{name}",
        "{task_id",
    ],
)
@pytest.mark.parametrize("is_rendered", [True, False])
def test_a_template_holds_plain_placeholders_only(template: str, *, is_rendered: bool) -> None:
    with pytest.raises(InvalidRequestError, match="s3_key"):
        check_template(template, is_rendered=is_rendered)


@pytest.mark.parametrize("template", ["{task_id}-{index:03d}.{ext}", "{task_id:.6}/{index:>4}", "{{kept}}/{task_id}"])
def test_a_number_may_have_leading_zeros(template: str) -> None:
    check_template(template, is_rendered=True)
    assert key_of(template, PICTURE, "png")


@pytest.mark.parametrize(
    ("bucket", "key", "expected"),
    [
        ("shots", "a/{task_id}", ("shots", "a/{task_id}")),
        ("s3://shots", "a/{task_id}", ("shots", "a/{task_id}")),
        ("s3://shots/", "/a/{task_id}", ("shots", "a/{task_id}")),
        ("s3a://shots", "s3://shots/a/{task_id}", ("shots", "a/{task_id}")),
        ("shots", "s3://aws_default@shots/a/{task_id}", ("shots", "a/{task_id}")),
        ("shots", str(Path("s3://shots/a/{task_id}")), ("shots", "a/{task_id}")),
        ("{{ var.value.b }}", "{{ ds }}/{task_id}", ("{{ var.value.b }}", "{{ ds }}/{task_id}")),
        ("s3://{{ var.value['a/b'] }}", "a/{task_id}", ("{{ var.value['a/b'] }}", "a/{task_id}")),
        ("{{ var.value.b }}", "s3://shots/{task_id}", ("{{ var.value.b }}", "s3://shots/{task_id}")),
        (f"arn:aws:s3:::accesspoint/{'x'}", "a", ("arn:aws:s3:::accesspoint/x", "a")),
    ],
)
def test_a_place_in_s3_is_understood_however_it_is_written(bucket: str, key: str, expected: tuple[str, str]) -> None:
    assert s3_location(bucket, key) == expected


@pytest.mark.parametrize(
    ("bucket", "key"),
    [
        ("shots", "s3://another/a/{task_id}"),
        ("shots/2026", "{task_id}"),
        ("s3://shots/2026", "{task_id}"),
        ("", "{task_id}"),
        ("s3://", "{task_id}"),
        ("shots", ""),
        ("shots", "///"),
        ("shots", "s3://shots"),
        ("shots", "s3://shots/"),
    ],
)
def test_a_place_in_s3_that_contradicts_itself_is_refused(bucket: str, key: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"s3_(bucket|key).*no picture was lost") as caught:
        s3_location(bucket, key)

    assert caught.value.charged == "no"


@pytest.mark.parametrize(
    "name",
    ["Key", "Body", "Bucket", "ContentLength", "ChecksumSHA256", "IfNoneMatch", "IfMatch", "ContentMD5", "Nonsense"],
)
def test_an_argument_that_changes_what_is_written_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=rf"extra_args: '{name}' cannot be given here. Allowed: ACL"):
        check_extra_args({"CacheControl": "no-store", name: "x"})


@pytest.mark.parametrize(("value", "text"), [(3, "3"), (0.5, "0.5"), (True, "True"), ("plain", "plain"), ("", "")])
def test_a_number_in_the_metadata_becomes_text(value: object, text: str) -> None:
    assert check_extra_args({"Metadata": {"n": value}, "ACL": "private"}) == {"Metadata": {"n": text}, "ACL": "private"}


@pytest.mark.parametrize(
    "metadata",
    [
        {"n": None},
        {"n": ["a"]},
        {"n": "é"},
        {"é": "n"},
        {"n": "a\r\nb"},
        {1: "a"},
        {"SHA256": "x"},
        {"apimart-index": "1"},
        "n=3",
    ],
    ids=str,
)
def test_metadata_that_no_header_can_hold_are_refused(metadata: object) -> None:
    with pytest.raises(InvalidRequestError, match="Metadata"):
        check_extra_args({"Metadata": metadata})


def test_a_secret_in_a_refused_argument_is_not_repeated() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_extra_args({"SSECustomerKey": "s3cr3t", "Key": "x"})

    assert "s3cr3t" not in f"{caught.value} {caught.value.value}"


def test_a_picture_of_unknown_dimensions_is_recognised_again() -> None:
    metadata = object_metadata(PICTURE, size=10, sha256="00", width=None, height=None, writer="them")

    assert not {"width", "height"} & metadata.keys()
    assert decide(ExistingObject(10, "image/svg+xml", metadata), "skip") is False
    assert ExistingObject(10, "image/svg+xml", metadata).pixels("width") is None
