"""What is refused before it is sent, and what is not."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from gateway.invalid_requests import INVALID, URL
from services.reference_files import DATA_URI

from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import CATALOGUE, Gateway, ModelSpec
from airflow_provider_apimart.gateway.request import REQUEST_FIELDS, ImageRequest
from airflow_provider_apimart.gateway.validation import check, check_anywhere, dollars, duration, notices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.invalid_requests import InvalidRequest

WRONG_EVERYWHERE = [invalid for invalid in INVALID if invalid.is_wrong_everywhere]
WRONG_HERE_ONLY = [invalid for invalid in INVALID if not invalid.is_wrong_everywhere]
OF_SEVERAL_FIELDS = [invalid for invalid in INVALID if len(invalid.fields) > 1]

#: From APIMart's page on gpt-image-2-official.
RATIOS_AT_4K = {"16:9", "9:16", "2:1", "1:2", "21:9", "9:21"}

each_spec = pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: f"{spec.gateway}-{spec.model}")


def test_the_catalogue_yields_more_than_150_invalid_requests() -> None:
    assert len({str(invalid) for invalid in WRONG_EVERYWHERE}) >= 150


@pytest.mark.parametrize("invalid", WRONG_EVERYWHERE, ids=str)
def test_a_request_that_no_gateway_takes_is_refused_when_the_dag_is_parsed(invalid: InvalidRequest) -> None:
    with pytest.raises(InvalidRequestError, match=rf"[ ;]{invalid.field}=.*\. Nothing was submitted\.$") as refusal:
        check_anywhere(invalid.request)

    assert refusal.value.field == invalid.field
    assert refusal.value.allowed in str(refusal.value)
    assert len(str(refusal.value)) < 1000, "a data URI must not fill the log"


@pytest.mark.parametrize("invalid", INVALID, ids=str)
def test_a_request_that_this_gateway_does_not_take_is_refused(invalid: InvalidRequest) -> None:
    where = f"{invalid.spec.model} on {invalid.spec.gateway}"

    with pytest.raises(InvalidRequestError, match=rf"{where}: {invalid.field}=") as refusal:
        check(invalid.request, invalid.spec.gateway)

    assert refusal.value.field == invalid.field
    assert (refusal.value.charged, refusal.value.retryable) == ("no", False)


@pytest.mark.parametrize("invalid", WRONG_HERE_ONLY, ids=str)
def test_a_request_that_another_gateway_takes_passes_when_the_dag_is_parsed(invalid: InvalidRequest) -> None:
    check_anywhere(invalid.request)


@pytest.mark.parametrize("invalid", INVALID, ids=str)
def test_a_field_that_holds_a_template_causes_no_problem(invalid: InvalidRequest) -> None:
    check_anywhere(invalid.request, unknown=invalid.fields)
    check(invalid.request, invalid.spec.gateway, unknown=invalid.fields)


@pytest.mark.parametrize(
    ("unknown", "fields"),
    [
        ("size", {"size": "1:1", "resolution": "4k"}),
        ("resolution", {"size": "1:1", "resolution": "4k"}),
        ("resolution", {"resolution": "4k"}),
        ("image_urls", {"resolution": "4k"}),
        ("output_format", {"output_compression": 90, "output_format": "png"}),
        ("output_compression", {"output_compression": 90, "output_format": "png"}),
        ("output_format", {"background": "transparent", "output_format": "jpeg"}),
        ("background", {"background": "transparent", "output_format": "jpeg"}),
        ("image_urls", {"mask_url": URL, "image_urls": ()}),
        ("mask_url", {"mask_url": URL, "image_urls": ()}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_fields_exclude_each_other_only_when_both_are_known(unknown: str, fields: dict[str, Any]) -> None:
    request = ImageRequest(prompt="A lighthouse", model="gpt-image-2-official", **fields)

    with pytest.raises(InvalidRequestError):
        check_anywhere(request)
    check_anywhere(request, unknown={unknown})
    check(request, Gateway.APIMART, unknown={unknown})


def test_a_request_of_nothing_but_templates_passes() -> None:
    fields: dict[str, Any] = dict.fromkeys([*REQUEST_FIELDS, "extra_body"], "{{ params.anything }}")

    check_anywhere(ImageRequest(**fields), unknown=fields)


def test_a_templated_model_leaves_only_what_holds_for_every_model() -> None:
    request = ImageRequest(prompt="A lighthouse", model="{{ params.model }}", quality="ultra", n=0)

    with pytest.raises(InvalidRequestError, match="n=0") as refusal:
        check_anywhere(request, unknown={"model"})
    assert "quality" not in str(refusal.value)


@each_spec
def test_every_combination_that_the_page_lists_passes(spec: ModelSpec) -> None:
    passed = 0
    for request in combinations(spec):
        check(request, spec.gateway)
        check_anywhere(request)
        passed += 1
    assert passed >= len(spec.sizes)


def combinations(spec: ModelSpec) -> Iterator[ImageRequest]:
    names = ("size", "resolution", "quality", "background", "moderation", "output_format", "output_compression")
    compressions = (None, 0, 100) if spec.compressible_formats else (None,)
    for values in product(
        spec.sizes,
        (None, *spec.resolutions),
        (None, *spec.qualities),
        (None, *spec.backgrounds),
        (None, *spec.moderations),
        (None, *spec.output_formats),
        compressions,
    ):
        fields = dict(zip(names, values, strict=True))
        if not is_excluded(spec, fields):
            yield ImageRequest(prompt="A lighthouse", model=spec.model, **fields)


def is_excluded(spec: ModelSpec, fields: dict[str, Any]) -> bool:
    """The pages' own words: four ratios have no 4k, compression needs jpeg or webp, jpeg is never transparent."""
    too_large = spec.model == "gpt-image-2-official" and fields["size"] not in RATIOS_AT_4K
    return (
        (fields["resolution"] == "4k" and too_large)
        or (fields["output_compression"] is not None and fields["output_format"] not in ("jpeg", "webp"))
        or (fields["background"] == "transparent" and fields["output_format"] == "jpeg")
    )


