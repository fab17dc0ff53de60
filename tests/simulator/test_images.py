from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from airflow_provider_apimart.gateway.catalogue import CATALOGUE
from airflow_provider_apimart.simulator.images import render
from airflow_provider_apimart.simulator.pixels import pixel_table

SMALL = {
    (size, format_): cell["1k"]
    for spec in CATALOGUE
    for size, cell in pixel_table(spec.model).items()
    for format_ in spec.output_formats or ("png",)
}
LARGE = [(3840, 2160, "png"), (2160, 3840, "jpeg"), (2688, 1152, "webp"), (2880, 2880, "png")]


def opened(content: bytes) -> tuple[str | None, str, tuple[int, int]]:
    with Image.open(BytesIO(content)) as picture:
        picture.load()
        return picture.format, picture.mode, picture.size


@pytest.mark.parametrize(
    ("width", "height", "image_format"),
    [(*pixels, image_format) for (_, image_format), pixels in SMALL.items()] + LARGE,
)
def test_a_picture_has_the_pixels_and_the_format_asked_for(width: int, height: int, image_format: str) -> None:
    assert opened(render("name", width, height, image_format)) == (image_format.upper(), "RGB", (width, height))


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_a_transparent_picture_has_clear_and_solid_parts(image_format: str) -> None:
    content = render("name", 256, 128, image_format, transparent=True)

    with Image.open(BytesIO(content)) as picture:
        assert picture.mode == "RGBA"
        assert picture.getchannel("A").getextrema() == (0, 255)


@pytest.mark.parametrize("image_format", ["jpeg", "webp"])
def test_compression_makes_the_file_smaller(image_format: str) -> None:
    assert len(render("name", 512, 512, image_format, 10)) < len(render("name", 512, 512, image_format, 95))


def test_a_picture_depends_on_its_name_alone() -> None:
    first = render("task_1:0", 64, 64, "png")
    render.cache_clear()

    assert render("task_1:0", 64, 64, "png") == first
    assert render("task_1:1", 64, 64, "png") != first


def test_even_the_smallest_picture_can_be_drawn() -> None:
    assert opened(render("name", 10, 10, "png"))[2] == (10, 10)
