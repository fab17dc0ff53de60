"""Keys under which a purchase is recognised."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.gateway.request import fingerprint, idempotency_key

identities = st.lists(
    st.one_of(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.integers()), min_size=1
)


def test_the_key_of_a_purchase_is_the_same_on_every_machine() -> None:
    assert idempotency_key("dag", "run", "task", -1, 0) == "airflow-43ad802a3e6b27e1ca40fa04c20328fab048c99d97fe19c6"


@given(identities)
def test_a_key_is_what_the_gateway_takes(identity: list[str | int]) -> None:
    assert re.fullmatch(r"[!-~]{1,191}", idempotency_key(*identity))


@given(identities, identities)
def test_two_purchases_never_share_a_key(one: list[str | int], other: list[str | int]) -> None:
    is_same = [str(part) for part in one] == [str(part) for part in other]

    assert (idempotency_key(*one) == idempotency_key(*other)) is is_same


def test_a_fingerprint_does_not_depend_on_the_order_of_the_fields() -> None:
    one = fingerprint(connection_id="c", path="/p", body={"prompt": "图", "n": 1})
    other = fingerprint(connection_id="c", path="/p", body={"n": 1, "prompt": "图"})

    assert one == other


def test_another_account_or_path_or_body_has_another_fingerprint() -> None:
    bodies = [{"prompt": "a"}, {"prompt": "b"}]

    prints = {fingerprint(connection_id=c, path=p, body=b) for c in ("c", "d") for p in ("/p", "/q") for b in bodies}

    assert len(prints) == 8
