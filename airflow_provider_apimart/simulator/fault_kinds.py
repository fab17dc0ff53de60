"""Every fault that a rule can ask for, with its parameters and their defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.simulator.answers import REASONS, SHAPES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ENDPOINTS", "FAULTS", "REQUEST_FAULTS", "TASK_FAULTS", "FaultKind"]

ENDPOINTS: Final = ("submit", "task", "batch", "balance", "upload", "image", "pricing", "models")


@dataclass(frozen=True, slots=True)
class FaultKind:
    """
    One kind of fault.

    :param description: what happens.
    :param endpoints: where it can happen; the first is the default.
    :param parameters: name and default of each parameter.
    :param choices: allowed values of the parameters that are words.
    """

    description: str
    endpoints: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_ERROR: Final = {
    "status": None,
    "shape": "documented",
    "reason": None,
    "code": None,
    "type": None,
    "message": None,
    "retry_after": None,
    "retry_after_form": "seconds",
    "body": None,
}
_ERROR_CHOICES: Final = {"shape": SHAPES, "reason": tuple(REASONS), "retry_after_form": ("seconds", "date")}

#: What can happen to any request.
REQUEST_FAULTS: Final[Mapping[str, FaultKind]] = {
    "refuse": FaultKind("answers with an error; nothing is accepted", ENDPOINTS, _ERROR, _ERROR_CHOICES),
    "accept_then_error": FaultKind(
        "does what was asked, then answers with an error",
        ENDPOINTS,
        {**_ERROR, "html": False},
        _ERROR_CHOICES,
    ),
    "drop_answer": FaultKind("does what was asked, then cuts the connection", ENDPOINTS, {"seconds": 0.0}),
    "drop_request": FaultKind("cuts the connection, and does nothing", ENDPOINTS, {"seconds": 0.0}),
    "delay": FaultKind("does what was asked, and answers some seconds later", ENDPOINTS, {"seconds": 60.0}),
    "html": FaultKind("answers with an HTML page; nothing is accepted", ENDPOINTS, {"status": 200}),
    "error_in_200": FaultKind(
        "answers with HTTP 200 and an error in the body; nothing is accepted",
        ENDPOINTS,
        {"shape": "code", "code": 500, "message": None},
        {"shape": ("code", "error")},
    ),
    "redirect": FaultKind("redirects; nothing is accepted", ENDPOINTS, {"status": 302, "location": "/elsewhere"}),
}

#: What can befall a task; drawn when it is accepted.
TASK_FAULTS: Final[Mapping[str, FaultKind]] = {
    "task_failed": FaultKind(
        "the task fails and costs nothing",
        ("submit",),
        {
            "status": "failed",
            "shape": "object",
            "code": "task_failed",
            "type": "task_failed",
            "message": "Upstream error, please try again later",
        },
        {"status": ("failed", "error"), "shape": ("object", "string", "fail_reason")},
    ),
    "task_moderated": FaultKind(
        "the task fails because of its content",
        ("submit",),
        {
            "shape": "object",
            "code": "task_failed",
            "type": "task_failed",
            "message": "Your request was rejected by the safety system: content_policy_violation",
        },
        {"shape": ("object", "string", "fail_reason")},
    ),
    "task_cancelled": FaultKind("the task ends as cancelled", ("submit",)),
    "partial_delivery": FaultKind("fewer pictures than asked for", ("submit",), {"delivered": 1}),
    "no_images": FaultKind("the task completes without pictures", ("submit",)),
    "never_finishes": FaultKind("the task runs for ever", ("submit",)),
    "status_word": FaultKind("the status shows this word while the task runs", ("submit",), {"word": "queued"}),
    "url_shape": FaultKind(
        "the addresses of the pictures in another shape",
        ("submit",),
        {"shape": "string"},
        {"shape": ("string", "list", "many_in_one", "duplicate", "relative")},
    ),
    "missing_cost": FaultKind("the task shows no cost", ("submit",)),
    "submit_shape": FaultKind(
        "the answer to the submit in another shape",
        ("submit",),
        {"shape": "object"},
        {"shape": ("no_status", "object", "versioned", "synchronous")},
    ),
}

_SPECIFIC: Final[Mapping[str, FaultKind]] = {
    "task_unknown": FaultKind("the task is not found", ("task",), {"status": 400, "message": "无效的任务ID"}),
    "batch_missing": FaultKind("the batch endpoint does not exist", ("batch",)),
    "batch_shape": FaultKind(
        "the batch answer in another shape",
        ("batch",),
        {"shape": "map"},
        {"shape": ("list", "map", "nested", "wrapped", "unknown_as_error", "all_errors")},
    ),
    "image_truncated": FaultKind(
        "only part of the file; with cut, the connection breaks in the middle of it",
        ("image",),
        {"fraction": 0.5, "cut": False},
    ),
    "image_expired": FaultKind("403, as after the lifetime of the address", ("image",)),
    "image_not_an_image": FaultKind(
        "something else under the content type of an image", ("image",), {"body": "html"}, {"body": ("html", "json")}
    ),
    "image_redirect": FaultKind(
        "redirects to another address", ("image",), {"status": 302, "location": "http://169.254.169.254/"}
    ),
    "image_slow": FaultKind("the file comes in pieces over some seconds", ("image",), {"seconds": 60.0, "pieces": 10}),
}

FAULTS: Final[Mapping[str, FaultKind]] = {**REQUEST_FAULTS, **TASK_FAULTS, **_SPECIFIC}
