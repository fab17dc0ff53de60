"""Hypothesis strategies: any JSON at all, and JSON that looks like what a gateway sends."""

from __future__ import annotations

from hypothesis import strategies as st

__all__ = ["any_json", "gateway_json", "task_objects"]

_KEYS = st.sampled_from(
    [
        "code",
        "completed",
        "cost",
        "created",
        "data",
        "detail",
        "error",
        "expires_at",
        "fail_reason",
        "id",
        "image",
        "images",
        "message",
        "object",
        "progress",
        "result",
        "result_url",
        "retry_after",
        "state",
        "status",
        "success",
        "task_id",
        "tasks",
        "type",
        "url",
        "urls",
    ]
)
_WORDS = st.sampled_from(
    [
        "",
        "task_1",
        "task_2",
        "completed",
        "failed",
        "processing",
        "generation.result",
        "https://cdn.example/1.png",
        "/f/image/2.png",
        "//[",
        "\ud800",
        "40%",
        "\u00b2",
        "9" * 5000,
        "get_channel_failed",
        '{"error": {"message": "{\\"message\\": \\"inner\\"}"}}',
        '{"message": 5}\n<html>',
        "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
    ]
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.sampled_from([200, 400, 429, 503, 605]),
    st.floats(),
    st.text(max_size=20),
    _WORDS,
)

any_json = st.recursive(
    _SCALARS,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4),
    max_leaves=12,
)
#: Built from the gateways' own words, so that every reader is reached.
gateway_json = st.recursive(
    _SCALARS,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(_KEYS, children, max_size=6),
    max_leaves=24,
)
task_objects = st.dictionaries(_KEYS, gateway_json, max_size=10)
