"""
An S3 server that counts what it is given and keeps nothing.

Run as ``python -m benchmarks.copying.sink CERTIFICATE``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import httptools

from benchmarks.https_server import Answer, Handler, Request, serve

__all__ = ["Sink"]

_CHUNKED_HEAD = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
_KEPT_HEADERS = ("content-type", "x-amz-meta-", "x-amz-checksum-sha256")
_ETAG = '"-"'
#: What S3 calls itself, by which a client knows that it honours conditional writes.
_SERVER = {"Server": "AmazonS3"}


@dataclass(slots=True)
class Stored:
    """What is remembered of an object."""

    headers: dict[str, str]
    size: int = 0

    def on_body(self, piece: bytes) -> None:
        """Count a piece."""
        self.size += len(piece)


@dataclass(slots=True)
class Sink(Handler):
    """
    As much of S3 as is needed to write objects and to look at them, without a look at signatures.

    ``GET /`` tells how many objects of how many bytes have come.
    """

    objects: dict[str, Stored] = field(default_factory=dict)

    def begin(self, request: Request) -> None:
        """Count the body as it comes."""
        if request.method != "PUT":
            return
        request.attachment = stored = Stored(_kept(request.headers))
        if "aws-chunked" in request.headers.get("content-encoding", ""):
            # Framed once more inside of HTTP's own framing, in the same manner.
            parser = httptools.HttpRequestParser(stored)
            parser.feed_data(_CHUNKED_HEAD)
            request.on_body = parser.feed_data
        else:
            request.on_body = stored.on_body

    def answer(self, request: Request) -> Answer:
        """Do what S3 answers to the request."""
        url = urlsplit(request.target)
        query = parse_qs(url.query, keep_blank_values=True)
        match request.method:
            case "PUT":
                return self._put(url.path, request.attachment, is_part="partNumber" in query)
            case "HEAD":
                return self._head(url.path)
            case "POST":
                return self._multipart(url.path, is_begin="uploads" in query, request=request)
        counted = {"objects": len(self.objects), "bytes": sum(stored.size for stored in self.objects.values())}
        return Answer(body=(json.dumps(counted).encode(),))

    def _put(self, path: str, stored: Stored, *, is_part: bool) -> Answer:
        if is_part:
            self.objects[path].size += stored.size
        else:
            self.objects[path] = stored
        checksum = {name: value for name, value in stored.headers.items() if name.startswith("x-amz-checksum-")}
        return Answer(headers={"ETag": _ETAG, **checksum})

    def _head(self, path: str) -> Answer:
        stored = self.objects.get(path)
        if stored is None:
            return Answer(status=404, headers=_SERVER, length=0)
        return Answer(headers={**_SERVER, "ETag": _ETAG, **stored.headers}, length=stored.size)

    def _multipart(self, path: str, *, is_begin: bool, request: Request) -> Answer:
        root = "InitiateMultipartUploadResult" if is_begin else "CompleteMultipartUploadResult"
        if is_begin:
            self.objects[path] = Stored(_kept(request.headers))
        return Answer(body=(f"<{root}><UploadId>-</UploadId><ETag>{_ETAG}</ETag></{root}>".encode(),))


def _kept(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith(_KEPT_HEADERS)}


if __name__ == "__main__":
    serve(Sink(), sys.argv[1])
