from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from simulator.clients import fetch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = [sys.executable, "-W", "error", "-m", "airflow_provider_apimart.simulator"]


@contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program and its first line; killed if the test has not ended it."""
    with subprocess.Popen(
        [*PROGRAM, "--port", "0", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            yield process, process.stdout.readline()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    with running() as (process, line):
        match = re.fullmatch(
            r"APIMart simulator: (http://127\.0\.0\.1:\d+)  APIMaster: \1/apimaster  "
            r"statistics: (\1/simulator/stats)\n",
            line,
        )
        assert match
        stats = fetch(match[2]).json()
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)

    assert stats["tasks"]["total"] == 0
    assert (output, errors, process.returncode) == ("", "", 0)


def test_options_reach_the_simulator(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    file.write_text(json.dumps([{"fault": "delay"}, {"fault": "html"}]))
    options = [
        "--balance",
        "unlimited",
        "--api-key",
        "sk-mine",
        "--fault",
        '{"fault": "refuse"}',
        "--faults",
        str(file),
    ]
    with running(*options, "--verbose") as (process, line):
        url = line.split()[2]
        balance = fetch(f"{url}/v1/balance", Authorization="Bearer sk-mine").json()
        rules = fetch(f"{url}/simulator/faults").json()
        process.terminate()
        _, log = process.communicate(timeout=60)

    assert balance["unlimited_quota"]
    assert [rule["fault"] for rule in rules] == ["refuse", "delay", "html"]
    assert "apimart GET /v1/balance 200" in log
    assert "sk-mine" not in log


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--speed", "0"], "speed must be greater than 0"),
        (["--balance", "much"], "neither a number nor 'unlimited'"),
        (["--fault", "{"], "not JSON"),
        (["--fault", '{"fault": "unheard-of"}'], "fault must be one of"),
        (["--faults", "no-such-file.json"], "No such file"),
    ],
)
def test_options_that_cannot_be_meant_are_errors(options: list[str], message: str) -> None:
    done = subprocess.run([*PROGRAM, *options], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 2
    assert message in done.stderr


def test_the_help_shows_how_to_use_it_from_airflow() -> None:
    done = subprocess.run([*PROGRAM, "--help"], capture_output=True, text=True, check=True, timeout=60)

    [example] = re.findall(r"AIRFLOW_CONN_APIMART_DEFAULT='(.*)'", done.stdout)
    assert json.loads(example)["conn_type"] == "apimart"
    assert "drop_answer" in done.stdout
