"""The proxy's way to the registry behind it: one origin, requests sent, answers read.

It must never follow a redirect, send a client's credentials to another origin, decompress a body,
or let a request hang without end.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

_CONNECT_SECONDS: Final = 10.0
_SLICE: Final = 64 * 1024  # what is handed to a socket at once, so that it is never copied whole
_ANSWER_LIMIT: Final = 1024 * 1024  # an answer to an upload is an error body at most
_HEADER_LIMIT: Final = 32 * 1024  # presigned Locations and tokens are long
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Headers that aiohttp would add by itself; what the client did not send is not sent for it.
_SILENT: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class LostError(Exception):
    """No whole answer came: what the request did, if anything, is not known."""


@dataclass(frozen=True)
class Answer:
    """An answer that was read whole, or one that the proxy gives in the upstream's place."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes = b""

    @property
    def accepted(self) -> bool:
        """True for the 2xx statuses."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


def problem(
    status: HTTPStatus, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Answer:
    """Build an error answer in the shape of the distribution-spec (Error Codes)."""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()
    told = CIMultiDict(headers or {})
    told["Content-Type"] = "application/json"
    return Answer(status, CIMultiDictProxy(told), body)


def end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Copy headers, repeated ones too, without those that concern one connection (RFC 9110 7.6.1).

    `Host` and `Expect` go too: each side of a proxy has its own.
    """
    copied = CIMultiDict(headers.items())
    named = ",".join(copied.getall("Connection", []))
    dropped = _HOP_BY_HOP | {"host", "expect"} | {each.strip().lower() for each in named.split(",")}
    return CIMultiDict((name, value) for name, value in copied.items() if name.lower() not in dropped)


async def slices(data: memoryview, sent: Callable[[], None]) -> AsyncIterator[memoryview]:
    """Yield views of `data` for a socket, calling `sent` after each was taken."""
    for first in range(0, len(data), _SLICE):
        yield data[first : first + _SLICE]
        sent()


class Upstream:
    """A registry at one origin, over connections that are kept and shared."""

    def __init__(self, origin: str, stall_seconds: float) -> None:
        self.origin = origin
        self._stall_seconds = stall_seconds
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            max_field_size=_HEADER_LIMIT,
            max_line_size=_HEADER_LIMIT,
            skip_auto_headers=_SILENT,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=_CONNECT_SECONDS, sock_read=stall_seconds
            ),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    def request(
        self,
        method: str,
        target: str,
        headers: CIMultiDict[str],
        data: AsyncIterator[bytes | memoryview] | None = None,
    ) -> "aiohttp.client._RequestContextManager":
        """Open one request to a raw path and query; the answer is for the caller to read.

        A body without Content-Length among `headers` is sent chunked. An asynchronous iterator is
        sent once: aiohttp repeats only requests that have no body or one that it can rewind.
        """
        return self._session.request(
            method,
            URL(self.origin + target, encoded=True),
            headers=headers,
            data=data,
            allow_redirects=False,
        )

    async def ask(
        self, method: str, target: str, headers: CIMultiDict[str], data: memoryview
    ) -> Answer:
        """Send one request with a body of known length, and read its answer whole.

        Raises LostError when the connection fails, or when for `stall_seconds` neither a slice of
        the body was taken nor an answer came.
        """
        told = headers.copy()
        told["Content-Length"] = str(len(data))
        try:
            async with asyncio.timeout(self._stall_seconds) as watch:
                body = slices(data, lambda: self._extend(watch)) if data else None
                async with self.request(method, target, told, body) as response:
                    return await _read_answer(response)
        except TimeoutError as error:
            raise LostError(f"no answer within {self._stall_seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise LostError(str(error) or type(error).__name__) from error

    def _extend(self, watch: asyncio.Timeout) -> None:
        """Count a slice that was taken as a sign of life.

        An answer may come, and end the watch, while the body is still being written.
        """
        try:
            watch.reschedule(asyncio.get_running_loop().time() + self._stall_seconds)
        except RuntimeError:
            return


async def _read_answer(response: aiohttp.ClientResponse) -> Answer:
    body = bytearray()
    while len(body) < _ANSWER_LIMIT and (block := await response.content.readany()):
        body += block
    if response.status >= HTTPStatus.BAD_REQUEST:
        # It may have come before the body was sent: nothing more is to be written there.
        response.close()
    return Answer(response.status, response.headers, bytes(body[:_ANSWER_LIMIT]))
