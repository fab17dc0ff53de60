"""The bytes of one picture, or of a thumbnail of it."""

from __future__ import annotations

import hashlib
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Final, Literal

from anyio import CapacityLimiter, to_thread, wrap_file
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from airflow_provider_apimart.exceptions import ApimartError, ImageRejectedError
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE
from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
from airflow_provider_apimart.plugins.web.named import Named, NamedQuery
from airflow_provider_apimart.plugins.web.origins import Origin
from airflow_provider_apimart.plugins.web.reported import find_delivered, find_stored
from airflow_provider_apimart.plugins.web.thumbnails import kept_or_made, make_thumbnail
from airflow_provider_apimart.transfers.address import ImageRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from airflow_provider_apimart.gateway.images import ImageFormat

__all__ = ["content_disposition", "router"]

#: Pictures that are fetched at once, in threads and temporary files of their own: Airflow's API needs its own too.
_FETCHING: Final = CapacityLimiter(8)
#: Decodes as many of these at once, in the same threads each time: each keeps the memory that its largest picture took.
_DECODERS: Final = ThreadPoolExecutor(2, thread_name_prefix="apimart-thumbnail")
_CHUNK: Final = MEBIBYTE // 4
#: Answers of image hosts that do not have the picture any more. Any other refusal may pass.
_GONE: Final = frozenset({401, 403, 404, 410})
#: Raster formats that a browser draws. An SVG file may hold scripts, and is never sent from Airflow's own origin.
_SHOWN: Final = frozenset({"png", "jpg", "webp"})
#: A key is written once, unless ``on_existing="overwrite"``: then the new picture is seen after these seconds. The
#: cookie says who looks: another one in the same browser is to be asked for their rights.
_CACHING: Final = {"Cache-Control": "private, max-age=300", "Vary": "Authorization, Cookie"}

#: What is said of everything else that may lie at an address, which is nobody's business.
_NOT_SHOWN: Final = (
    "This is no picture that is shown here: a whole PNG, JPEG or WebP of up to 64 MiB, with up to 32 megapixels for a "
    "thumbnail."
)
_log: Final = logging.getLogger(__name__)

router = APIRouter()


@router.get("/image")
async def image(request: Request, named: NamedQuery, size: Literal["thumbnail", "full"] = "full") -> Response:
    """Return a picture that a task instance has reported."""
    async with AirflowApi(request) as api:
        await api.require_access(named.scope)
        try:
            origin = await _find(api, named)
            return await _answer(request, origin, size)
        except ApimartError as error:
            # The whole of it may name addresses and roles, and repeat what somebody else's host has sent.
            _log.warning("%r is not shown: %s", named, error)
            raise _refusal(error) from error


async def _find(api: AirflowApi, named: Named) -> Origin:
    if named.uri:
        return await find_stored(api, named.scope, named.uri)
    return await find_delivered(api, named.scope, named.name)


async def _answer(request: Request, origin: Origin, size: str) -> Response:
    version = await to_thread.run_sync(_version, origin, size, limiter=_FETCHING)
    if f'"{version}"' in request.headers.get("if-none-match", ""):
        answer = Response(status_code=HTTPStatus.NOT_MODIFIED)
    elif size == "thumbnail":
        answer = await _thumbnail(origin, version)
    else:
        answer = await to_thread.run_sync(_full, origin, limiter=_FETCHING)
    answer.headers.update({"ETag": f'"{version}"', **_CACHING})
    return answer


def _refusal(error: ApimartError) -> HTTPException:
    match error:
        case ImageRefusedError() if error.status_code in _GONE:
            return HTTPException(HTTPStatus.GONE, "The gateway does not give this picture any more: its URL has died.")
        case ImageRejectedError():
            return HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _NOT_SHOWN)
        case _ if error.status_code == HTTPStatus.NOT_FOUND:
            return HTTPException(HTTPStatus.NOT_FOUND, "There is no picture of this provider in that place any more.")
        case _:
            reason = "The picture could not be had from where it is. The API server's log says why."
            return HTTPException(HTTPStatus.BAD_GATEWAY, reason)


def content_disposition(name: str, ext: str) -> str:
    """
    Return the header that names the file for whoever saves it.

    :param name: as the store or the gateway calls it, which may be any text.
    :param ext: what it really is.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name.removesuffix(f".{ext}"))
    return f'inline; filename="{stem[-100:]}.{ext}"'


def _version(origin: Origin, size: str) -> str:
    """Return what stands for the bytes of an answer."""
    return hashlib.sha256(repr((origin, origin.version(), size)).encode()).hexdigest()


async def _thumbnail(origin: Origin, version: str) -> Response:
    made = await kept_or_made(version, partial(to_thread.run_sync, _make_thumbnail, origin, limiter=_FETCHING))
    return Response(
        made, media_type="image/webp", headers={"Content-Disposition": content_disposition(origin.name, "webp")}
    )


def _make_thumbnail(origin: Origin) -> bytes:
    with TemporaryFile() as file:
        _fetch(origin, file)
        return _DECODERS.submit(make_thumbnail, file).result()


def _full(origin: Origin) -> Response:
    with ExitStack() as opened:
        file = opened.enter_context(TemporaryFile())
        image_format = _fetch(origin, file)
        answer = _FileResponse(file, image_format, origin.name)
        opened.pop_all()
        return answer


def _fetch(origin: Origin, file: IO[bytes]) -> ImageFormat:
    image_format = origin.fetch(file)
    file.seek(0)
    if image_format.ext not in _SHOWN:
        raise ImageRejectedError(f"pictures of the format {image_format.ext} are not shown here", retryable=False)
    return image_format


class _FileResponse(StreamingResponse):
    """
    Sends a file piece by piece, and closes it, whatever becomes of whoever waits for it.

    :param file: at its beginning.
    """

    def __init__(self, file: IO[bytes], image_format: ImageFormat, name: str) -> None:
        self._file = file
        size = file.seek(0, 2)
        file.seek(0)
        super().__init__(
            self._pieces(),
            media_type=image_format.content_type,
            headers={
                "Content-Length": str(size),
                "Content-Disposition": content_disposition(name, image_format.ext),
            },
        )

    async def _pieces(self) -> AsyncIterator[bytes]:
        file = wrap_file(self._file)
        while piece := await file.read(_CHUNK):
            yield piece

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await super().__call__(scope, receive, send)
