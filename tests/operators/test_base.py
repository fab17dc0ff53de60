"""How tasks look in Airflow's pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.definitions._internal.mixins import ResolveMixin
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_apimart.decorators.images import images_task
from airflow_provider_apimart.operators.base import (
    LABEL_LENGTH,
    MAP_INDEX_TEMPLATE,
    ApimartBaseOperator,
    materialize,
)
from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator
from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow.sdk import BaseOperator
    from airflow.sdk.definitions.mappedoperator import MappedOperator

OPERATORS = [ApimartImageOperator, ApimartImageDatasetOperator, ApimartToS3Operator]


def label_of(operator: BaseOperator, *, map_index: int = 3, native: bool = False) -> Any:
    """Render the label as Airflow does, with the template environment of the DAG that the operator is in."""
    from airflow.sdk import DAG

    operator.dag = DAG("a_dag", schedule=None, render_template_as_native_obj=native)
    template = operator.dag.get_template_env().from_string(MAP_INDEX_TEMPLATE)
    return template.render({"task": operator, "ti": type("TaskInstance", (), {"map_index": map_index})})


def image(prompt: Any, *, map_index: int = 3, native: bool = False) -> Any:
    operator = ApimartImageOperator(task_id="generate", prompt="to be rendered")
    operator.prompt = prompt
    return label_of(operator, map_index=map_index, native=native)


def dataset(prompts: Any, *, shard: Any = None) -> Any:
    return label_of(ApimartImageDatasetOperator(task_id="generate", prompts=prompts, s3_bucket="b", shard=shard))


def transfer(source: Any, *, s3_key: str = "shots/a_run/{task_id}-{index}.{ext}") -> Any:
    return label_of(ApimartToS3Operator(task_id="copy", source=source, s3_bucket="b", s3_key=s3_key))


class TestTheLabelOfAMappedTask:
    @pytest.mark.parametrize(
        ("prompt", "label"),
        [
            ("A red kite", "A red kite"),
            ("A red kite,\n\tover   a bay\r\n", "A red kite, over a bay"),
            ("A {{ red }} {kite} {% raw %}", "A {{ red }} {kite} {% raw %}"),
            ("A red\x00 kite\ud800\u202e", "A red kite"),
            ("x" * 30_000, "x" * (LABEL_LENGTH - 1) + "…"),
            ("y" * LABEL_LENGTH, "y" * LABEL_LENGTH),
            ("一只红色的风筝" * 20, ("一只红色的风筝" * 20)[: LABEL_LENGTH - 1] + "…"),
            (42, "42"),
            (" \n", "3"),
        ],
    )
    def test_is_the_beginning_of_its_prompt_on_one_line(self, prompt: object, label: str) -> None:
        assert image(prompt) == label

    @given(st.text() | st.text(alphabet="0123456789[](){}'\",.:+-bTrueNon ", max_size=20))
    @example("42")
    @example("None")
    @example("[1, 2]")
    @example("{[]: 1}")
    @example("'a cat'")
    def test_is_a_short_text_whatever_the_prompt_and_also_where_templates_render_to_objects(self, prompt: str) -> None:
        label, native = image(prompt), image(prompt, native=True)

        assert isinstance(label, str)
        assert 0 < len(label) <= LABEL_LENGTH
        assert label.isprintable()
        assert native == f"“{label}”"

    @pytest.mark.parametrize("native", [False, True])
    def test_is_not_made_for_a_task_that_is_not_mapped(self, native: bool) -> None:
        assert image("A red kite", map_index=-1, native=native) == ""

    @pytest.mark.parametrize(
        ("prompts", "shard", "label"),
        [
            ("s3://bucket/prompts/2025-11-03.jsonl", None, "2025-11-03.jsonl"),
            ("prompts.csv", (1, 4), "prompts.csv, shard 1 of 4"),
            (["A red kite", "A blue kite"], [1, 4], "shard 1 of 4"),
            (["A red kite", "A blue kite"], None, "3"),
            ([], "{{ nonsense }}", "3"),
        ],
    )
    def test_of_a_dataset_names_its_file_and_its_shard(self, prompts: Any, shard: Any, label: str) -> None:
        assert dataset(prompts, shard=shard) == label

    def test_of_a_dataset_names_the_file_of_a_storage_path(self) -> None:
        from airflow.sdk import ObjectStoragePath

        assert dataset(ObjectStoragePath("file:///prompts/campaign.parquet")) == "campaign.parquet"

    @pytest.mark.parametrize(
        ("source", "label"),
        [
            ("task_1", "shots/a_run/task_1"),
            ({"images": [{"task_id": "task_1", "index": i, "url": "u"} for i in (0, 1)]}, "shots/a_run/task_1"),
            ({"images": [{"task_id": f"task_{i}", "index": 0, "url": "u"} for i in (0, 1)]}, "shots/a_run"),
            (["task_1", "task_2"], "shots/a_run"),
            ({"not": "a result"}, "shots/a_run"),
        ],
    )
    def test_of_a_transfer_is_the_beginning_of_its_keys(self, source: Any, label: str) -> None:
        assert transfer(source) == label

    def test_of_a_transfer_keeps_the_end_of_long_keys(self) -> None:
        run = "a_dag/manual__2026-11-22T12:30:50.403490+00:00"

        assert transfer("task_01M81KTWM3D45AA60RPH96V508", s3_key=f"apimart/{run}/{{task_id}}-{{index}}.{{ext}}") == (
            "…/task_01M81KTWM3D45AA60RPH96V508"
        )
        assert transfer("t", s3_key="k" * 100 + "{task_id}{index}") == "…" + "k" * (LABEL_LENGTH - 2) + "t"

    @pytest.mark.parametrize(
        "expand",
        [
            lambda **own: ApimartImageOperator.partial(task_id="a", **own).expand(prompt=["A red kite"]),
            lambda **own: ApimartImageDatasetOperator.partial(task_id="a", prompts=[], s3_bucket="b", **own).expand(
                shard=[(0, 1)]
            ),
            lambda **own: ApimartToS3Operator.partial(task_id="a", s3_bucket="b", **own).expand(source=["task_1"]),
        ],
        ids=["image", "dataset", "transfer"],
    )
    def test_is_asked_of_the_mapped_operator_unless_the_author_has_a_template(
        self, expand: Callable[..., MappedOperator]
    ) -> None:
        assert expand().map_index_template == MAP_INDEX_TEMPLATE
        assert expand(map_index_template="{{ run_id }}").map_index_template == "{{ run_id }}"
        assert expand(default_args={"map_index_template": "{{ ds }}"}).map_index_template == "{{ ds }}"
        assert expand(map_index_template=None).map_index_template is None

    def test_of_a_function_is_its_number_unless_the_author_has_a_template(self) -> None:
        def rows(day: str) -> list[str]:
            return [day]

        own = "{{ task.op_kwargs['day'] }}"

        assert images_task(rows, s3_bucket="b").expand(day=["a"]).operator.map_index_template is None
        assert images_task(rows, s3_bucket="b")("a").operator.map_index_template is None
        assert (
            images_task(rows, s3_bucket="b", map_index_template=own).expand(day=["a"]).operator.map_index_template
            == own
        )


def luminance(colour: str) -> float:
    """Return the relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("operator", OPERATORS)