@each_spec
@pytest.mark.parametrize("n", [1, 2, 4, 5, 10, 500])
def test_any_number_of_pictures_passes_because_it_becomes_several_tasks(spec: ModelSpec, n: int) -> None:
    check(ImageRequest(prompt="A lighthouse", model=spec.model, n=n), spec.gateway)


@each_spec
def test_as_many_references_as_allowed_pass(spec: ModelSpec) -> None:
    urls = (URL,) * spec.max_reference_images
    mask = URL if spec.mask else None

    check(ImageRequest(prompt="A lighthouse", model=spec.model, image_urls=urls, mask_url=mask), spec.gateway)


@pytest.mark.parametrize("gateway", Gateway)
def test_urls_and_data_uris_may_be_mixed_for_gpt_image_2(gateway: Gateway) -> None:
    check(ImageRequest(prompt="A lighthouse", image_urls=(URL, DATA_URI), official_fallback=True), gateway)


@pytest.mark.parametrize(
    ("model", "size"),
    [("gpt-image-2", "1881x836"), ("gpt-image-2", "887x1774"), ("gpt-image-2-official", "3840x2160")],
)
def test_the_pixel_strings_of_the_pages_pass(model: str, size: str) -> None:
    check(ImageRequest(prompt="A lighthouse", model=model, size=size), Gateway.APIMART)


def test_without_a_size_the_output_follows_the_reference_at_any_resolution() -> None:
    check(
        ImageRequest(prompt="A lighthouse", model="gpt-image-2-official", resolution="4k", image_urls=(URL,)),
        Gateway.APIMART,
    )


