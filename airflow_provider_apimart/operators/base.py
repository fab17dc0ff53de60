"""
Base classes of this provider's operators.

:class:`ApimartBaseOperator` holds what all of them share: retry policy, colours, labels, assets and what happens at a
resume. :class:`ApimartRequestOperator` adds the fields of a request and the settings of a purchase.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from airflow.sdk import Asset, BaseOperator

from airflow_provider_apimart.assets import with_assets
from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.request import REQUEST_PARAMETERS, is_literal
from airflow_provider_apimart.gateway.validation import dollars, duration, require
from airflow_provider_apimart.retry_policy import HAS_RETRY_POLICIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import NoReturn

    from airflow.sdk import Context
    from airflow.sdk.definitions.mappedoperator import OperatorPartial
    from jinja2 import Environment

    from airflow_provider_apimart.triggers.apimart import GatewayWaitTrigger

__all__ = [
    "DEFAULT_FIELDS",
    "LABEL_LENGTH",
    "MAP_INDEX_TEMPLATE",
    "ApimartBaseOperator",
    "ApimartRequestOperator",
    "materialize",
]

#: Each operator has a method of this name. In a template itself, a mistake would fail a task that has paid already.
MAP_INDEX_TEMPLATE: Final = "{{ task.map_index_label(ti.map_index) }}"
#: Characters of a label. Airflow's column takes 250; a list of task instances is easier to read with fewer.
LABEL_LENGTH: Final = 60

#: Seconds between a deferral and its event. An event that comes sooner can meet a scheduler that has not yet seen the
#: worker's process end, and takes the resumed task for a killed one (apache/airflow#67287, alive in 3.3.2).
_HOLD_EVENT: Final = 10.0
#: Seconds by which Airflow's own timeout of the deferral outlasts the trigger's deadline.
_BACKSTOP: Final = 60.0
#: The method name with which Airflow resumes a task whose trigger crashed or timed out.
_TRIGGER_FAILED: Final = "__fail__"

#: Request fields that an operator takes besides the prompt.
DEFAULT_FIELDS: Final = tuple(name for name in REQUEST_PARAMETERS if name != "prompt")
#: Parameters that hold a time, with their default in seconds.
_DURATIONS: Final = {"initial_delay": 12.0, "poll_interval": 4.0, "timeout": 600.0}


def materialize(value: Any) -> Any:
    """Return a lazy sequence, which fetches each item when it is read, as a list, and any other value unchanged."""
    is_lazy = isinstance(value, Sequence) and not isinstance(value, str | bytes | list | tuple)
    return list(value) if is_lazy else value


class ApimartBaseOperator(BaseOperator):
    """
    An operator of this provider.

    Its assets are declared when the DAG is parsed. An ``AssetAlias`` would create them when they are first needed; but
    of two tasks that end at that moment, such as mapped ones, Airflow 3.3.2 fails one permanently, because both insert
    the asset. A paid task must not be lost for its event.

    :param map_index_template: name of a mapped task instance in Airflow's pages.
    :param kwargs: arguments of Airflow's ``BaseOperator``. A ``retry_policy``, also one in ``default_args``, replaces
        the provider's own.
    """

    ui_color = "#d9f0ea"
    #: Given besides the background, so that a dark theme cannot put its own light text on it.
    ui_fgcolor = "#12312a"
    #: Assets that get an event when the task succeeds, besides the outlets that a DAG author gives.
    produces: ClassVar[tuple[Asset, ...]] = ()
    #: Name of the parameter that holds results of other tasks. Airflow's page of rendered templates shows the class of
    #: a lazy sequence, but the items of a list.
    results: ClassVar[str | None] = None

    def __init__(self, *, map_index_template: str | None = MAP_INDEX_TEMPLATE, **kwargs: Any) -> None:
        super().__init__(map_index_template=map_index_template, **kwargs)
        if HAS_RETRY_POLICIES and self.retry_policy is None:
            from airflow_provider_apimart.retry_policy import ApimartRetryPolicy  # noqa: PLC0415 - from Airflow 3.3 on

            self.retry_policy = ApimartRetryPolicy()
        self.outlets = with_assets(self.outlets, self.produces)
        self._refusal: InvalidRequestError | None = None

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """Begin to map the operator, and declare its assets: Airflow reads outlets before the instances exist."""
        begun = super().partial(**kwargs)
        begun.kwargs["outlets"] = with_assets(begun.kwargs.get("outlets"), cls.produces)
        return begun

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """Render a value, and fetch the results of other tasks."""
        rendered = super().render_template(content, context, jinja_env, seen_oids)
        return materialize(rendered) if self.results and content is getattr(self, self.results) else rendered

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after a deferral, also where Airflow would fail the task because its trigger crashed."""
        self.operator_extra_links = ()  # The first worker of this try has stored them already.
        if next_method == _TRIGGER_FAILED and (result := self._recover(context)) is not None:
            return result
        return super().resume_execution(next_method, next_kwargs, context)

    def _recover(self, context: Context) -> Any:  # noqa: ARG002 - for operators that can
        """Return the task's result after its trigger has failed, defer again, or return ``None`` to fail the task."""
        return None

    def _check_when_parsed(self, check: Callable[[], None]) -> None:
        """
        Run a check of literal parameters; of a mapped task instance, keep its error for :meth:`_raise_refusal`.

        Airflow makes the operator of a mapped task instance on the worker. An error there is retried, whatever the
        retry policy says, because there is no operator to ask for one.
        """
        try:
            check()
        except InvalidRequestError as error:
            if not getattr(self, "_BaseOperator__from_mapped", False):
                raise
            self._refusal = error

    def _raise_refusal(self) -> None:
        """Raise the error of :meth:`_check_when_parsed`; to be called first in ``execute``."""
        if self._refusal is not None:
            raise self._refusal

    def _short_label(self, map_index: int | None, text: object, *, keep_end: bool = False) -> str:
        """
        Return the name of a mapped task instance in Airflow's pages.

        :param map_index: a task that is not mapped has none, or -1, and gets no label.
        :param text: what tells the instance from the others; its map index where that is empty.
        :param keep_end: shorten a long text at its beginning, as a path needs, and not at its end.
        """
        if map_index is None or map_index < 0:
            return ""
        printable = "".join(character if character.isprintable() else " " for character in str(text))
        label = " ".join(printable.split()) or str(map_index)
        if len(label) > LABEL_LENGTH:
            label = _last_folders(label) if keep_end else f"{label[: LABEL_LENGTH - 1].rstrip()}…"
        # A template that renders native objects would turn "42" into a number, which Airflow then refuses.
        is_native = getattr(self.get_dag(), "render_template_as_native_obj", False)
        return f"“{label}”" if is_native else label

    def _emit(self, context: Context, asset: Asset, extra: Mapping[str, Any] | None) -> None:
        """
        Make the task's success the event of an asset, and of a folder in S3 where a DAG names that as an asset.

        :param extra: see :mod:`~airflow_provider_apimart.assets`; ``None`` where nothing was bought or stored, and no
            event is made.
        """
        if extra is None:
            self.outlets = [outlet for outlet in self.outlets if outlet != asset]
            return
        from airflow.sdk.execution_time.context import context_get_outlet_events  # noqa: PLC0415 - for workers only

        assets = [asset, *(self._folders(extra["prefix"]) if "prefix" in extra else ())]
        for known in assets:
            context_get_outlet_events(context)[known].extra = dict(extra)

    def _folders(self, address: str) -> list[Asset]:
        """Return the assets of a folder in S3, and make it an outlet."""
        try:
            folder = Asset(uri=address)
        except ValueError as error:
            self.log.warning("No asset event for %s: not a valid asset URI (%s)", address, error)
            return []
        declared = [outlet for outlet in self.outlets if isinstance(outlet, Asset) and outlet.uri == folder.uri]
        if not declared:
            # By its address alone: Airflow makes an event if it knows such an asset, and none otherwise.
            self.outlets = [*self.outlets, Asset.ref(uri=folder.uri)]
        return declared or [folder]


