"""``make demo``, as a program."""

from __future__ import annotations

import codecs
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
from services.process import processes_in
from services.waiting import PATIENCE, ServiceError, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parents[1]
PICTURE = re.compile(r"task_\w{26} +0\.0085 .* s3://apimart-pictures/products/\S+\.png")
GALLERY = re.compile(
    r"Look at them: http://127\.0\.0\.1:\d+/dags/apimart_mapped_prompts/runs/[\w.%-]+/plugin/apimart-images-run"
)
LOGIN = re.compile(r"Airflow: (http://127\.0\.0\.1:\d+)  user: admin  password: \S+")


@contextmanager
def demo(directory: Path, output: Path, *, stdout: int | None = None, **environment: str) -> Iterator[subprocess.Popen]:
    """Start the demo with its state in a folder of its own."""
    with (
        output.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", "services.demo", "--directory", directory],
            cwd=TESTS,
            env=os.environ | environment,
            stdout=stdout or file,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)


def test_without_a_terminal_it_shows_the_pictures_and_stops_everything(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with demo(tmp_path / "demo", output, ONCE="1") as process:
        status = process.wait(PATIENCE)
    text = output.read_text()

    assert status == 0, text
    assert len(PICTURE.findall(text)) == 12
    assert "12 pictures, all of them in S3. Total cost: 0.1020 USD" in text
    assert GALLERY.search(text)
    assert LOGIN.search(text)
    assert processes_in(tmp_path) == []


def test_at_a_terminal_it_keeps_airflow_open_until_it_is_interrupted(tmp_path: Path) -> None:
    terminal, program_side = pty.openpty()
    text = ""
    # What is read may end in the middle of a character.
    decoder = codecs.getincrementaldecoder("utf-8")()

    def stays_open() -> bool:
        nonlocal text
        try:
            text += decoder.decode(os.read(terminal, 65536))
        except OSError:
            raise ServiceError(f"The demo has ended too early.\n{text}") from None
        return "stays open until Ctrl-C" in text

    with demo(tmp_path / "demo", tmp_path / "output", stdout=program_side, TERM="xterm", COLUMNS="200") as process:
        os.close(program_side)
        wait_until(stays_open, what="the demo to stay open", within=PATIENCE, explain=lambda: text)
        login = LOGIN.search(text)
        assert login
        assert httpx.get(f"{login[1]}/api/v2/version", timeout=60, trust_env=False).status_code == httpx.codes.OK
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0

    os.close(terminal)
    assert processes_in(tmp_path) == []


def test_it_says_where_the_logs_are_when_a_part_does_not_start(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with demo(tmp_path / "demo", output, ONCE="1") as process:

        def find_s3_server() -> psutil.Process | None:
            for child in psutil.Process(process.pid).children():
                # Others come and go.
                with suppress(psutil.NoSuchProcess):
                    if child.name() == "weed":
                        return child
            return None

        s3_server = wait_until(find_s3_server, what="the demo to start its S3 server", within=PATIENCE)
        s3_server.kill()
        status = process.wait(PATIENCE)
    text = output.read_text()

    assert status == 1, text
    assert "The demo failed: The S3 server ended by itself" in text
    assert f"All logs are under {tmp_path / 'demo'}" in text
    assert processes_in(tmp_path) == []
