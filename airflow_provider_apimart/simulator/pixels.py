"""
The pixels of the pictures that the simulator delivers for a ratio at a resolution, as the vendors' pages list them.

Of several documented alternatives the first; a dash says that the vendor refuses the pair.
"""

from __future__ import annotations

from typing import Final

__all__ = ["GPT_IMAGE_1", "GPT_IMAGE_2", "GPT_IMAGE_2_OFFICIAL", "pixel_table"]

_PixelTable = dict[str, dict[str, tuple[int, int]]]


def _read(text: str) -> _PixelTable:
    """Return a table of ratio rows under resolution columns as ``{ratio: {resolution: (width, height)}}``."""
    header, *rows = (line.split() for line in text.strip().splitlines())
    return {
        ratio: {resolution: _pixels(cell) for resolution, cell in zip(header[1:], cells, strict=True) if cell != "-"}
        for ratio, *cells in rows
    }


def _pixels(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


#: Section "Size x Resolution Mapping" of APIMart's page on gpt-image-2-official.
GPT_IMAGE_2_OFFICIAL: Final = _read(
    """
    size  1k         2k         4k
    1:1   1024x1024  2048x2048  -
    3:2   1536x1024  2048x1360  -
    2:3   1024x1536  1360x2048  -
    4:3   1024x768   2048x1536  -
    3:4   768x1024   1536x2048  -
    5:4   1280x1024  2560x2048  -
    4:5   1024x1280  2048x2560  -
    16:9  1536x864   2048x1152  3840x2160
    9:16  864x1536   1152x2048  2160x3840
    2:1   2048x1024  2688x1344  3840x1920
    1:2   1024x2048  1344x2688  1920x3840
    21:9  2016x864   2688x1152  3840x1648
    9:21  864x2016   1152x2688  1648x3840
    """
)

#: Table of the parameter ``resolution`` on APIMart's page on gpt-image-2; APIMaster's page shows a sample of the same.
GPT_IMAGE_2: Final = _read(
    """
    size  1k         2k         4k
    1:1   1024x1024  2048x2048  2880x2880
    3:2   1536x1024  2048x1360  3520x2336
    2:3   1024x1536  1360x2048  2336x3520
    4:3   1024x768   2048x1536  3312x2480
    3:4   768x1024   1536x2048  2480x3312
    5:4   1280x1024  2560x2048  3216x2576
    4:5   1024x1280  2048x2560  2576x3216
    16:9  1536x864   2048x1152  3840x2160
    9:16  864x1536   1152x2048  2160x3840
    2:1   2048x1024  2688x1344  3840x1920
    1:2   1024x2048  1344x2688  1920x3840
    3:1   1881x836   3072x1024  3840x1280
    1:3   887x1774   1024x3072  1280x3840
    21:9  2016x864   2688x1152  3840x1648
    9:21  864x2016   1152x2688  1648x3840
    """
)

#: Section "Size Reference" of APIMart's page on gpt-image-1-official and gpt-image-1.5-official: no tiers.
GPT_IMAGE_1: Final = _read(
    """
    size  1k
    1:1   1024x1024
    2:3   1024x1536
    3:2   1536x1024
    """
)


def pixel_table(model: str) -> _PixelTable:
    """Return the table of a model, of ``gpt-image-2`` for an unknown one."""
    if model.startswith("gpt-image-1"):
        return GPT_IMAGE_1
    return GPT_IMAGE_2_OFFICIAL if model == "gpt-image-2-official" else GPT_IMAGE_2