def test_every_wrong_field_is_named_at_once() -> None:
    request = ImageRequest(prompt="", n=0, size="7:5", quality="ultra")

    with pytest.raises(InvalidRequestError) as refusal:
        check(request, Gateway.APIMART)

    assert all(f"{name}=" in str(refusal.value) for name in ("prompt", "n", "size", "quality"))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        pytest.param({"prompt": "half of a pair: \ud800"}, "prompt", id="surrogate"),
        pytest.param({"extra_body": {"seed": float("nan")}}, "extra_body", id="NaN"),
        pytest.param({"extra_body": {"picture": b"png"}}, "extra_body", id="bytes"),
    ],
)
def test_what_json_cannot_hold_is_refused_before_it_is_sent(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequestError, match=named) as caught:
        check(ImageRequest(**{"prompt": "a cat", **fields}), "apimart")

    assert caught.value.field == named


def test_an_unknown_model_passes_and_is_mentioned() -> None:
    request = ImageRequest(prompt="A lighthouse", model="gpt-image-9", size="7:5", quality="ultra")

    check_anywhere(request)
    check(request, Gateway.APIMART)

    (notice,) = notices(request, Gateway.APIMART)
    assert "'gpt-image-9' on apimart is not in the catalogue" in notice


def test_an_unknown_model_still_needs_a_prompt_and_a_number() -> None:
    with pytest.raises(InvalidRequestError, match=r"prompt=.*n="):
        check_anywhere(ImageRequest(prompt=" ", model="gpt-image-9", n="2"))  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["", "  ", None, 5])
def test_a_model_must_be_named(model: Any) -> None:
    with pytest.raises(InvalidRequestError, match="model="):
        check_anywhere(ImageRequest(prompt="A lighthouse", model=model))


def test_extra_body_may_carry_what_the_catalogue_does_not_know() -> None:
    request = ImageRequest(prompt="A lighthouse", extra_body={"nsfw_check": True, "resolution": "8k"})

    check(request, Gateway.APIMART)


@pytest.mark.parametrize(
    ("gateway", "fields", "said"),
    [
        (Gateway.APIMART, {"model": "gpt-image-2-official", "background": "transparent"}, "silently delivers 'auto'"),
        (Gateway.APIMART, {"quality": "high"}, "may be ignored"),
        (Gateway.APIMART, {"official_fallback": True}, "costs more"),
        (Gateway.APIMASTER, {"official_fallback": True}, "costs more"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_what_the_vendor_changes_in_silence_is_said(gateway: Gateway, fields: dict[str, Any], said: str) -> None:
    (notice,) = notices(ImageRequest(prompt="A lighthouse", **fields), gateway)

    assert said in notice


@pytest.mark.parametrize(
    "fields",
    [{}, {"official_fallback": False}, {"model": "gpt-image-2-official", "background": "opaque"}],
    ids=["nothing-set", "fallback-off", "opaque"],
)
def test_nothing_is_said_where_the_vendor_does_as_told(fields: dict[str, Any]) -> None:
    assert notices(ImageRequest(prompt="A lighthouse", **fields), Gateway.APIMART) == []


def test_more_pictures_than_a_request_may_have_are_a_dataset() -> None:
    with pytest.raises(InvalidRequestError, match=r"n=501: must be at most 500: ApimartImageDatasetOperator"):
        check_anywhere(ImageRequest(prompt="A lighthouse", model="unheard-of", n=501))


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "gpt-image-2.5-flare", "quality": "xhigh"},
        {"model": "gpt-image-2.5-sunburst", "quality": "max", "size": "1040x1040"},
        {"model": "gpt-image-9", "output_format": "svg"},
        {"model": "gpt-image-9", "output_format": "gif"},
    ],
    ids=lambda fields: "-".join(fields.values()),
)
@pytest.mark.parametrize("gateway", Gateway)
def test_new_values_of_models_that_the_catalogue_does_not_know_pass(gateway: Gateway, fields: dict[str, Any]) -> None:
    request = ImageRequest(prompt="A lighthouse", **fields)

    check_anywhere(request)
    check(request, gateway)
    assert "not in the catalogue" in notices(request, gateway)[0]


