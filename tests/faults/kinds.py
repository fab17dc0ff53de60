"""Everything that can go wrong in a campaign: the rows of its table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from faults.fault import (
    DOWNLOADED,
    AnyOf,
    Kind,
    at_image,
    at_purchase,
    at_query,
    at_s3,
    at_submit,
    by_airflow,
    in_between,
    kill,
    kill_at_random,
    rendering,
    reshaped,
)
from faults.gateways import SLOW
from faults.response_shapes import INLINE, PLACES, SUBMIT_SHAPES, TIMES, WORDS

__all__ = ["KINDS", "kind_of"]


def _during_download(*_: Any) -> list[dict[str, Any]]:
    return [
        {"fault": "image_slow", "times": 1, "seconds": 3.0, "site": "gateway"},
        {"method": "HEAD", "action": "pass", "kills_after": 0.5, "site": "s3"},
    ]


def _expired(*_: Any) -> list[dict[str, Any]]:
    """The host refuses a picture, and the gateway says that its time is over."""
    return [
        {"fault": "image_expired", "on": "image", "site": "gateway"},
        {"on": ("task", "batch"), "action": "reshape", "shape": "expired", "times": None, "site": "proxy"},
    ]


#: The deadline is near: what never comes is not waited for at length.
_BRIEF: Final = {"timeout": 0.5}
#: Airflow's API server does not answer for a while.
_AWAY: Final = {"action": "away", "seconds": 1.0}
#: Longer than a request may take.
_DRIPPING: Final = {"http_timeout": 1.0, "timeout": 6.0}
_PAGES: Final = AnyOf((403, 404, 502, 524))
_UNAVAILABLE: Final = {"message": "Service Unavailable"}
_SKEWS: Final = AnyOf((-3600.0, 3600.0))
_ENDLESS: Final = AnyOf(("172800", "1e15", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"))

#: A picture takes more than a second, and the deadline passes at once.
_LATE: Final[dict[str, Any]] = {"speed": SLOW, "parameters": {"quality": "high"}}

_PURCHASE: Final = (
    at_purchase("crash before the intent is recorded", "store.set", lambda group: 2 * group + 1),
    at_purchase("crash between intent and POST", "store.set done", lambda group: 2 * group + 1),
    at_submit("crash during the POST", "delay", seconds=10.0, kills=True),
    at_purchase("crash between POST and recording the id", "store.set", lambda group: 2 * group + 2),
    at_purchase("crash after recording the id", "store.set done", lambda group: 2 * group + 2),
    at_purchase("crash before the XCom", "xcom", lambda group: group + 1),
    at_purchase("crash after the XCom", "xcom done", lambda group: group + 1),
    kill("crash at the deferral", "execute", "deferral"),
    kill_at_random("crash at a random moment of the start", "execute", 0.15),
    kill("state store cannot be read", "execute", "store.get", action="raise"),
    at_purchase("intent is lost by the state store", "store.set", lambda group: 2 * group + 1, "lose"),
    at_purchase("intent cannot be written", "store.set", lambda group: 2 * group + 1, "raise"),
    at_purchase("intent cannot be read back", "store.get", lambda group: 2 * group + 2, "raise"),
    at_purchase("id is lost by the state store", "store.set", lambda group: 2 * group + 2, "lose"),
    at_purchase("id cannot be written", "store.set", lambda group: 2 * group + 2, "raise"),
    at_purchase("API server away after the purchase", "store.set", lambda group: 2 * group + 2, _AWAY),
    at_purchase("API server away before the XCom", "xcom", lambda group: group + 1, _AWAY),
    at_purchase("API server away before the intent", "store.set", lambda group: 2 * group + 1, _AWAY),
    at_purchase("XCom cannot be pushed", "xcom", lambda group: group + 1, "raise"),
    at_purchase("old try wakes up before its intent", "store.set", lambda group: 2 * group + 1, "stop", sleeps=1),
    at_purchase("old try wakes up before its POST", "store.set done", lambda group: 2 * group + 1, "stop", sleeps=2),
)

_SUBMIT: Final = (
    at_submit("answer to the POST lost", "drop_answer"),
    at_submit("POST lost", "drop_request"),
    at_submit("answer to the POST too late", "delay", {"http_timeout": 1.0}, seconds=2.0),
    at_submit("accepted, then 408", "accept_then_error", status=408),
    at_submit("accepted, then 500", "accept_then_error", status=500),
    at_submit("accepted, then 502 as HTML", "accept_then_error", status=502, html=True),
    at_submit("accepted, then 503 as HTML", "accept_then_error", status=503, html=True),
    at_submit("accepted, then 504", "accept_then_error", status=504),
    at_submit(
        "accepted, then 409 indeterminate", "accept_then_error", reason="idempotency_result_indeterminate", status=409
    ),
    at_submit("HTML with status 200", "html"),
    at_submit("error with status 200", "error_in_200"),
    at_submit("refused: 401", "refuse", status=401),
    at_submit("refused: 402", "refuse", status=402),
    at_submit("refused: 429", "refuse", status=429, retry_after=0),
    at_submit("refused: 429 for minutes", "refuse", status=429, retry_after=300),
    at_submit("refused: 503", "refuse", status=503, retry_after=0),
    at_submit("refused: no channel", "refuse", reason="get_channel_failed", retry_after=0),
    at_submit("refused: request cannot be built", "refuse", reason="build_request_failed"),
    at_submit("refused: key in progress", "refuse", reason="idempotency_in_progress", retry_after=0),
)

_WAIT: Final = (
    kill_at_random("triggerer killed", "trigger", 0.4, speed=SLOW),
    by_airflow("triggerer restarted", "restart", longest=0.4, speed=SLOW),
    by_airflow("trigger runs twice", "duplicate"),
    by_airflow("trigger fails", "trigger_fails", longest=0.9, speed=SLOW),
    by_airflow("deferral times out", "deferral_times_out", longest=0.9, speed=SLOW),
    by_airflow("race: failed while it waits", "race_waiting", longest=0.9, speed=SLOW),
    by_airflow("race: failed when the event is there", "race_queued"),
    by_airflow("race: failed while it resumes", "race_resuming"),
    by_airflow("finishes after the deadline", "late", **_LATE),
    Kind("never finishes", "gateway", lambda *_: [{"fault": "never_finishes", "times": 1}], {"timeout": 0.25}),
    at_query("status query answered with 500", "refuse", status=500),
    at_query("status query answered with 401", "refuse", status=401),
    at_query("status query answered with 402", "refuse", status=402),
    at_query("status query answered with 403", "refuse", status=403),
    Kind(
        "answer to a status query lost",
        "gateway",
        lambda _random, parts, _groups: [{"fault": "drop_answer", "times": 1, "on": "task" if parts == 1 else "batch"}],
    ),
    Kind(
        "batch endpoint missing",
        "gateway",
        lambda *_: [{"fault": "batch_missing", "times": 1}],
        {"model": "gpt-image-2", "at_least": 2},
    ),
    Kind(
        "id unknown at first",
        "gateway",
        lambda *_: [{"fault": "task_unknown", "times": 2}],
        {"model": "gpt-image-2-official"},
    ),
    Kind(
        "id unknown for ever",
        "gateway",
        lambda *_: [{"fault": "task_unknown"}],
        {"model": "gpt-image-2-official", **_BRIEF},
        ends_purchase=True,
    ),
    Kind(
        "one of several ids unknown",
        "airflow",
        lambda *_: [{"what": "forget_one"}],
        {"model": "gpt-image-2", "at_least": 2, **_BRIEF},
        ends_purchase=True,
    ),
    kill("crash at the start of the resumption", "resume", "start"),
    kill_at_random("crash at a random moment of the resumption", "resume", 0.08),
    kill("crash before the return", "resume", "return"),
)

_TASK: Final = (
    at_submit("task fails", "task_failed"),
    at_submit("task is refused by moderation", "task_moderated"),
    at_submit("task is cancelled", "task_cancelled"),
    replace(at_submit("task completes without pictures", "no_images", _BRIEF), ends_purchase=True),
    at_submit("fewer pictures than asked for", "partial_delivery", {"model": "gpt-image-2-official", "at_least": 2}),
    at_submit("URLs in another shape", "url_shape", shape="many_in_one"),
)

_CLEAR: Final = (
    by_airflow("cleared while it waits", "clear_waiting", longest=0.4, speed=SLOW),
    by_airflow("cleared when it has finished", "clear_finished"),
    by_airflow("cleared after the copy", "clear_copied"),
    Kind(
        "cleared after a crash",
        "airflow",
        lambda *_: [{"what": "clear_crashed"}, {"site": "execute", "point": "xcom", "action": "kill"}],
    ),
    Kind(
        "cleared after a crash that left the outcome unknown",
        "airflow",
        lambda *_: [{"what": "clear_crashed"}, {"site": "execute", "point": "store.set", "nth": 2, "action": "kill"}],
    ),
)

_COPY: Final = (
    kill("copy: crash at the start", "copy", "start"),
    Kind("copy: crash during a download", "s3", _during_download, DOWNLOADED),
    at_s3("copy: crash before a PUT", "PUT", "cut_before", kills_after=0.0),
    at_s3("copy: crash during a PUT", "PUT", "cut_midway", kills_after=0.0),
    at_s3("copy: crash between PUT and verification", "PUT", "cut_after", kills_after=0.0),
    kill_at_random("copy: crash at a random moment", "copy", 0.3),
    kill("copy: crash before the return", "copy", "return"),
    at_s3("S3 answers a PUT with 500", "PUT", "refuse", status=500),
    at_s3("S3 answers a PUT with 503", "PUT", "refuse", status=503),
    at_s3("S3 answers a HEAD with 500", "HEAD", "refuse", status=500),
    at_s3("S3 connection cut before a PUT", "PUT", "cut_before"),
    at_s3("S3 connection cut during a PUT", "PUT", "cut_midway"),
    at_s3("S3 connection cut after a PUT", "PUT", "cut_after"),
    at_image("image truncated", "image_truncated"),
    at_image("image cut", "image_truncated", cut=True),
    at_image("image URL expired once", "image_expired"),
    Kind("image URL expired for ever", "gateway", _expired, DOWNLOADED, ends_purchase=True),
    at_image("not an image", "image_not_an_image"),
    at_image("image host answers 500", "refuse", status=500),
    at_image("image redirects into the network", "image_redirect"),
)

_BETWEEN: Final = (
    in_between("submit: a proxy's page", "submit", "page", status=_PAGES),
    in_between("submit: a proxy's page after the request has passed", "submit", "page", status=_PAGES, forwards=True),
    in_between("submit: 503 of a load balancer", "submit", "page", status=503, body=_UNAVAILABLE),
    in_between(
        "submit: 503 of a load balancer after the request has passed",
        "submit",
        "page",
        status=503,
        body=_UNAVAILABLE,
        forwards=True,
    ),
    in_between("submit: response drips", "submit", "drip", _DRIPPING, seconds=3.0),
    in_between("submit: response cut", "submit", "cut"),
    in_between("status query: a proxy's pages", "query", "page", status=_PAGES, times=2),
    in_between("status query: 503 of a load balancer", "query", "page", status=503, body=_UNAVAILABLE, times=2),
    in_between("status query: response drips", "query", "drip", _DRIPPING, seconds=3.0),
    in_between("status query: response cut", "query", "cut", times=2),
    in_between("download: a proxy's pages", "image", "page", status=_PAGES, times=2),
    in_between("download: 503 of a load balancer", "image", "page", status=503, body=_UNAVAILABLE, times=2),
)

_LATE_URLS: Final = (
    reshaped("completed, pictures come later", "query", ("no pictures yet", "no result yet"), times=3),
    reshaped("batch answers with ids and status words only", "query", ("id and status only",), {"at_least": 2}),
    at_image("image host lags behind", "refuse", status=404, times=3),
)

_TEMPLATES: Final = (
    rendering("prompt is rendered otherwise each time", "prompt"),
    rendering("reference URL is signed again each time", "reference", model="gpt-image-2"),
    rendering("prompt is gone after the first process", "gone"),
)

_BACKFILL: Final = (
    by_airflow("backfill clears a run that has succeeded", "clear_copied", on_clear="reuse"),
    Kind(
        "backfill clears a run twice",
        "airflow",
        lambda *_: [{"what": "clear_copied"}, {"what": "clear_copied"}],
        {"on_clear": "reuse"},
    ),
    Kind(
        "backfill clears a run whose copy has died",
        "airflow",
        lambda random, *_: [
            {"what": "clear_copying"},
            {"site": "copy", "point": "start", "action": "kill_later", "seconds": round(random.uniform(0, 0.2), 3)},
        ],
        {"on_clear": "reuse"},
    ),
    Kind(
        "backfill clears a run whose prompt is rendered otherwise",
        "airflow",
        lambda *_: [{"what": "rendering"}, {"what": "clear_copied"}],
        {"on_clear": "reuse", "rendering": "prompt"},
    ),
)

_KEYS_COLLIDE: Final = (
    Kind(
        "two copies under one key",
        "airflow",
        lambda *_: [{"what": "collision"}],
        {"model": "gpt-image-2", "at_least": 2, "key_template": "poster-{index}.{ext}"},
    ),
)

_CLOCKS: Final = (
    Kind(
        "gateway's clock is an hour off",
        "proxy",
        lambda random, *_: [
            {
                "on": ("submit", "task", "batch", "image"),
                "action": "skew",
                "times": None,
                "offset": random.choice(_SKEWS),
            }
        ],
    ),
    in_between("submit: 429 until a date by a skewed clock", "submit", "busy", offset=_SKEWS, retry_after=1.0),
    in_between("status query: 429 until a date by a skewed clock", "query", "busy", offset=_SKEWS, retry_after=1.0),
    in_between("submit: 429 for days", "submit", "busy", retry_after=_ENDLESS),
    in_between("status query: 429 for days", "query", "busy", {"timeout": 2.0}, retry_after=_ENDLESS),
    Kind(
        "worker's clock is an hour off",
        "airflow",
        lambda random, *_: [{"what": "skewed_worker", "seconds": random.choice(_SKEWS)}],
        {"timeout": 2.0},
    ),
)

_SHAPES: Final = (
    reshaped("submit answered in another shape", "submit", SUBMIT_SHAPES),
    reshaped("another word for completed", "query", WORDS),
    reshaped("pictures in another place", "query", PLACES),
    reshaped("pictures within the answer", "query", INLINE, {"inline": True}),
    reshaped("times and numbers in another form", "query", TIMES),
)

KINDS: Final = (
    *_PURCHASE,
    *_SUBMIT,
    *_WAIT,
    *_TASK,
    *_CLEAR,
    *_COPY,
    *_BETWEEN,
    *_LATE_URLS,
    *_TEMPLATES,
    *_BACKFILL,
    *_KEYS_COLLIDE,
    *_CLOCKS,
    *_SHAPES,
)


def kind_of(name: str) -> Kind:
    """Return the row of a name."""
    return next(kind for kind in KINDS if kind.name == name)
