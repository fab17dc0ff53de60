from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_apimart.gateway.catalogue import Gateway
from airflow_provider_apimart.simulator.answers import Refusal
from airflow_provider_apimart.simulator.validation import read_order

if TYPE_CHECKING:
    from airflow_provider_apimart.simulator.validation import Order

OFFICIAL = "gpt-image-2-official"
OLD = "gpt-image-1-official"
URLS = ["https://example.com/a.png"]


def order(model: str = "gpt-image-2", gateway: Gateway = Gateway.APIMART, **fields: Any) -> Order:
    return read_order(gateway, {"model": model, "prompt": "a red fox", **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": None}, "prompt is required"),
        ({"prompt": "  "}, "prompt is required"),
        ({"prompt": 7}, "prompt is required"),
        ({"model": ""}, "model is required"),
        ({"n": "1"}, "n must be a number"),
        ({"n": True}, "n must be a number"),
        ({"n": 0}, "invalid_n"),
        ({"n": 11}, "invalid_n"),
        ({"model": OFFICIAL, "n": 5}, "invalid_n"),
        ({"size": "7:5"}, "invalid size"),
        ({"size": 1024}, "invalid size"),
        ({"size": "9000x9000"}, "invalid size"),
        ({"size": "3840x3840"}, "invalid size"),
        ({"model": OLD, "size": "16:9"}, "invalid size"),
        ({"model": OLD, "size": "1024x1024"}, "invalid size"),
        ({"model": OFFICIAL, "size": "3:1"}, "invalid size"),
        ({"resolution": "8k"}, "invalid resolution"),
        ({"quality": "xhigh"}, "invalid quality"),
        ({"model": OFFICIAL, "background": "red"}, "invalid background"),
        ({"model": OFFICIAL, "moderation": "high"}, "invalid moderation"),
        ({"model": OLD, "output_format": "webp"}, "invalid output_format"),
        ({"model": OFFICIAL, "output_compression": 101}, "output_compression"),
        ({"model": OFFICIAL, "output_compression": "90"}, "output_compression"),
        ({"model": OLD, "background": "transparent", "output_format": "jpeg"}, "background transparent"),
        ({"model": OFFICIAL, "mask_url": "https://example.com/m.png"}, "mask_url must be used together"),
        ({"image_urls": "https://example.com/a.png"}, "image_urls must be an array"),
        ({"image_urls": [{"url": "https://example.com/a.png"}]}, "image_urls must be an array"),
        ({"image_urls": ["a.png"]}, r"image_urls\[0\]"),
        ({"image_urls": URLS * 17}, "image_urls exceeds max 16"),
        ({"model": OLD, "image_urls": URLS * 16}, "image_urls exceeds max 15"),
        ({"model": OLD, "image_urls": ["data:image/png;base64,AAAA"]}, "must be a public URL"),
        ({"image_urls": ["data:image/png;base64," + "A" * 28_000_000]}, "exceeds 20MB"),
        ({"official_fallback": "true"}, "official_fallback must be a boolean"),
    ],
)
def test_a_wrong_request_is_refused_with_the_documented_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal) as refusal:
        order(**fields)

    assert refusal.value.status == 400
    assert refusal.value.body["error"]["code"] == 400
    assert refusal.value.body["error"]["type"] == "invalid_request_error"
    assert re.search(message, refusal.value.body["error"]["message"])


@pytest.mark.parametrize("ratio", ["1:1", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5"])
def test_seven_ratios_of_the_official_model_have_no_4k(ratio: str) -> None:
    with pytest.raises(Refusal):
        order(OFFICIAL, size=ratio, resolution="4k")


@pytest.mark.parametrize(("n", "delivered"), [(-1, 1), (0, 1), (3, 3), (4, 4), (9, 4)])
def test_the_older_models_clamp_n_in_silence(n: int, delivered: int) -> None:
    assert order(OLD, n=n).images == delivered


def test_the_official_model_forgets_transparency_in_silence() -> None:
    assert not order(OFFICIAL, background="transparent").transparent
    assert not order(OFFICIAL, background="transparent", output_format="jpeg").transparent
    assert order(OLD, background="transparent").transparent


def test_fields_that_a_model_does_not_take_are_ignored() -> None:
    taken = order(
        style="vivid", response_format="b64_json", output_format="jpeg", background="transparent", mask_url="x"
    )

    assert (taken.image_format, taken.transparent) == ("png", False)
    assert order(OLD, resolution="8k").resolution == "1k"
    assert order(gateway=Gateway.APIMASTER, quality="xhigh").quality is None


@pytest.mark.parametrize(
    ("fields", "pixels"),
    [
        ({}, (1024, 1024)),
        ({"size": "auto"}, (1024, 1024)),
        ({"size": "auto", "resolution": "2k"}, (2048, 2048)),
        ({"size": "21:9", "resolution": "4k"}, (3840, 1648)),
        ({"size": "1881x836"}, (1881, 836)),
        ({"size": "1881x836", "resolution": "4k"}, (1881, 836)),
        ({"model": OLD, "size": "2:3"}, (1024, 1536)),
        ({"model": "unheard-of", "size": "16:9", "resolution": "2K"}, (2048, 1152)),
        ({"model": "unheard-of", "size": "7:5"}, (1024, 1024)),
        ({"model": "unheard-of", "size": ["16:9"]}, (1024, 1024)),
    ],
)
def test_size_and_resolution_decide_the_pixels(fields: dict[str, Any], pixels: tuple[int, int]) -> None:
    taken = order(**fields)

    assert (taken.width, taken.height) == pixels


def test_compression_counts_only_where_the_format_can_be_compressed() -> None:
    assert order(OFFICIAL, output_format="webp", output_compression=30).compression == 30
    assert order(OFFICIAL, output_format="png", output_compression=30).compression is None
    assert order(output_compression=30).compression is None


def test_a_field_that_is_null_is_a_field_that_is_absent() -> None:
    assert order(n=None, size=None, image_urls=None, quality=None) == order()
