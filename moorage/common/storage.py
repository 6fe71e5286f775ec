"""S3 as a client reaches it: by presigned URLs, which the registry gives.

An Authorization header must never go there, and bytes must never go over a network without TLS. A
registry on another machine must never direct a request to this machine.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

import aiohttp
from yarl import URL

from chalicelib.limits import MIB
from moorage.common.http import http_url, is_loopback
from moorage.common.patience import FAILURES

_CODE = re.compile(rb"<Code>(\w{1,64})</Code>")
_WRONG_BYTES = frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"})
_PIECE = MIB // 4
# How long a connection may take no piece, or give no answer after the last one.
_STALLED = 120.0
_LONGEST_ERROR = 4096


class PutRefusedError(Exception):
    """The storage refuses the bytes. `code` is its error code, or what is wrong with a URL.

    Unless it is for `wrong_bytes`, chunks may do.
    """

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"the storage refuses the bytes ({status} {code})")
        self.status = status
        self.code = code
        self.wrong_bytes = code in _WRONG_BYTES


class PutTarget(NamedTuple):
    """Where bytes may be put, with which headers, until which time.monotonic()."""

    url: str
    headers: Mapping[str, str]
    until: float


Pieces = Callable[[], AsyncGenerator[memoryview, None]]
"""Gives the bytes of a PUT in order, from the beginning at each call."""
Take = Callable[[bytes], None]
"""Gets the next bytes of a GET."""
Moved = Callable[[int], None]
"""Gets how many bytes of a PUT were sent so far: fewer again when it is repeated."""


class Storage:
    """Where presigned URLs lead. `local`: the registry is this machine, and so its storage may be.

    `session` must have no Authorization; `proxy_for` names the HTTP proxy for a URL.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        local: bool,
        proxy_for: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self._session = session
        self._local = local
        self._proxy_for = proxy_for
        self.worked = False
        """Whether it has ever taken what was put."""

    async def put(self, to: PutTarget, size: int, pieces: Pieces, moved: Moved) -> tuple[int, str]:
        """PUT `size` bytes once; returns the status, and the code of an error.

        Raises one of FAILURES, what `pieces` raises, and PutRefusedError for a URL that bytes must
        not go to.
        """
        if why := self.why_not(to.url):
            raise PutRefusedError(0, why)
        unread: Exception | None = None
        loop = asyncio.get_running_loop()

        async def watched() -> AsyncGenerator[memoryview, None]:
            nonlocal unread
            sent = 0
            try:
                async with contextlib.aclosing(pieces()) as given:
                    async for piece in given:
                        for at in range(0, len(piece), _PIECE):
                            part = piece[at : at + _PIECE]
                            yield part
                            sent += len(part)
                            moved(sent)
                            stalled.reschedule(loop.time() + _STALLED)
            except Exception as error:
                unread = error
                raise

        try:
            async with (
                asyncio.timeout(_STALLED) as stalled,
                self._session.put(
                    URL(to.url, encoded=True),
                    headers={**to.headers, "Content-Length": str(size)},
                    data=watched(),
                    allow_redirects=False,
                    skip_auto_headers=("Content-Type", "Accept-Encoding"),
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=20),
                    proxy=self._proxy_for(to.url),
                ) as answer,
            ):
                if answer.status == HTTPStatus.OK:
                    return answer.status, ""
                found = _CODE.search(await answer.content.read(_LONGEST_ERROR))
                return answer.status, found[1].decode() if found else ""
        except FAILURES:
            if unread is not None:
                # The connection broke because of it.
                raise unread from None
            raise

    async def read(self, url: str, first: int, last: int, take: Take) -> int:
        """GET the bytes first..last (inclusive) once, from a URL for which `why_not` says nothing.

        `take` gets them piece by piece. Returns the status: 206 means that all have come, 416 also
        that others did. Raises one of FAILURES, also where they end early.
        """
        async with self._session.get(
            URL(url, encoded=True),
            # Compressed, they would be others.
            headers={"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=20, sock_read=_STALLED),
            proxy=self._proxy_for(url),
        ) as answer:
            if answer.status != HTTPStatus.PARTIAL_CONTENT:
                return int(answer.status)
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {first}-{last}/"):
                return HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            async for piece in answer.content.iter_any():
                take(piece)
            return HTTPStatus.PARTIAL_CONTENT

    def why_not(self, url: str) -> str:
        """Return why nothing may be sent to a URL, or read from it; empty if it may."""
        try:
            parts = http_url(url)
        except ValueError:
            return "its URL is none"
        here = is_loopback(parts)
        if here and not self._local:
            return "its URL leads to this machine"
        if parts.scheme != "https" and not here:
            return "its URL is without TLS"
        return "its URL has a login" if "@" in parts.netloc else ""
