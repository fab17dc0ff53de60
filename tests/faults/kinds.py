"""Everything that a campaign can let go wrong: the rows of its table. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from faults.gateways import SLOW

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

__all__ = ["KINDS", "Fault", "Kind", "kind_of"]

Site = Literal["gateway", "s3", "execute", "trigger", "resume", "copy", "airflow"]


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One thing that goes wrong.

    :param kind: name of its row in the table.
    :param site: at the gateway or the S3 server, in the process of a segment, or in what Airflow or a person does.
    :param details: a rule of the simulator or of the proxy, a point in a process, or words for the driver.
    :param occurrence: which process of that segment is meant, counted over all tries.
    """

    kind: str
    site: Site
    details: Mapping[str, Any]
    occurrence: int = 1


@dataclass(frozen=True)
class Kind:
    """
    One row of the table.

    :param site: of its faults.
    :param details: draws them, given the number of gateway tasks of the request.
    :param needs: what a scenario must be like for the fault to be possible.
    """

    name: str
    site: Site
    details: Callable[[Random, int], list[dict[str, Any]]]
    needs: Mapping[str, Any] = field(default_factory=dict)

    def faults(self, random: Random, parts: int, *, occurrence: int = 1) -> list[Fault]:
        """Return the faults of this kind for one scenario."""
        drawn = self.details(random, parts)
        return [Fault(self.name, details.pop("site", self.site), details, occurrence) for details in drawn]

    def combines_with(self, other: Kind) -> bool:
        """Whether both can be in one scenario."""
        agree = all(other.needs.get(name, value) == value for name, value in self.needs.items())
        return self.name != other.name and agree


def _kill(name: str, site: Site, point: str, *, action: str = "kill", **needs: Any) -> Kind:
    return Kind(name, site, lambda _random, _parts: [{"point": point, "action": action}], needs)


def _kill_at_part(name: str, point: str, nth: Callable[[int], int], action: str = "kill", **needs: Any) -> Kind:
    """Return a kind that happens while one of the request's tasks is bought, whichever."""
    return Kind(
        name,
        "execute",
        lambda random, parts: [{"point": point, "nth": nth(random.randrange(parts)), "action": action}],
        needs,
    )


def _kill_at_random(name: str, site: Site, longest: float, **needs: Any) -> Kind:
    def details(random: Random, _parts: int) -> list[dict[str, Any]]:
        return [{"point": "start", "action": "kill_later", "seconds": round(random.uniform(0, longest), 3)}]

    return Kind(name, site, details, needs)


def _at_submit(name: str, fault: str, needs: Mapping[str, Any] | None = None, **parameters: Any) -> Kind:
    """Return a kind that befalls the paid call for one of the request's tasks."""

    def details(random: Random, parts: int) -> list[dict[str, Any]]:
        return [{"times": 1, "skip": random.randrange(parts), "on": "submit", **parameters, "fault": fault}]

    return Kind(name, "gateway", details, needs or {})


def _at_look(name: str, fault: str, **parameters: Any) -> Kind:
    """Return a kind that befalls a look at the tasks."""

    def details(_random: Random, parts: int) -> list[dict[str, Any]]:
        return [{"times": 1, "on": "task" if parts == 1 else "batch", "retry_after": 0, **parameters, "fault": fault}]

    return Kind(name, "gateway", details)


def _at_image(name: str, fault: str, **parameters: Any) -> Kind:
    return Kind(name, "gateway", lambda *_: [{"times": 1, "on": "image", **parameters, "fault": fault}])


def _at_s3(name: str, method: str, action: str, **parameters: Any) -> Kind:
    return Kind(name, "s3", lambda *_: [{"method": method, "action": action, **parameters}])


def _by_airflow(name: str, what: str, *, longest: float = 0.0, **needs: Any) -> Kind:
    """
    Return a kind that Airflow or a person does.

    :param longest: seconds that pass at the most before it happens.
    """
    return Kind(
        name,
        "airflow",
        lambda random, _parts: [{"what": what, "seconds": round(random.uniform(0, longest), 3)}],
        needs,
    )


