"""
Sphinx configuration.

What the code knows, the pages take from the code when they are built: a line ``<!-- generated: name -->`` in a page is
replaced by what the function of that name returns.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pygments.lexers.special import TextLexer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sphinx.application import Sphinx

from airflow_provider_apimart import __version__
from airflow_provider_apimart.gateway.catalogue import CATALOGUE, ModelSpec
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.validation import MAX_PICTURES, problems_at
from airflow_provider_apimart.hooks.connection_form import CONNECTION_FIELDS

# Airflow makes folders in its home when autodoc imports it, and a reader's own home is none of our business.
os.environ["AIRFLOW_HOME"] = str(Path(__file__).parent / "_build" / "airflow")
logging.getLogger("airflow").setLevel(logging.WARNING)

project = "airflow-provider-apimart"
author = "The airflow-provider-apimart maintainers"
project_copyright = f"{author}, Apache License 2.0"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_show_sourcelink = False


def connection_fields() -> str:
    """Return the fields of the connection's extra as a table."""
    rows = [
        (_code(name), form["description"], _allowed(form["schema"]), _code(form["schema"].get("default", "none")))
        for name, form in CONNECTION_FIELDS.items()
    ]
    return _table(("Extra field", "Meaning", "Allowed", "Default"), rows)


def catalogue() -> str:
    """Return one section for each model on each gateway."""
    return "\n\n".join(_section(spec) for spec in CATALOGUE)


def simulator_help() -> str:
    """Return what ``--help`` prints."""
    command = [sys.executable, "-m", "airflow_provider_apimart.simulator", "--help"]
    environment = {**os.environ, "COLUMNS": "110", "NO_COLOR": "1"}
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)  # noqa: S603 - ours
    return f"```text\n{printed.stdout}```"


def _section(spec: ModelSpec) -> str:
    paragraphs = [f"## `{spec.model}` on `{spec.gateway}`", _table(("Field", "Accepted"), _fields(spec))]
    if refused := _refused_together(spec):
        paragraphs += ["Refused although each value alone is accepted:", _list(refused)]
    if spec.notices:
        notices = (
            f"`{name}`{'' if value is None else f' = `{value}`'}: {text}"
            for (name, value), text in spec.notices.items()
        )
        paragraphs += ["Accepted, with a warning in the task's log:", _list(notices)]
    return "\n\n".join(paragraphs)


def _fields(spec: ModelSpec) -> Iterator[tuple[str, str]]:
    pixel_strings = ""
    if spec.pixel_strings:
        limit = "" if spec.max_pixels is None else f" of at most {spec.max_pixels:,} pixels in all"
        pixel_strings = f", or pixels such as `1024x1024`{limit}"
    yield "`size`", _codes(spec.sizes) + pixel_strings
    yield "`resolution`", _codes(spec.resolutions)
    yield "`quality`", _codes(spec.qualities)
    yield "`background`", _codes(spec.backgrounds)
    yield "`moderation`", _codes(spec.moderations)
    yield "`output_format`", _codes(spec.output_formats)
    yield "`output_compression`", "0 to 100" if spec.compressible_formats else _codes(())
    data_uris = " or data URIs" if spec.data_uris else "; no data URIs"
    yield "`image_urls`", f"up to {spec.max_reference_images} public URLs{data_uris}"
    yield "`mask_url`", "a public URL" if spec.mask else _codes(())
    yield "`official_fallback`", "`True`, `False`" if spec.official_fallback else _codes(())
    yield "`n`", f"1 to {MAX_PICTURES}; pictures in one gateway task: {spec.images_per_task}"


def _refused_together(spec: ModelSpec) -> list[str]:
    """Return, in the words of the check itself, what it says to pairs of values that it accepts one by one."""
    pairs: Iterable[dict[str, Any]] = [
        *({"size": size, "resolution": resolution} for size in spec.sizes for resolution in spec.resolutions),
        *({"background": ground, "output_format": ext} for ground in spec.backgrounds for ext in spec.output_formats),
        *({"output_compression": 50, "output_format": ext} for ext in spec.output_formats if spec.compressible_formats),
        *([{"mask_url": "https://example.com/mask.png"}] if spec.mask else []),
    ]
    problems = (
        problem
        for pair in pairs
        for problem in problems_at(ImageRequest(prompt="A red kite", model=spec.model, **pair), spec.gateway)
    )
    return list(dict.fromkeys(f"`{problem.field}`: {problem.allowed}" for problem in problems))


def _allowed(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return _codes(schema["enum"])
    kind = next(kind for kind in schema["type"] if kind != "null")
    limits = {"exclusiveMinimum": "above {}", "minimum": "at least {}"}
    limit = next((text.format(schema[name]) for name, text in limits.items() if name in schema), None)
    return ", ".join(filter(None, (kind, limit)))


def _code(value: object) -> str:
    return f"`{value}`"


def _codes(values: Iterable[object]) -> str:
    return ", ".join(map(_code, values)) or "not taken"


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ("---",) * len(header), *rows))


GENERATED = {
    "catalogue": catalogue,
    "connection-fields": connection_fields,
    "simulator-help": simulator_help,
}


def setup(app: Sphinx) -> None:
    # GitHub draws these diagrams; the built pages show their text.
    app.add_lexer("mermaid", TextLexer)
    app.connect("source-read", _fill_in)


def _fill_in(_app: Sphinx, _docname: str, source: list[str]) -> None:
    source[0] = re.sub(r"<!-- generated: ([\w-]+) -->", lambda found: GENERATED[found[1]](), source[0])