LOCAL = [
    "s3://bucket/a.png",
    "s3://aws_default@bucket/folder/a",
    "s3a://bucket/a.png",
    "/data/a.png",
    "./a",
    "../a.webp",
    "file:///data/a.png",
    "data/a b.png",
    "a.JPG",
]
NOT_LOCAL = [
    "htps://a.example/a.png",
    "example.com/a.png",
    "n/a",
    "s3://bucket",
    "s3://bucket/folder/",
    "ftp://a/b.png",
]


class TestLocalReferences:
    @pytest.mark.parametrize("address", LOCAL)
    def test_pass_where_the_caller_uploads_them(self, address: str) -> None:
        request = ImageRequest(
            prompt="A lighthouse", model="gpt-image-2-official", image_urls=(URL, address), mask_url=address
        )

        check(request, Gateway.APIMART, local_references=True)
        check_anywhere(request, local_references=True)

    @pytest.mark.parametrize("address", LOCAL)
    def test_are_refused_elsewhere(self, address: str) -> None:
        request = ImageRequest(prompt="A lighthouse", image_urls=(address,))

        with pytest.raises(InvalidRequestError, match=r"image_urls=.*must be a public http or https URL"):
            check(request, Gateway.APIMART)

    @pytest.mark.parametrize("address", NOT_LOCAL)
    def test_are_told_from_mistakes(self, address: str) -> None:
        request = ImageRequest(prompt="A lighthouse", image_urls=(address,))

        with pytest.raises(InvalidRequestError, match="or the address of a file") as refused:
            check(request, Gateway.APIMART, local_references=True)
        assert refused.value.field == "image_urls"

    def test_become_data_uris_where_the_gateway_takes_no_uploads(self) -> None:
        check(ImageRequest(prompt="A lighthouse", image_urls=("/a.png",)), Gateway.APIMASTER, local_references=True)


class TestDuration:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (4, 4.0),
            (0.5, 0.5),
            ("600", 600.0),
            (" 1e3\n", 1000.0),
            (Decimal("2.5"), 2.5),
            (timedelta(minutes=10), 600.0),
            ("0:10:00", 600.0),
            ("1 day, 0:00:01.500000", 86401.5),
            (timedelta(days=366), 366 * 86400.0),
        ],
        ids=repr,
    )
    def test_is_given_in_any_form(self, value: object, seconds: float) -> None:
        assert (duration("timeout", value), type(duration("timeout", value))) == (seconds, float)

    @pytest.mark.parametrize(
        "value",
        [
            *(0, -1, "0", timedelta(0), timedelta(seconds=-1)),
            *(None, "", "None", "soon", "10m", True, []),
            *(math.nan, math.inf, "inf", 1e15, 10**400, timedelta(days=367)),
        ],
        ids=lambda value: repr(value)[:30],
    )
    def test_anything_else_is_refused(self, value: object) -> None:
        with pytest.raises(
            InvalidRequestError, match=r"^timeout=.*: must be more than 0 seconds.*Nothing was sub"
        ) as caught:
            duration("timeout", value)

        assert caught.value.field == "timeout"

    @pytest.mark.parametrize("value", [0, "0", timedelta(0)], ids=repr)
    def test_may_be_zero_where_that_is_said(self, value: object) -> None:
        assert duration("initial_delay", value, may_be_zero=True) == 0

        with pytest.raises(InvalidRequestError, match="0 seconds or more"):
            duration("initial_delay", -1, may_be_zero=True)


class TestDollars:
    @pytest.mark.parametrize(
        ("value", "amount"),
        [(1, 1.0), (0.25, 0.25), ("0.25", 0.25), (Decimal("0.25"), 0.25), (None, None)],
        ids=repr,
    )
    def test_are_given_in_any_form(self, value: object, amount: float | None) -> None:
        assert dollars("max_cost", value) == amount

    @pytest.mark.parametrize(
        "value", [0, -1, "0", "$1", "1,5", True, math.nan, math.inf, [1], {}, "None", " "], ids=repr
    )
    def test_anything_else_is_refused(self, value: object) -> None:
        with pytest.raises(InvalidRequestError, match=r"^max_cost=.*: must be more than 0 US dollars") as caught:
            dollars("max_cost", value)

        assert caught.value.field == "max_cost"