def _during_download(_random: Random, _parts: int) -> list[dict[str, Any]]:
    return [
        {"fault": "image_slow", "times": 1, "seconds": 3.0, "site": "gateway"},
        {"method": "HEAD", "action": "pass", "kills_after": 0.5, "site": "s3"},
    ]


#: A picture takes more than a second, and the deadline passes at once.
_LATE: Final = {"speed": SLOW, "parameters": {"quality": "high"}}

_PURCHASE: Final = (
    _kill_at_part("crash before the intent is noted", "store.set", lambda part: 2 * part + 1),
    _kill_at_part("crash between intent and POST", "store.set done", lambda part: 2 * part + 1),
    _at_submit("crash during the POST", "delay", seconds=10.0, kills=True),
    _kill_at_part("crash between POST and noting the id", "store.set", lambda part: 2 * part + 2),
    _kill_at_part("crash after noting the id", "store.set done", lambda part: 2 * part + 2),
    _kill_at_part("crash before the XCom", "xcom", lambda part: part + 1),
    _kill_at_part("crash after the XCom", "xcom done", lambda part: part + 1),
    _kill("crash at the deferral", "execute", "deferral"),
    _kill_at_random("crash at a random moment of the start", "execute", 0.15),
    _kill("state store cannot be read", "execute", "store.get", action="raise"),
    _kill_at_part("intent is lost by the state store", "store.set", lambda part: 2 * part + 1, "lose"),
    _kill_at_part("intent cannot be written", "store.set", lambda part: 2 * part + 1, "raise"),
    _kill_at_part("intent cannot be read back", "store.get", lambda part: 2 * part + 2, "raise"),
    _kill_at_part("id is lost by the state store", "store.set", lambda part: 2 * part + 2, "lose"),
    _kill_at_part("id cannot be written", "store.set", lambda part: 2 * part + 2, "raise"),
    _kill_at_part("XCom cannot be pushed", "xcom", lambda part: part + 1, "raise"),
    _kill_at_part("old try wakes up before its intent", "store.set", lambda part: 2 * part + 1, "stop", sleeps=1),
    _kill_at_part("old try wakes up before its POST", "store.set done", lambda part: 2 * part + 1, "stop", sleeps=2),
)

_SUBMIT: Final = (
    _at_submit("answer to the POST lost", "drop_answer"),
    _at_submit("POST lost", "drop_request"),
    _at_submit("answer to the POST too late", "delay", {"http_timeout": 1.0}, seconds=2.0),
    _at_submit("accepted, then 408", "accept_then_error", status=408),
    _at_submit("accepted, then 500", "accept_then_error", status=500),
    _at_submit("accepted, then 502 as HTML", "accept_then_error", status=502, html=True),
    _at_submit("accepted, then 503 as HTML", "accept_then_error", status=503, html=True),
    _at_submit("accepted, then 504", "accept_then_error", status=504),
    _at_submit(
        "accepted, then 409 indeterminate", "accept_then_error", reason="idempotency_result_indeterminate", status=409
    ),
    _at_submit("HTML with status 200", "html"),
    _at_submit("error with status 200", "error_in_200"),
    _at_submit("refused: 401", "refuse", status=401),
    _at_submit("refused: 402", "refuse", status=402),
    _at_submit("refused: 429", "refuse", status=429, retry_after=0),
    _at_submit("refused: 429 for minutes", "refuse", status=429, retry_after=300),
    _at_submit("refused: 503", "refuse", status=503, retry_after=0),
    _at_submit("refused: no channel", "refuse", reason="get_channel_failed", retry_after=0),
    _at_submit("refused: request cannot be built", "refuse", reason="build_request_failed"),
    _at_submit("refused: key in progress", "refuse", reason="idempotency_in_progress", retry_after=0),
)