class ApimartRequestOperator(ApimartBaseOperator):
    """
    An operator that buys pictures. A request field that is left ``None``, its default, is not sent.

    Times are a number of seconds, a ``timedelta``, or the text of either, at most a year.

    :param model: the vendor's name of the model; default ``"gpt-image-2"``. A model that the catalogue does not know
        passes unchecked.
    :param size: ``"auto"``, a ratio such as ``"16:9"``, or pixels such as ``"1881x836"`` where the model takes them.
    :param resolution: ``"1k"``, ``"2k"`` or ``"4k"``.
    :param quality: ``"auto"``, ``"low"``, ``"medium"`` or ``"high"``.
    :param n: number of pictures, 1 (default) to 500. More than the gateway delivers in one gateway task become several
        gateway tasks.
    :param background: ``"auto"``, ``"opaque"`` or ``"transparent"``.
    :param moderation: strength of the model provider's filter, ``"auto"`` or ``"low"``.
    :param output_format: ``"png"``, ``"jpeg"`` or ``"webp"``.
    :param output_compression: 0 to 100, for jpeg and webp.
    :param image_urls: reference images: public URLs, ``s3://`` addresses, paths on the worker, or data URIs where the
        model takes them. Objects and files are uploaded to the gateway, free of charge.
    :param mask_url: mask with an alpha channel, of the size of the first reference image.
    :param official_fallback: allow the gateway to use the dearer official channel when its own fails.
    :param extra_body: further fields of the request, sent unchanged and unchecked; a mapping or JSON text.
    :param apimart_conn_id: the Airflow connection of the gateway, by default ``"apimart_default"``.
    :param deferrable: wait in the triggerer (default); ``False`` occupies the worker.
    :param initial_delay: time between the submit and the first poll, 0 or more; default 12 s. The vendors advise 10 to
        20.
    :param poll_interval: time between polls, above 0; default 4 s. The vendors advise 3 to 5.
    :param timeout: time that one try waits for a picture, above 0; default 600 s. Not the connection's ``timeout``,
        which bounds one HTTP request. The gateway task continues after it and may be charged;
        a retry collects it. ``execution_timeout``, which Airflow does not apply while a task is deferred, shortens it.
    :param on_unknown_submit: what to do when the response to a paid call was lost: ``"fail"`` (default) until the task
        is cleared, or ``"resubmit"`` with the same idempotency key for 23 hours, which buys once only where the gateway
        honours keys.
    :param max_cost: limit in US dollars, above 0; ``None`` (default) for no limit. Nothing is submitted when the
        estimated price is higher or cannot be determined.
    :param kwargs: arguments of :class:`ApimartBaseOperator`.
    """

    template_fields: Sequence[str] = (
        *DEFAULT_FIELDS,
        "apimart_conn_id",
        "initial_delay",
        "poll_interval",
        "timeout",
        "on_unknown_submit",
        "max_cost",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"image_urls": "json", "extra_body": "json"}
    #: Allowed values of parameters, which may also be templates.
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"on_unknown_submit": ("fail", "resubmit")}

    def __init__(
        self,
        *,
        model: str = "gpt-image-2",
        size: str | None = None,
        resolution: str | None = None,
        quality: str | None = None,
        n: int | str = 1,
        background: str | None = None,
        moderation: str | None = None,
        output_format: str | None = None,
        output_compression: int | str | None = None,
        image_urls: Sequence[str] | str | None = None,
        mask_url: str | None = None,
        official_fallback: bool | str | None = None,
        extra_body: Mapping[str, Any] | str | None = None,
        apimart_conn_id: str = "apimart_default",
        deferrable: bool = True,
        initial_delay: float | str | timedelta = 12,
        poll_interval: float | str | timedelta = 4,
        timeout: float | str | timedelta = 600,
        on_unknown_submit: Literal["fail", "resubmit"] | str = "fail",  # noqa: PYI051 - or a template
        max_cost: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.size = size
        self.resolution = resolution
        self.quality = quality
        self.n = n
        self.background = background
        self.moderation = moderation
        self.output_format = output_format
        self.output_compression = output_compression
        self.image_urls = image_urls
        self.mask_url = mask_url
        self.official_fallback = official_fallback
        self.extra_body = extra_body
        self.apimart_conn_id = apimart_conn_id
        self.deferrable = deferrable
        self.initial_delay = initial_delay
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.on_unknown_submit = on_unknown_submit
        self.max_cost = max_cost
        #: Whether a template or a task may give the limit: it must not become "no limit" by rendering to ``None``.
        self._has_limit = max_cost is not None
        self.console_url = ""
        #: Ids of the gateway tasks that this worker waits for.
        self.waiting_for: Sequence[str] = ()

    def check_settings(self, *, is_rendered: bool) -> None:
        """
        Refuse settings of the purchase that are not allowed.

        :param is_rendered: check all of them; without it, only the literal ones.
        """
        for name, choices in self.choices.items():
            value = getattr(self, name)
            if is_rendered or is_literal(value):
                require(name, value, value in choices, " or ".join(map(repr, choices)))
        for name in _DURATIONS:
            if is_rendered or is_literal(getattr(self, name)) or isinstance(getattr(self, name), timedelta):
                self._seconds(name)
        if is_rendered or is_literal(self.max_cost):
            self.cost_limit()

    def cost_limit(self) -> float | None:
        """
        Return ``max_cost`` in US dollars; ``None`` for no limit.

        :raises InvalidRequestError: also for a limit that has rendered to ``None``. Nothing was submitted.
        """
        is_lost = self._has_limit and self.max_cost is None
        return dollars("max_cost", "None" if is_lost else self.max_cost)

    def _seconds(self, name: str) -> float:
        """
        Return a parameter that holds a time, in seconds.

        :raises InvalidRequestError: naming the parameter, its value and what is allowed.
        """
        return duration(name, getattr(self, name), may_be_zero=name == "initial_delay")

    def usable_seconds(self, name: str) -> float:
        """Return a time in seconds; its default where it cannot be read, because a paid picture must be waited for."""
        try:
            return self._seconds(name)
        except InvalidRequestError as error:
            self.log.warning("Using the default of %s: %s", name, error)
            return _DURATIONS[name]

    def trigger_times(self) -> dict[str, float]:
        """Return when a trigger that begins now may query, and may fire."""
        now = time.time()
        return {
            "first_look": now + self.usable_seconds("initial_delay"),
            "not_before": now + _HOLD_EVENT,
            "poll_interval": self.usable_seconds("poll_interval"),
        }

    def defer_until(self, deadline: float, trigger: GatewayWaitTrigger) -> NoReturn:
        """
        Wait in the triggerer, and continue with ``execute_complete``.

        :param deadline: Unix seconds at which the trigger itself times out. Airflow may end it some time after that.
        """
        seconds = max(deadline - time.time(), _HOLD_EVENT) + trigger.poll_interval + _BACKSTOP
        self.defer(trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=seconds))

    def wait_seconds(self) -> float:
        """Return the seconds that one try waits for a picture."""
        limit = self.execution_timeout
        seconds = self.usable_seconds("timeout")
        return seconds if limit is None else min(seconds, limit.total_seconds())

    def field_values(self, names: Iterable[str]) -> dict[str, Any]:
        """Return parameters by name, as they are rendered now."""
        return {name: getattr(self, name) for name in names}


def _last_folders(path: str) -> str:
    """Return the last folders of a path, as many as a label has room for, or else its last characters."""
    end = path[1 - LABEL_LENGTH :]
    _, slash, folders = end.partition("/")
    return f"…/{folders}" if slash else f"…{end.lstrip()}"
