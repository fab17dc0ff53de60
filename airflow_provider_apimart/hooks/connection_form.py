"""The fields of the connection form in the UI, declared as data (Airflow 3.2 and later) or built as widgets."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["CONNECTION_FIELDS", "UI_FIELD_BEHAVIOUR", "form_widgets"]

UI_FIELD_BEHAVIOUR: Final[dict[str, Any]] = {
    "hidden-fields": ["login", "port", "schema"],
    "relabeling": {"password": "API key", "host": "Base URL"},
    # These fields have no place for a help text.
    "placeholders": {
        "host": "https://api.apimart.ai unless given; https://apimaster.ai for APIMaster",
        "password": "sk-..., from https://apimart.ai/keys or APIMaster's console",
    },
}

#: Keys of the connection's extra, with their JSON schemas. The form reads only ``minimum`` of the limits;
#: ``values_display`` and ``examples`` are extensions of the form.
CONNECTION_FIELDS: Final[dict[str, dict[str, Any]]] = {
    "gateway": {
        "label": "Gateway",
        "description": "API dialect at the base URL. Choose one for your own proxy or the simulator.",
        "schema": {
            "type": ["string", "null"],
            "enum": ["auto", "apimart", "apimaster"],
            "values_display": {"auto": "by the base URL's host", "apimart": "APIMart", "apimaster": "APIMaster"},
            "default": "auto",
        },
    },
    "submit_path": {
        "label": "Submit path",
        "description": "Path for submits. APIMaster also has /v1/images/generations/async.",
        "schema": {
            "type": ["string", "null"],
            "pattern": "^/",
            "examples": ["/v1/images/generations", "/v1/images/generations/async"],
            "default": "/v1/images/generations",
        },
    },
    "timeout": {
        "label": "Timeout",
        "description": "Seconds in total for one HTTP request, not for a picture. Unless changed, a submit to "
        "APIMaster has 330, because it may respond with the finished picture.",
        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0, "minimum": 0, "default": 30},
    },
    "max_concurrency": {
        "label": "Max concurrency",
        "description": "Simultaneous requests of one hook, or of the poller of one triggerer.",
        "schema": {"type": ["integer", "null"], "minimum": 1, "default": 16},
    },
    "requests_per_second": {
        "label": "Requests per second",
        "description": "Limit on the submits of one hook; empty for none.",
        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0, "minimum": 0},
    },
    "batch_polling": {
        "label": "Batch polling",
        "description": "Query the status of many tasks in one request.",
        "schema": {
            "type": ["string", "null"],
            "enum": ["auto", "off"],
            "values_display": {"auto": "where the gateway supports it", "off": "never: one request per task"},
            "default": "auto",
        },
    },
}


def form_widgets() -> dict[str, Any]:
    """Return the fields as widgets, for Airflow before 3.2."""
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget  # noqa: PLC0415 - only there on such an Airflow
    from wtforms import IntegerField, StringField  # noqa: PLC0415

    return {
        name: (IntegerField if "integer" in form["schema"]["type"] else StringField)(
            form["label"], widget=BS3TextFieldWidget(), description=form["description"]
        )
        for name, form in CONNECTION_FIELDS.items()
    }