_WAIT: Final = (
    _kill_at_random("triggerer killed", "trigger", 0.4, speed=SLOW),
    _by_airflow("triggerer restarted", "restart", longest=0.4, speed=SLOW),
    _by_airflow("trigger runs twice", "duplicate"),
    _by_airflow("trigger fails", "trigger_fails", longest=0.9, speed=SLOW),
    _by_airflow("deferral times out", "deferral_times_out", longest=0.9, speed=SLOW),
    _by_airflow("race: failed while it waits", "race_waiting", longest=0.9, speed=SLOW),
    _by_airflow("race: failed when the event is there", "race_queued"),
    _by_airflow("race: failed while it resumes", "race_resuming"),
    _by_airflow("finishes after the deadline", "late", **_LATE),
    Kind("never finishes", "gateway", lambda *_: [{"fault": "never_finishes", "times": 1}], {"timeout": 0.25}),
    _at_look("look answered with 500", "refuse", status=500),
    _at_look("look answered with 401", "refuse", status=401),
    Kind(
        "answer to a look lost",
        "gateway",
        lambda _, n: [{"fault": "drop_answer", "times": 1, "on": "task" if n == 1 else "batch"}],
    ),
    Kind(
        "batch look-up missing",
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
    Kind("id unknown for ever", "gateway", lambda *_: [{"fault": "task_unknown"}], {"model": "gpt-image-2-official"}),
    _by_airflow("one of several ids unknown", "forget_one", model="gpt-image-2", at_least=2),
    _kill("crash at the start of the resumption", "resume", "start"),
    _kill_at_random("crash at a random moment of the resumption", "resume", 0.08),
    _kill("crash before the return", "resume", "return"),
)

_TASK: Final = (
    _at_submit("task fails", "task_failed"),
    _at_submit("task is refused by moderation", "task_moderated"),
    _at_submit("task is cancelled", "task_cancelled"),
    _at_submit("task completes without pictures", "no_images"),
    _at_submit("fewer pictures than asked for", "partial_delivery", {"model": "gpt-image-2-official", "at_least": 2}),
    _at_submit("URLs in another shape", "url_shape", shape="many_in_one"),
)

_CLEAR: Final = (
    _by_airflow("cleared while it waits", "clear_waiting", longest=0.4, speed=SLOW),
    _by_airflow("cleared when it has finished", "clear_finished"),
    _by_airflow("cleared after the copy", "clear_copied"),
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
    _kill("copy: crash at the start", "copy", "start"),
    Kind("copy: crash during a download", "s3", _during_download),
    _at_s3("copy: crash before a PUT", "PUT", "cut_before", kills_after=0.0),
    _at_s3("copy: crash during a PUT", "PUT", "cut_midway", kills_after=0.0),
    _at_s3("copy: crash between PUT and verification", "PUT", "cut_after", kills_after=0.0),
    _kill_at_random("copy: crash at a random moment", "copy", 0.3),
    _kill("copy: crash before the return", "copy", "return"),
    _at_s3("S3 answers a PUT with 500", "PUT", "refuse", status=500),
    _at_s3("S3 answers a PUT with 503", "PUT", "refuse", status=503),
    _at_s3("S3 answers a HEAD with 500", "HEAD", "refuse", status=500),
    _at_s3("S3 connection cut before a PUT", "PUT", "cut_before"),
    _at_s3("S3 connection cut during a PUT", "PUT", "cut_midway"),
    _at_s3("S3 connection cut after a PUT", "PUT", "cut_after"),
    _at_image("image truncated", "image_truncated"),
    _at_image("image cut", "image_truncated", cut=True),
    _at_image("image URL expired once", "image_expired"),
    Kind("image URL expired for ever", "gateway", lambda *_: [{"fault": "image_expired", "on": "image"}]),
    _at_image("not an image", "image_not_an_image"),
    _at_image("image host answers 500", "refuse", status=500),
    _at_image("image redirects into the network", "image_redirect"),
)

KINDS: Final = (*_PURCHASE, *_SUBMIT, *_WAIT, *_TASK, *_CLEAR, *_COPY)


def kind_of(name: str) -> Kind:
    """Return the row of a name."""
    return next(kind for kind in KINDS if kind.name == name)
