"""Which submits are repetitions of an earlier one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from airflow_provider_apimart.simulator.answers import Refusal

__all__ = ["IdempotencyLedger", "Record"]

_RETENTION_SECONDS: Final = 86_400
_LONGEST_KEY: Final = 191


@dataclass(slots=True)
class Record:
    """
    The first request that came with a key.

    :param fingerprint: its body, in a form that does not depend on the order of fields.
    :param answer: HTTP status and body of its answer; ``None`` until the request is accepted.
    :param in_flight: whether it still waits for that answer.
    """

    fingerprint: str
    created: float
    answer: tuple[int, Any] | None = None
    in_flight: bool = True

    def finish(self) -> None:
        """Note that the answer has been sent, or lost."""
        self.in_flight = False


class IdempotencyLedger:
    """The accepted requests of the last 24 hours by API key, endpoint and ``Idempotency-Key``."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str, str], Record] = {}

    def begin(self, scope: tuple[str, str], key: str, body: object, now: float) -> Record:
        """
        Return the record of the first request with this key, which may be the one that is asking.

        :param scope: API key and endpoint.
        :param key: value of the header.
        :param body: decoded JSON of the request.
        :param now: seconds since the epoch.
        :raises Refusal: 400 for a key of the wrong form, 409 for one that stands for another body or is in use.
        """
        if not (key.isascii() and key.isprintable() and " " not in key and 0 < len(key) <= _LONGEST_KEY):
            raise Refusal.documented(400, "Idempotency-Key must be 1-191 visible ASCII characters")
        fingerprint = json.dumps(body, sort_keys=True)
        record = self._records.get((*scope, key))
        if record is None or now - record.created >= _RETENTION_SECONDS:
            record = self._records[(*scope, key)] = Record(fingerprint, now)
            return record
        if record.fingerprint != fingerprint:
            raise Refusal.for_reason("idempotency_key_reused")
        if record.in_flight:
            raise Refusal.for_reason("idempotency_in_progress", {"Retry-After": "1"})
        return record

    def forget(self, scope: tuple[str, str], key: str) -> None:
        """Free a key whose request was refused."""
        del self._records[(*scope, key)]
