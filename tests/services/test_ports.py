"""Ports that are handed out before anybody listens on them."""

from __future__ import annotations

from services.ports import free_port

OFFSET = 10_000


def test_neither_a_port_nor_the_one_that_goes_with_it_is_handed_out_twice() -> None:
    ports = [free_port(also=OFFSET) for _ in range(300)] + [free_port() for _ in range(300)]

    with_the_others = [port + OFFSET for port in ports[:300]] + ports
    assert len(set(with_the_others)) == 900
