"""
A gateway whose pictures take log-normally distributed times.

Run as ``python -m benchmarks.dataset.gateway --mean 45 --sigma 0.35``; prints its URL. ``GET /`` returns the
:class:`Observed` calls as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.copying import pictures
from benchmarks.https_server import Answer, Handler, Request, serve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Gateway", "Observed", "draw_duration"]

_PICTURE_BYTES = 16 * 1024
_COST = 0.0085
_PRICES = {"success": True, "data": {"model": "gpt-image-2", "resolution_paid_prices": {"1K": _COST}}}
_URL_SECONDS = 86_400


@dataclass
class Observed:
    """
    The paid calls that a gateway has received.

    :param calls: begin and end of each accepted call, in Unix seconds.
    :param submits: received requests, repeated ones included.
    :param prompts: accepted calls by prompt.
    """

    calls: list[tuple[float, float]] = field(default_factory=list)
    submits: int = 0
    prompts: Counter[str] = field(default_factory=Counter)


def draw_duration(source: random.Random, *, mean: float, sigma: float) -> float:
    """Return a log-normal duration in seconds with a mean; the mean itself where ``sigma`` is 0."""
    return source.lognormvariate(math.log(mean) - sigma**2 / 2, sigma)


class Gateway(Handler):
    """
    Accepts each paid call, and delivers one picture for it.

    :param mean: seconds that a picture takes.
    :param sigma: of the logarithm of the durations; 0 makes them all the same.
    :param latency: seconds before a submit is answered.
    """

    def __init__(self, *, mean: float, sigma: float, latency: float = 0.0) -> None:
        self._mean, self._sigma, self._latency = mean, sigma, latency
        self._random = random.Random(7)
        self._numbers: dict[str, int] = {}
        self._ending = pictures.ending(_PICTURE_BYTES)
        self.observed = Observed()

    def begin(self, request: Request) -> None:
        """Keep the body of a POST."""
        if request.method == "POST":
            request.attachment = bytearray()
            request.on_body = request.attachment.extend

    def answer(self, request: Request) -> Answer:
        """Respond as APIMart does."""
        path = request.target.partition("?")[0]
        if path == "/":
            return _json(vars(self.observed))
        if path.startswith("/f/image/"):
            number = int(path.rpartition("_")[2].removesuffix(".png"))
            return Answer(headers={"Content-Type": "image/png"}, body=(pictures.beginning(number), self._ending))
        origin = f"http://{request.headers['host']}"
        if path.startswith("/v1/tasks/") and request.method == "GET":
            return _json({"code": 200, "data": self._described(path.rpartition("/")[2], origin)})
        if path == "/v1/tasks/batch":
            ids = json.loads(request.attachment)["task_ids"]
            return _json({"code": 200, "data": [self._described(task_id, origin) for task_id in ids]})
        if request.method == "POST":
            number = self._accept(json.loads(request.attachment), request.headers["idempotency-key"])
            task = {"status": "submitted", "task_id": f"task_{number}"}
            return _json({"code": 200, "data": [task]}, delay=self._latency)
        return _json(_PRICES)

    def _accept(self, body: Mapping[str, Any], key: str) -> int:
        """Return the number of a call, a new one unless its key was used before."""
        self.observed.submits += 1
        if key not in self._numbers:
            self._numbers[key] = len(self.observed.calls)
            now = time.time()
            self.observed.calls.append((now, now + draw_duration(self._random, mean=self._mean, sigma=self._sigma)))
            self.observed.prompts[body["prompt"]] += 1
        return self._numbers[key]

    def _described(self, task_id: str, origin: str) -> dict[str, Any]:
        number = int(task_id.removeprefix("task_"))
        begin, end = self.observed.calls[number]
        described = {"id": task_id, "status": "processing", "progress": 40, "created": int(begin)}
        if time.time() < end:
            return described
        image = {"url": [f"{origin}/f/image/gpt_image_2_{number}.png"], "expires_at": int(end) + _URL_SECONDS}
        return described | {
            "status": "completed",
            "progress": 100,
            "completed": int(end),
            "cost": _COST,
            "credits_cost": 10 * _COST,
            "result": {"images": [image]},
        }


def _json(value: object, *, delay: float = 0.0) -> Answer:
    return Answer(headers={"Content-Type": "application/json"}, body=(json.dumps(value).encode(),), delay=delay)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mean", type=float, required=True)
    parser.add_argument("--sigma", type=float, default=0.0)
    parser.add_argument("--latency", type=float, default=0.0)
    serve(Gateway(**vars(parser.parse_args(arguments))), None)


if __name__ == "__main__":
    main()
