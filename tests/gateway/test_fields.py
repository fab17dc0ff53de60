"""Values as DAG files, templates, XComs and tables give them become the fields of a request."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import ObjectStoragePath
from services.reference_files import DATA_URI

from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import Gateway
from airflow_provider_apimart.gateway.request import (
    ImageRequest,
    build_request,
    literal_request,
    rendered_request,
    rendered_values,
    typed,
)
from airflow_provider_apimart.gateway.validation import check

if TYPE_CHECKING:
    from collections.abc import Callable

A, B = "https://example.com/a.png", "https://example.com/b.png"


class LazySequence(Sequence[str]):
    """A sequence that is not a list, as the XComs of mapped tasks are."""

    def __init__(self, *items: str) -> None:
        self._items = items

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)


class TestTyped:
    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("n", "3", 3),
            ("n", " 3 ", 3),
            ("n", "-3", -3),
            ("n", 3, 3),
            ("n", 3.0, 3),
            ("n", "3.0", 3),
            ("n", Decimal("2.0"), 2),
            ("n", 2.5, 2.5),
            ("n", "2.5", "2.5"),
            ("n", "--3", "--3"),
            ("n", "9" * 5000, "9" * 5000),
            ("n", "three", "three"),
            ("n", True, True),
            ("n", float("nan"), float("nan")),
            ("output_compression", "80", 80),
            ("official_fallback", "True", True),
            ("official_fallback", " false ", False),
            ("official_fallback", "perhaps", "perhaps"),
            ("official_fallback", True, True),
            ("prompt", "3", "3"),
            ("prompt", " a kite ", " a kite "),
            ("prompt", 1984, "1984"),
            ("prompt", 19.84, "19.84"),
            ("prompt", True, True),
            ("prompt", ["a kite"], ["a kite"]),
            ("size", "true", "true"),
            ("size", " 16:9\n", "16:9"),
        ],
    )
    def test_a_value_becomes_the_type_of_its_field_where_the_meaning_is_plain(
        self, name: str, value: object, expected: object
    ) -> None:
        assert (repr(typed(name, value)), type(typed(name, value))) == (repr(expected), type(expected))

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            pytest.param([A, B], (A, B), id="list"),
            pytest.param(LazySequence(A, B), (A, B), id="lazy sequence"),
            pytest.param(iter([A, B]), (A, B), id="iterator"),
            pytest.param({A: 1, B: 2}.keys(), (A, B), id="keys"),
            pytest.param({B, A}, (A, B), id="set, in an order that is the same in each process"),
            pytest.param(f'["{A}", "{B}"]', (A, B), id="JSON"),
            pytest.param(f"['{A}', '{B}']", (A, B), id="a list as Jinja renders it"),
            pytest.param(f"('{A}',)", (A,), id="a tuple as Jinja renders it"),
            pytest.param(f" {A}\n", (A,), id="one URL"),
            pytest.param(DATA_URI, (DATA_URI,), id="one data URI"),
            pytest.param(
                "https://example.com/w_10,h_20/a;b.png", ("https://example.com/w_10,h_20/a;b.png",), id="comma"
            ),
            pytest.param("/data/my picture.png", ("/data/my picture.png",), id="one path with a space"),
            pytest.param(Path("/data/a.png"), ("/data/a.png",), id="path"),
            pytest.param([Path("/data/a.png"), A], ("/data/a.png", A), id="path in a list"),
            pytest.param(
                [ObjectStoragePath("s3://aws_default@bucket/a.png")], ("s3://aws_default@bucket/a.png",), id="object"
            ),
        ],
    )
    def test_reference_images_may_come_in_any_form_of_a_list(self, value: object, expected: tuple[str, ...]) -> None:
        assert typed("image_urls", value) == expected

    @pytest.mark.parametrize(
        "value",
        [f"{A} {B}", f"{A},{B}", f"{A};\n{B}", f"{DATA_URI},{DATA_URI}", f"[{A}]", "[1", "", 5, b"a.png", {"url": A}],
        ids=repr,
    )
    def test_reference_images_without_a_plain_meaning_are_refused(self, value: Any) -> None:
        request = ImageRequest(prompt="a cat", image_urls=typed("image_urls", value))

        with pytest.raises(InvalidRequestError, match=r"image_urls=.*must be a list of URLs") as refused:
            check(request, Gateway.APIMART)
        assert refused.value.field == "image_urls"

    @pytest.mark.parametrize("model", ["gpt-image-2", "unheard-of"])
    def test_a_text_of_several_urls_is_refused_for_any_model(self, model: str) -> None:
        with pytest.raises(InvalidRequestError, match="a text may hold one URL, or a JSON list"):
            check(rendered_request({"prompt": "a cat", "model": model, "image_urls": f"{A}, {B}"}), Gateway.APIMART)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ('{"seed": 7, "nsfw_check": true}', {"seed": 7, "nsfw_check": True}),
            ("{'seed': 7, 'nsfw_check': True}", {"seed": 7, "nsfw_check": True}),
            ({"seed": 7}, {"seed": 7}),
            ("seed=7", "seed=7"),
            ("[7]", "[7]"),
            (7, 7),
        ],
        ids=repr,
    )
    def test_extra_body_may_be_the_text_of_a_mapping(self, value: object, expected: object) -> None:
        assert typed("extra_body", value) == expected

    def test_a_mask_may_be_a_path(self) -> None:
        assert typed("mask_url", Path("/data/mask.png")) == "/data/mask.png"


class TestBuildRequest:
    def test_what_is_none_is_left_out(self) -> None:
        assert build_request({"prompt": "a cat", "model": None, "size": None}) == ImageRequest(prompt="a cat")

    @pytest.mark.parametrize("references", [[], ()])
    def test_an_empty_list_of_references_is_left_out(self, references: object) -> None:
        assert build_request({"prompt": "a cat", "image_urls": references}).image_urls is None

    def test_references_may_be_a_list(self) -> None:
        assert build_request({"prompt": "a cat", "image_urls": [A]}).image_urls == (A,)


class TestParsing:
    @pytest.mark.parametrize(
        "value",
        [
            "{{ params.size }}",
            "{% if x %}1:1{% endif %}",
            "1:1{# square #}",
            pytest.param(object(), id="an object"),
            ["{{ a }}"],
            {"a": "{{ b }}"},
            Path("/data/{{ ds }}.png"),
            pytest.param(LazySequence("1:1"), id="a lazy sequence"),
        ],
        ids=repr,
    )
    def test_a_template_or_the_output_of_a_task_is_not_known(self, value: object) -> None:
        request, unknown = literal_request({"prompt": "a cat", "size": value})

        assert unknown == {"size"}
        assert request.size is None

    def test_literals_are_known(self) -> None:
        values = {"prompt": "a cat", "n": "3", "image_urls": [Path("/a.png")], "extra_body": {"mood": ["calm"]}}

        request, unknown = literal_request(values)

        assert unknown == set()
        assert request == ImageRequest(prompt="a cat", n=3, image_urls=("/a.png",), extra_body={"mood": ["calm"]})

    @pytest.mark.parametrize("name", ["prompt", "model", "n"])
    def test_a_required_field_that_is_none_is_refused(self, name: str) -> None:
        with pytest.raises(InvalidRequestError, match=rf"{name} has no value.*Nothing was submitted"):
            literal_request({"prompt": "a cat", name: None})


class TestRendering:
    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("n", "3", 3),
            ("n", "three", "three"),
            ("output_compression", "80", 80),
            ("official_fallback", "False", False),
            ("size", "None", None),
            ("size", "", None),
            ("size", "16:9", "16:9"),
            ("image_urls", "None", None),
            ("image_urls", [], None),
            ("extra_body", "", {}),
            ("extra_body", "null", {}),
        ],
    )
    def test_texts_become_the_values_that_they_stand_for(self, name: str, text: str, value: object) -> None:
        assert getattr(rendered_request({"prompt": "a cat", name: text}), name) == value

    @pytest.mark.parametrize("value", [None, "None", "null", "", "  "], ids=repr)
    @pytest.mark.parametrize("name", ["prompt", "model", "n"])
    @pytest.mark.parametrize("render", [rendered_request, rendered_values])
    def test_a_required_field_that_rendered_to_nothing_never_takes_its_default(
        self, render: Callable[[dict[str, Any]], object], name: str, value: object
    ) -> None:
        with pytest.raises(InvalidRequestError, match=rf"{name} has no value.*Nothing was submitted") as refused:
            render({"prompt": "a cat", "model": "gpt-image-2", "n": 1, name: value})

        assert refused.value.field == name
        assert (refused.value.retryable, refused.value.charged) == (False, "no")

    def test_a_request_needs_a_prompt(self) -> None:
        with pytest.raises(InvalidRequestError, match="prompt"):
            rendered_request({"model": "gpt-image-2"})

    def test_values_without_a_prompt_may_be_the_defaults_of_a_dataset(self) -> None:
        assert rendered_values({"model": "gpt-image-2", "n": "2", "size": "None"}) == {
            "model": "gpt-image-2",
            "n": 2,
            "size": None,
        }

    @pytest.mark.parametrize("prompt", [["a cat"], {"text": "a cat"}, True, b"a cat"], ids=repr)
    def test_a_prompt_that_is_not_text_is_refused(self, prompt: object) -> None:
        with pytest.raises(InvalidRequestError, match=r"prompt=.*must be a text"):
            check(rendered_request({"prompt": prompt}), Gateway.APIMART)
