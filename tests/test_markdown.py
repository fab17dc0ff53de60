"""Pictures as Markdown, read as Airflow's pages read it."""

from __future__ import annotations

from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from airflow_provider_apimart.markdown import pictures_as_markdown

RUN_ID = "manual__2025-11-03T06:15:00+00:00"


def held(name: str = "a", **known: Any) -> dict[str, Any]:
    return {"uri": f"s3://pictures/drafts/{name}.png", "width": 2, "height": 3, **known}


def written(*objects: dict[str, Any], **result: Any) -> str:
    """What is written of a task that has put these objects into S3."""
    returned = {"generate": {"objects": list(objects), "cost": 0.017, **result}}
    ti = SimpleNamespace(dag_id="a_dag", run_id=RUN_ID, xcom_pull=lambda task_ids: returned[task_ids])
    return pictures_as_markdown(ti, task_id="generate")


class Page(HTMLParser):
    """What a browser makes of Markdown."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(MarkdownIt().render(markdown))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += [data.strip()] if data.strip() else []

    def attributes(self, tag: str, name: str) -> list[str]:
        return [str(attributes[name]) for found, attributes in self.tags if found == tag]


def test_each_picture_is_shown_small_with_its_prompt_and_its_cost() -> None:
    page = Page(written(held("a", prompt="a cat", cost=0.0085), held("b", id="sku-1")))

    assert page.attributes("img", "alt") == ["a cat", "sku-1"]
    assert page.text[3:] == ["a cat (0.0085 USD)", "sku-1"]


def test_a_picture_of_which_nothing_is_known_is_called_by_its_address() -> None:
    assert Page(written(held("a", prompt=" "))).attributes("img", "alt") == ["s3://pictures/drafts/a.png"]


def test_a_picture_is_asked_for_by_the_task_that_has_stored_it() -> None:
    (source,) = Page(written(held("été & 1"))).attributes("img", "src")

    address = urlsplit(source)
    assert address.path == "/apimart/image"
    assert {name: value for name, (value,) in parse_qs(address.query).items()} == {
        "dag_id": "a_dag",
        "run_id": RUN_ID,
        "task_id": "generate",
        "map_index": "-1",
        "uri": "s3://pictures/drafts/été & 1.png",
        "size": "thumbnail",
    }


def test_a_link_leads_to_all_pictures_of_the_run() -> None:
    assert Page(written(held())).attributes("a", "href") == [
        "/dags/a_dag/runs/manual__2025-11-03T06%3A15%3A00%2B00%3A00/plugin/apimart-images-run"
    ]


def test_addresses_are_below_the_path_of_the_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.com/airflow/")
    page = Page(written(held()))

    assert page.attributes("img", "src")[0].startswith("/airflow/apimart/image?")
    assert page.attributes("a", "href")[0].startswith("/airflow/dags/a_dag/")


@pytest.mark.parametrize(("cost", "expected"), [(0.017, "0.0170 USD"), (0.0, "0.0000 USD"), (None, "cost unknown")])
def test_the_sum_comes_first_and_an_unknown_one_is_not_nothing(cost: float | None, expected: str) -> None:
    assert Page(written(held("a"), held("b"), cost=cost)).text[:3] == [f"2 pictures, {expected} (", "show all", ")"]


def test_of_many_pictures_the_first_are_shown() -> None:
    page = Page(written(*(held(str(number)) for number in range(30))))

    assert page.text[0].startswith("30 pictures")
    assert page.attributes("img", "alt") == [f"s3://pictures/drafts/{number}.png" for number in range(24)]


def test_a_dataset_too_large_to_list_is_counted() -> None:
    page = Page(written(objects=None, done=4000))

    assert page.text[0].startswith("Pictures of 4000 rows, ")
    assert page.attributes("img", "alt") == []


@pytest.mark.parametrize(("count", "expected"), [(0, "0 pictures, "), (1, "1 picture, ")])
def test_few_pictures_are_counted_too(count: int, expected: str) -> None:
    assert Page(written(*[held()] * count)).text[0].startswith(expected)


@pytest.mark.parametrize("result", [None, [{"objects": []}], {"images": []}], ids=["none", "mapped", "a purchase"])
def test_a_task_that_has_stored_nothing_is_named(result: Any) -> None:
    ti = SimpleNamespace(dag_id="a_dag", run_id=RUN_ID, xcom_pull=lambda task_ids: result if task_ids else None)

    with pytest.raises(ValueError, match=r"Task 'generate' of this run has returned \w+: must be"):
        pictures_as_markdown(ti, task_id="generate")


# Markdown itself replaces what is no character.
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")).filter(str.strip))
def test_whatever_a_prompt_holds_is_shown_as_text(prompt: str) -> None:
    page = Page(written(held(prompt=prompt)))

    assert page.attributes("img", "alt") == [" ".join(prompt.split())]
    assert [tag for tag, _ in page.tags] == ["p", "a", "p", "img", "p"]


def test_a_prompt_draws_nothing_and_leads_nowhere() -> None:
    prompt = "x](https://example.com) ![y](https://example.com/y.png)\n\n# <img src=//example.com> https://example.com"
    page = Page(written(held(prompt=prompt)))

    assert [urlsplit(source).path for source in page.attributes("img", "src")] == ["/apimart/image"]
    assert [tag for tag, _ in page.tags] == ["p", "a", "p", "img", "p"]
