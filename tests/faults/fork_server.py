"""
A process that has imported everything and has one thread: each segment of each try is forked from it.

A fresh interpreter needs two seconds to import Airflow; a fork needs twenty milliseconds. Reads orders as lines of JSON
from stdin and answers on stdout with the process id and, at its end, the exit status of each child. Ends its children
and itself when stdin is closed.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from faults.segment import run_segment
from services.cheap_clients import read_service_models_once

import airflow_provider_apimart

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

__all__ = ["main"]

#: Of these, nothing that runs in a task.
NOT_IN_TASKS = frozenset({"plugins", "simulator"})


def main() -> None:
    """Serve until stdin is closed."""
    _warm_up()
    children: dict[int, int] = {}
    ended, wakeup = socket.socketpair()
    for end in (ended, wakeup):
        end.setblocking(False)  # noqa: FBT003 - the standard library's
    signal.set_wakeup_fd(wakeup.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin.buffer.raw, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        print("ready", flush=True)  # noqa: T201 - the answer
        buffer = b""
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if ended in ready:
                with suppress(BlockingIOError):
                    ended.recv(4096)
                _reap(children)
            if sys.stdin.buffer.raw in ready:
                received = os.read(0, 65536)
                if not received:
                    break
                *lines, buffer = (buffer + received).split(b"\n")
                for line in lines:
                    _obey(json.loads(line), children)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _warm_up() -> None:
    """Do once what would otherwise be done in each child: import, parse service models, read certificates."""
    os.environ["AIRFLOW_CONN_WARM_UP"] = json.dumps(
        {"conn_type": "aws", "login": "nobody", "password": "nothing", "extra": {"region_name": "us-east-1"}}
    )
    _import_all(airflow_provider_apimart)
    read_service_models_once()
    S3Hook("warm_up").get_conn().close()
    httpx.Client().close()


def _import_all(package: ModuleType) -> None:
    for module in pkgutil.iter_modules(package.__path__):
        if module.name not in NOT_IN_TASKS:
            imported = importlib.import_module(f"{package.__name__}.{module.name}")
            if module.ispkg:
                _import_all(imported)


def _obey(order: Mapping[str, Any], children: dict[int, int]) -> None:
    if "signal" in order:
        for pid, number in children.items():
            if number == order["number"]:
                os.kill(pid, order["signal"])
        return
    pid = os.fork()
    if pid == 0:
        _be_child(order["segment"])
    children[pid] = order["number"]


def _be_child(order: Mapping[str, Any]) -> None:
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(Path(order["directory"]) / order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        run_segment(order)
        status = 0
    except BaseException:  # noqa: BLE001 - it must not go on as a second server
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _reap(children: dict[int, int]) -> None:
    for pid in tuple(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            print(json.dumps([children.pop(pid), os.waitstatus_to_exitcode(status)]), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
