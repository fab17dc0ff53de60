"""The catalogue says what the vendors' pages say."""

from __future__ import annotations

import pytest

from airflow_provider_apimart.gateway.catalogue import CATALOGUE, Gateway, ModelSpec, find_spec, specs_of

RATIOS_13 = {"1:1", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "16:9", "9:16", "2:1", "1:2", "21:9", "9:21"}
RATIOS_15 = RATIOS_13 | {"3:1", "1:3"}

each_spec = pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: f"{spec.gateway}-{spec.model}")


def test_all_models_of_the_four_pages_are_listed_once() -> None:
    listed = [(spec.gateway.value, spec.model) for spec in CATALOGUE]

    assert sorted(listed) == [
        ("apimart", "gpt-image-1-official"),
        ("apimart", "gpt-image-1.5-official"),
        ("apimart", "gpt-image-2"),
        ("apimart", "gpt-image-2-official"),
        ("apimaster", "gpt-image-2"),
    ]


@pytest.mark.parametrize(
    ("gateway", "model", "sizes", "pixel_strings", "references", "data_uris", "per_task"),
    [
        ("apimart", "gpt-image-2-official", RATIOS_13, True, 16, False, 4),
        ("apimart", "gpt-image-2", RATIOS_15 | {"auto"}, True, 16, True, 1),
        ("apimaster", "gpt-image-2", RATIOS_15 | {"auto"}, True, 16, True, 1),
        ("apimart", "gpt-image-1-official", {"1:1", "3:2", "2:3"}, False, 15, False, 4),
        ("apimart", "gpt-image-1.5-official", {"1:1", "3:2", "2:3"}, False, 15, False, 4),
    ],
)
def test_a_model_takes_what_its_page_lists(
    gateway: str,
    model: str,
    sizes: set[str],
    pixel_strings: bool,
    references: int,
    data_uris: bool,
    per_task: int,
) -> None:
    spec = find_spec(Gateway(gateway), model)

    assert spec is not None
    assert set(spec.sizes) == sizes
    assert (spec.pixel_strings, spec.max_reference_images) == (pixel_strings, references)
    assert (spec.data_uris, spec.images_per_task) == (data_uris, per_task)


def test_seven_ratios_of_gpt_image_2_official_have_no_4k_and_no_other_model_refuses_a_pair() -> None:
    refused = {(spec.model, *pair) for spec in CATALOGUE for pair in spec.refused_pairs}

    assert refused == {
        ("gpt-image-2-official", ratio, "4k") for ratio in RATIOS_13 - {"16:9", "9:16", "2:1", "1:2", "21:9", "9:21"}
    }


@each_spec
def test_every_notice_is_about_a_value_that_the_model_takes(spec: ModelSpec) -> None:
    choices = {"background": spec.backgrounds, "quality": (None, *spec.qualities), "official_fallback": (True,)}

    assert all(value in choices[name] for name, value in spec.notices)


def test_an_unknown_model_has_no_entry() -> None:
    assert specs_of("gpt-image-9") == ()
    assert find_spec(Gateway.APIMART, "gpt-image-9") is None


def test_a_model_of_one_gateway_is_unknown_on_the_other() -> None:
    assert find_spec(Gateway.APIMASTER, "gpt-image-2-official") is None
