"""
An image host that has any number of pictures of one size.

Run as ``python -m benchmarks.copying.source CERTIFICATE BYTES``.
"""

from __future__ import annotations

import sys
from pathlib import PurePosixPath

from benchmarks.copying import pictures
from benchmarks.https_server import Answer, Handler, Request, serve

__all__ = ["Source"]

_PIECE = 256 * 1024


class Source(Handler):
    """
    Gives picture 17 at ``/17.png``.

    :param size: of each picture in bytes.
    """

    def __init__(self, size: int) -> None:
        ending = memoryview(pictures.ending(size))
        self._ending = [ending[start : start + _PIECE] for start in range(0, len(ending), _PIECE)]

    def answer(self, request: Request) -> Answer:
        """Give a picture."""
        number = int(PurePosixPath(request.target).stem)
        return Answer(headers={"Content-Type": "image/png"}, body=(pictures.beginning(number), *self._ending))


if __name__ == "__main__":
    serve(Source(int(sys.argv[2])), sys.argv[1])
