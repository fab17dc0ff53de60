"""``python -m airflow_provider_apimart.simulator``."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from airflow_provider_apimart.simulator.fault_kinds import ENDPOINTS, FAULTS, FaultKind
from airflow_provider_apimart.simulator.server import serve
from airflow_provider_apimart.simulator.settings import RetryAfter, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXAMPLES = """\
use it from Airflow (any key will do):
  export AIRFLOW_CONN_APIMART_DEFAULT='{"conn_type": "apimart", "host": "http://127.0.0.1:8765", "password": "any"}'
  APIMaster instead:
  '{"conn_type": "apimart", "host": "http://127.0.0.1:8765/apimaster", "password": "any",
    "extra": {"gateway": "apimaster"}}'

examples:
  python -m airflow_provider_apimart.simulator --port 8765 --speed 10
  python -m airflow_provider_apimart.simulator --fault '{"fault": "drop_answer", "times": 2}' --requests-per-second 2
  curl -X POST 127.0.0.1:8765/simulator/faults -d '{"fault": "refuse", "status": 429, "retry_after": 5, "on": "task"}'

endpoints of its own:
  GET  /simulator/stats    everything counted    GET|POST|DELETE /simulator/faults    rules in force
  GET  /simulator/tasks    every task            POST /simulator/reset                start anew

faults, where each can happen (default first), and its parameters (default first); all rules also take on, times, skip,
probability, and match, an object of regular expressions for gateway, model, prompt, idempotency_key, task_id:
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = _build_parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s")
    if options.verbose:
        logging.getLogger("airflow_provider_apimart.simulator").setLevel(logging.INFO)
    if options.access_log:
        logging.getLogger("uvicorn.access").setLevel(logging.INFO)
    # uvicorn raises a signal that it has caught once more when it is done; that must end the program cleanly too.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        serve(_read_settings(options), _announce)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return 0


def _announce(url: str) -> None:
    print(  # noqa: T201 - the line that scripts wait for
        f"APIMart simulator: {url}  APIMaster: {url}/apimaster  statistics: {url}/simulator/stats", flush=True
    )


def _read_settings(options: argparse.Namespace) -> SimulatorSettings:
    given = {name: value for name, value in vars(options).items() if name not in ("fault", "faults", "verbose")}
    return SimulatorSettings(**given, faults=(*options.fault, *options.faults))


def _read_rule(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error


def _read_rules(path: str) -> list[Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    rules = _read_rule(text)
    return rules if isinstance(rules, list) else [rules]


def _read_balance(text: str) -> float | None:
    try:
        return None if text == "unlimited" else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"neither a number nor 'unlimited': {text!r}") from error


def _describe(name: str, kind: FaultKind) -> str:
    endpoints = "any endpoint" if kind.endpoints == ENDPOINTS else ", ".join(kind.endpoints)
    lines = [f"  {name}: {kind.description} [{endpoints}]"]
    for parameter, default in kind.parameters.items():
        others = [choice for choice in kind.choices.get(parameter, ()) if choice != default]
        values = " | ".join(json.dumps(value, ensure_ascii=False) for value in (default, *others))
        lines += textwrap.wrap(f"{parameter}: {values}", 110, initial_indent=" " * 6, subsequent_indent=" " * 10)
    return "\n".join(lines)


def _build_parser() -> argparse.ArgumentParser:
    faults = "\n".join(_describe(name, kind) for name, kind in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_apimart.simulator",
        usage="%(prog)s [options]",
        description="A local stand-in for the APIMart and APIMaster image gateways: no key, no payment.",
        epilog=_EXAMPLES + faults,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = SimulatorSettings()
    server = parser.add_argument_group("server")
    server.add_argument("--host", default=defaults.host, help="address to listen on (%(default)s)")
    server.add_argument("--port", type=int, default=8765, help="port to listen on, 0 for a free one (%(default)s)")
    server.add_argument("--verbose", action="store_true", help="log each request to stderr")
    server.add_argument("--access-log", action="store_true", help="log each connection's requests as uvicorn does")

    behaviour = parser.add_argument_group("behaviour")
    behaviour.add_argument("--speed", type=float, default=defaults.speed, help="divide durations (%(default)g)")
    behaviour.add_argument("--seed", type=int, default=defaults.seed, help="repeat what is random (%(default)s)")
    behaviour.add_argument(
        "--url-lifetime", type=float, default=defaults.url_lifetime, help="seconds until pictures expire (%(default)g)"
    )
    behaviour.add_argument(
        "--apimaster-synchronous", action="store_true", help="APIMaster's plain path answers with URLs"
    )
    behaviour.add_argument(
        "--no-idempotency", dest="idempotency", action="store_false", help="ignore the header Idempotency-Key"
    )

    account = parser.add_argument_group("account")
    account.add_argument("--api-key", help="the only key accepted (any)")
    account.add_argument(
        "--balance",
        type=_read_balance,
        default=defaults.balance,
        help="US dollars on the account, or 'unlimited' (%(default)g)",
    )

    limits = parser.add_argument_group("limits")
    limits.add_argument("--requests-per-second", type=float, help="submits allowed, beyond that 429 (no limit)")
    limits.add_argument(
        "--retry-after",
        choices=get_args(RetryAfter),
        default=defaults.retry_after,
        help="form of that answer's Retry-After (%(default)s)",
    )
    limits.add_argument("--batch-limit", type=int, help="task ids allowed in one batch (no limit)")

    wrong = parser.add_argument_group("faults")
    wrong.add_argument(
        "--fault", action="append", default=[], type=_read_rule, metavar="JSON", help="a rule, repeatable"
    )
    wrong.add_argument(
        "--faults", default=[], type=_read_rules, metavar="FILE", help="a JSON file with a rule or a list"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
