"""What every contestant is asked to do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.copying import pictures

__all__ = ["Job"]


@dataclass(frozen=True, slots=True)
class Job:
    """
    Copy pictures from an image host into a bucket.

    Where S3 is, and how to log in there, is in the environment: as Airflow connections and as ``AWS_*``.

    :param source: URL of the image host.
    :param images: how many pictures it has.
    """

    source: str
    images: int
    bucket: str

    @property
    def names(self) -> list[str]:
        """File names of the pictures, below the URL of the image host as well as in the bucket."""
        return [pictures.name(number) for number in range(self.images)]

    @property
    def result(self) -> dict[str, Any]:
        """The pictures as ``ApimartImageOperator`` returns them."""
        images = [
            {"task_id": f"task_{number}", "index": 0, "url": f"{self.source}/{name}"}
            for number, name in enumerate(self.names)
        ]
        return {"task_ids": [image["task_id"] for image in images], "images": images}

    def to_json(self) -> str:
        """Return it as the contestant's process is given it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Read what :meth:`to_json` wrote."""
        return cls(**json.loads(text))
