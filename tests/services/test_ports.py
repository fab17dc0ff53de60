"""Ports that are handed out before anybody listens on them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from services.ports import free_port

OFFSET = 10_000


def test_neither_a_port_nor_the_one_that_goes_with_it_is_handed_out_twice() -> None:
    ports = [free_port(also=OFFSET) for _ in range(300)] + [free_port() for _ in range(300)]

    with_the_others = [port + OFFSET for port in ports[:300]] + ports
    assert len(set(with_the_others)) == 900


def test_two_processes_are_not_handed_the_same_port() -> None:
    program = "from services.ports import free_port; print(*(free_port() for _ in range(500))); input()"
    folder = Path(__file__).parents[1]
    ports: list[str] = []
    with (
        subprocess.Popen([sys.executable, "-c", program], cwd=folder, stdin=-1, stdout=-1, text=True) as first,
        subprocess.Popen([sys.executable, "-c", program], cwd=folder, stdin=-1, stdout=-1, text=True) as second,
    ):
        for process in (first, second):
            ports += process.stdout.readline().split()
        for process in (first, second):
            process.communicate("")

    assert len(ports) == 1000
    assert len(set(ports)) == 1000
