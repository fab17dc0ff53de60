"""From an operator's parameters to a request, at parse time and at run time."""

from __future__ import annotations

import pytest

from airflow_provider_apimart.operators._fields import literal_request, rendered_request


@pytest.mark.parametrize(
    "value",
    ["{{ params.size }}", "{% if x %}1:1{% endif %}", object(), ["{{ a }}"], {"a": "{{ b }}"}],
    ids=["expression", "statement", "output of a task", "list", "mapping"],
)
def test_what_holds_a_template_is_not_known_when_the_dag_is_parsed(value: object) -> None:
    request, unknown = literal_request({"prompt": "a cat", "size": value})

    assert unknown == {"size"}
    assert request.size is None


def test_what_is_literal_is_known_when_the_dag_is_parsed() -> None:
    values = {"prompt": "a cat", "n": 3, "image_urls": ["https://example.com/a.png"], "extra_body": {"mood": ["calm"]}}

    request, unknown = literal_request(values)

    assert unknown == set()
    assert (request.n, request.image_urls) == (3, ("https://example.com/a.png",))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("n", "3", 3),
        ("n", " 3 ", 3),
        ("n", "three", "three"),
        ("output_compression", "80", 80),
        ("official_fallback", "True", True),
        ("official_fallback", "false", False),
        ("official_fallback", "perhaps", "perhaps"),
        ("size", "None", None),
        ("size", "", None),
        ("size", "16:9", "16:9"),
    ],
)
def test_rendered_texts_become_what_they_stand_for(name: str, text: str, value: object) -> None:
    request = rendered_request({"prompt": "a cat", name: text})

    assert getattr(request, name) == value


def test_a_prompt_stays_the_text_that_it_is() -> None:
    assert rendered_request({"prompt": "None"}).prompt == "None"


def test_an_empty_list_of_references_is_left_out() -> None:
    assert rendered_request({"prompt": "a cat", "image_urls": []}).image_urls is None
