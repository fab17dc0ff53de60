"""Uploads and downloads: reference images in, pictures out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from airflow_provider_apimart.simulator.answers import Refusal, error_body, html_page
from airflow_provider_apimart.simulator.connections import CutMidway
from airflow_provider_apimart.simulator.images import MEDIA_TYPES, render
from airflow_provider_apimart.simulator.store import Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_apimart.simulator.call import Call
    from airflow_provider_apimart.simulator.faults import Fault

__all__ = ["image", "upload", "uploaded_file"]

_LARGEST_UPLOAD: Final = 20_971_520
_UPLOAD_LIFETIME: Final = 72 * 3600
_SIGNATURES: Final = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF87a": "gif", b"GIF89a": "gif"}
_IMAGE_FAULTS: Final = ("image_truncated", "image_expired", "image_not_an_image", "image_redirect", "image_slow")


async def upload(call: Call) -> Response:
    """Take a reference image; the type is told from its content."""
    async with call.request.form() as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise _upload_refusal(400, "missing or invalid file field: http: no such file")
        content = await file.read()
        filename, declared = file.filename or "file", file.content_type or "application/octet-stream"
    if len(content) > _LARGEST_UPLOAD:
        raise _upload_refusal(413, f"file size {len(content)} exceeds maximum {_LARGEST_UPLOAD} bytes")
    image_format = _sniff(content)
    if image_format is None:
        raise _upload_refusal(400, f"unsupported image type: {declared}, allowed: jpeg, png, gif, webp")
    world = call.world
    name = f"{len(world.store.uploads):08x}-upload.{image_format}"
    now = world.now()
    world.store.uploads[name] = Upload(content, MEDIA_TYPES[image_format], now)
    return JSONResponse(
        {
            "url": f"{call.base_url}/f/upload/{name}",
            "filename": filename,
            "content_type": MEDIA_TYPES[image_format],
            "bytes": len(content),
            "created_at": int(now),
        }
    )


async def uploaded_file(call: Call) -> Response:
    """Serve a reference image for 72 hours."""
    found = call.world.store.uploads.get(call.request.path_params["name"])
    if found is None:
        return _page(404)
    if call.world.now() >= found.created + _UPLOAD_LIFETIME:
        return _page(403)
    return Response(found.content, media_type=found.media_type)


async def image(call: Call) -> Response:
    """Serve a finished picture, to anyone who has its address, until that expires."""
    world = call.world
    if "Authorization" in call.request.headers:
        world.statistics.image_requests_with_authorization += 1
    picture = world.store.find_picture(call.request.path_params["name"])
    if picture is None:
        return _page(404)
    task, index = picture
    fault = world.faults.draw("image", _IMAGE_FAULTS, call.subjects)
    if world.now() >= task.ends + world.settings.url_lifetime or (fault and fault.name == "image_expired"):
        return _page(403)
    order = task.order
    content = await asyncio.to_thread(
        render,
        f"{task.id}:{index}",
        order.width,
        order.height,
        order.image_format,
        order.compression,
        transparent=order.transparent,
    )
    media_type = MEDIA_TYPES[order.image_format]
    if fault:
        return _spoiled(call, fault, content, media_type)
    world.statistics.images_served += 1
    world.statistics.image_bytes_served += len(content)
    return Response(content, media_type=media_type)


def _spoiled(call: Call, fault: Fault, content: bytes, media_type: str) -> Response:
    match fault.name:
        case "image_truncated":
            kept = int(len(content) * fault["fraction"])
            if fault["cut"]:
                return CutMidway(call.world.connections, content, kept, media_type)
            return Response(content[:kept], media_type=media_type)
        case "image_not_an_image" if fault["body"] == "json":
            return Response(b'{"error":{"message":"not found"}}', media_type=media_type)
        case "image_not_an_image":
            return Response(html_page(200), media_type=media_type)
        case "image_redirect":
            return RedirectResponse(str(fault["location"]), int(fault["status"]))
        case _:
            pieces = _slowly(call, content, float(fault["seconds"]), int(fault["pieces"]))
            return StreamingResponse(pieces, media_type=media_type, headers={"Content-Length": str(len(content))})


async def _slowly(call: Call, content: bytes, seconds: float, pieces: int) -> AsyncIterator[bytes]:
    length = max(1, -(-len(content) // pieces))
    for start in range(0, len(content), length):
        await call.world.pause(seconds / pieces)
        yield content[start : start + length]


def _sniff(content: bytes) -> str | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    return next((found for signature, found in _SIGNATURES.items() if content.startswith(signature)), None)


def _upload_refusal(status: int, message: str) -> Refusal:
    return Refusal(status, error_body(status, shape="no_code", message=message, type_="invalid_request_error"))


def _page(status: int) -> Response:
    return Response(html_page(status), status, media_type="text/html")
