"""What tasks report in their events, as short as the gallery needs it."""

from __future__ import annotations

from typing import Any

__all__ = ["BOUGHT", "PREFIX", "STORED", "image", "images", "purchase"]

#: The assets whose events they are.
STORED = "apimart-images"
BOUGHT = "apimart-purchases"
#: The folder that the pictures are in.
PREFIX = "s3://bucket/pictures"


def image(number: int, *, prefix: str = PREFIX, **facts: Any) -> dict[str, Any]:
    """Return a picture in S3."""
    return {
        "uri": f"{prefix}/task_{number}-0.png",
        "task_id": f"task_{number}",
        "index": 0,
        "prompt": f"a lighthouse, {number}",
        "model": "gpt-image-2",
        "cost": 0.0085,
        "width": 1024,
        "height": 1536,
        "bytes": 1_490_000,
        "seconds": 52,
        **facts,
    }


def images(listed: list[dict[str, Any]], **extra: Any) -> dict[str, Any]:
    """Return what the transfer, or a dataset, says of pictures in S3."""
    return {
        "schema_version": 1,
        "kind": "images",
        "prefix": PREFIX,
        "connection": "apimart_default",
        "aws_connection": "aws_default",
        "count": len(listed),
        "images": listed,
        **extra,
    }


def purchase(numbers: list[int], **extra: Any) -> dict[str, Any]:
    """Return what the image operator says of what it has bought."""
    listed = [
        {name: value for name, value in image(number).items() if name not in {"uri", "width", "height", "bytes"}}
        for number in numbers
    ]
    return {
        "schema_version": 1,
        "kind": "purchase",
        "purchase": "-".join(map(str, numbers)),
        "connection": "apimart_default",
        "gateway": "apimart",
        "bought_at": 1_776_748_674,
        "task_ids": [it["task_id"] for it in listed],
        "delivered": len(listed),
        "cost": 0.0085 * len(listed),
        "currency": "USD",
        "models": [{"model": "gpt-image-2", "delivered": len(listed), "cost": 0.0085 * len(listed), "unknown": 0}],
        "images": listed,
        **extra,
    }
