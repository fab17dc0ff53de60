"""The simulators that a campaign buys from: they count, not the provider."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import httpx
from services.simulator import SimulatorProcess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["FAST", "SLOW", "Gateway", "Gateways"]

#: How many times faster than the real gateways: a picture takes about 4 ms, or 0.6 s.
FAST: Final = 3000.0
SLOW: Final = 20.0


class Gateway(SimulatorProcess):
    """
    A simulator.

    :param honours_keys: whether it recognises an ``Idempotency-Key``.
    """

    def __init__(self, directory: Path, *, speed: float, honours_keys: bool) -> None:
        super().__init__(directory, speed=speed)
        self.process.command.append("--balance=unlimited")
        if not honours_keys:
            self.process.command.append("--no-idempotency")

    def __enter__(self) -> Self:
        super().__enter__()
        self._http = httpx.Client(base_url=self.url, trust_env=False, timeout=60)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()
        super().__exit__(exc_type, exc, traceback)

    def add_faults(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Put fault rules into force."""
        self._http.post("/simulator/faults", json=list(rules)).raise_for_status()

    def faults(self) -> list[dict[str, Any]]:
        """Return the rules in force, with how often each was seen and has fired."""
        return self._http.get("/simulator/faults").raise_for_status().json()

    def clear_faults(self) -> None:
        self._http.delete("/simulator/faults").raise_for_status()

    def reset(self) -> None:
        """Forget everything."""
        self._http.post("/simulator/reset").raise_for_status()

    def view(self, task_id: str) -> dict[str, Any]:
        """Return a task as the vendor's endpoint shows it to whoever has the key."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return self._http.get(f"/v1/tasks/{task_id}", headers=headers).raise_for_status().json()["data"]

    def download(self, url: str) -> bytes:
        return self._http.get(url).raise_for_status().content


class Gateways:
    """
    Four gateways, by whether they honour keys and how fast they are. A context manager.

    :param directory: holds their logs.
    """

    def __init__(self, directory: Path) -> None:
        self._gateways = {
            (honours_keys, speed): Gateway(
                directory / f"gateway-{'honours' if honours_keys else 'ignores'}-{speed:g}",
                speed=speed,
                honours_keys=honours_keys,
            )
            for honours_keys in (True, False)
            for speed in (FAST, SLOW)
        }

    def of(self, *, honours_keys: bool, speed: float) -> Gateway:
        return self._gateways[honours_keys, speed]

    def all(self) -> list[Gateway]:
        return list(self._gateways.values())

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for gateway in self.all():
                stack.enter_context(gateway)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