def test_all_operators_have_the_same_colours(operator: type[BaseOperator]) -> None:
    assert (operator.ui_color, operator.ui_fgcolor) == (ApimartBaseOperator.ui_color, ApimartBaseOperator.ui_fgcolor)


def test_the_text_can_be_read_on_its_background() -> None:
    assert (luminance(ApimartBaseOperator.ui_color) + 0.05) / (luminance(ApimartBaseOperator.ui_fgcolor) + 0.05) > 7


def test_each_operator_has_a_name_that_people_read() -> None:
    names = [getattr(operator, "custom_operator_name", None) for operator in OPERATORS]

    assert names == ["APIMart image", "APIMart image dataset", "APIMart to S3"]


ARGUMENTS: Mapping[type[BaseOperator], dict[str, Any]] = {
    ApimartImageOperator: {"prompt": "A red kite", "image_urls": ["https://example.com/a.png"], "extra_body": {"a": 1}},
    ApimartImageDatasetOperator: {
        "prompts": [{"prompt": "A red kite", "id": "kite"}],
        "s3_bucket": "b",
        "image_urls": ["https://example.com/a.png"],
        "extra_body": {"a": 1},
        "shard": (0, 2),
        "extra_args": {"ServerSideEncryption": "AES256"},
    },
    ApimartToS3Operator: {
        "source": ["task_1"],
        "s3_bucket": "b",
        "extra_args": {"ServerSideEncryption": "AES256"},
    },
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_parameter_that_has_a_structure_is_shown_as_json(operator: type[BaseOperator]) -> None:
    structured = {name for name, value in ARGUMENTS[operator].items() if not isinstance(value, str)}

    assert operator.template_fields_renderers == dict.fromkeys(structured, "json")
    assert structured <= set(operator.template_fields)


@pytest.mark.parametrize("operator", OPERATORS)
def test_airflow_shows_the_values_of_all_templated_parameters(operator: type[BaseOperator]) -> None:
    from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

    shown = _serialize_rendered_fields(operator(task_id="a", **ARGUMENTS[operator]))

    assert set(shown) == set(operator.template_fields)
    for name, value in ARGUMENTS[operator].items():
        assert shown[name] == (list(value) if isinstance(value, tuple) else value)


class Lazy(Sequence[str]):
    """Fetches an item when it is asked for, and counts how often."""

    def __init__(self, *items: str) -> None:
        self._items = items
        self.asked = 0

    def __getitem__(self, index: Any) -> Any:
        item = self._items[index]
        self.asked += 1
        return item

    def __len__(self) -> int:
        return len(self._items)


class Returned(ResolveMixin):
    """What a DAG file holds of what another task will return."""

    def __init__(self, returned: Any) -> None:
        self._returned = returned

    def iter_references(self) -> Iterator[tuple[Any, str]]:
        return iter(())

    def resolve(self, context: Mapping[str, Any]) -> Any:  # noqa: ARG002 - Airflow's own signature
        return self._returned


@pytest.mark.parametrize(
    ("operator", "parameter"), [(ApimartImageDatasetOperator, "prompts"), (ApimartToS3Operator, "source")]
)
def test_what_a_mapped_task_has_returned_is_fetched_once_and_shown(
    operator: type[BaseOperator], parameter: str
) -> None:
    from airflow.sdk import DAG
    from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

    returned = Lazy("task_1", "task_2")
    with DAG("a_dag", schedule=None) as dag:
        task = operator(task_id="a", s3_bucket="b", **{parameter: Returned(returned)})

    task.render_template_fields({"dag": dag, "task": task, "run_id": "a_run"})

    assert _serialize_rendered_fields(task)[parameter] == ["task_1", "task_2"]
    assert returned.asked == len(returned)


@pytest.mark.parametrize("value", ["text", b"bytes", None, 42, {"a": 1}, ["a"], ("a",), {"a"}])
def test_what_airflow_can_show_is_left_alone(value: object) -> None:
    assert materialize(value) is value
