"""HEAD through the proxy: the answer has the true length, whatever the gateway says.

API Gateway may answer every HEAD with a length of 0, and clients write that length into manifests
and signatures. This module must never answer a length that may be wrong, fetch a blob to learn its
length, nor answer 404 for a blob that came through this proxy.
"""

import re
import time
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

import aiohttp
from multidict import CIMultiDict

from moorage.common.patience import UpstreamResponse
from moorage.proxy.ranged_pulls import BLOB_SIZE
from moorage.proxy.upstream import REQUEST_TIMEOUT, Upstream

_LENGTH = "Content-Length"
_SIZE = re.compile(r"bytes (?:\d+-\d+|\*)/(\d{1,19})", re.ASCII)
_RANGED = frozenset({HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})
_ABSENT_SECONDS: Final = 1.0
_MOST_ABSENT: Final = 1024
_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


async def head_of_manifest(
    upstream: Upstream, path: str, headers: CIMultiDict[str]
) -> UpstreamResponse:
    """Return what a GET is answered, without its body: a manifest is small.

    A HEAD upstream may lack the digest too. Range is for GET alone (RFC 9110, 14.2), and a length
    is of the bytes as they are stored.
    """
    for name in ("Range", "If-Range", "Accept-Encoding"):
        headers.popall(name, None)
    answer = await upstream.ask("GET", path, headers)
    answered = answer.headers.copy()
    answered.popall(_LENGTH, None)
    if answer.status not in _BODILESS:
        answered[_LENGTH] = str(len(answer.body))
    return UpstreamResponse(answer.status, answered, b"")


@dataclass(eq=False, slots=True)
class _Absence:
    """A HEAD that was answered 404, or is not answered yet."""

    until: float = 0.0
    answer: UpstreamResponse | None = None


class AbsentBlobs:
    """Blobs that the registry lacked a moment ago: skopeo and podman ask twice before they push."""

    def __init__(self) -> None:
        self._absent: OrderedDict[tuple[str, bytes], _Absence] = OrderedDict()

    async def head(
        self, upstream: Upstream, path: str, headers: CIMultiDict[str]
    ) -> UpstreamResponse:
        """Return what a HEAD is answered; a 404 of the last second once more, to the same login."""
        key = path, sha256(headers.get("Authorization", "").encode()).digest()
        seen = self._absent.pop(key, None)
        if seen is not None and seen.answer is not None and time.monotonic() < seen.until:
            return seen.answer
        absence = self._absent[key] = _Absence()
        if len(self._absent) > _MOST_ABSENT:
            self._absent.popitem(last=False)
        answer = await head_of_blob(upstream, path, headers)
        if answer.status == HTTPStatus.NOT_FOUND:
            # `came` has taken it out if the blob has come meanwhile.
            absence.until, absence.answer = time.monotonic() + _ABSENT_SECONDS, answer
        elif self._absent.get(key) is absence:
            del self._absent[key]
        return answer

    def came(self, digest: str) -> None:
        """Note that a blob was stored or mounted; any of them, where its digest is not known."""
        for key in list(self._absent):
            if digest in unquote(key[0]):
                del self._absent[key]


async def head_of_blob(
    upstream: Upstream, path: str, headers: CIMultiDict[str]
) -> UpstreamResponse:
    """Return what a HEAD is answered, with the blob's size where the gateway says none.

    Moorage's redirect to S3 says the size; another one leads to where the true length is. A blob
    without one is asked for its first byte, whose Content-Range has the size.
    """
    answer = await upstream.ask("HEAD", path, headers)
    if answer.status == HTTPStatus.TEMPORARY_REDIRECT and BLOB_SIZE in answer.headers:
        answered = answer.headers.copy()
        del answered["Location"]
        answered[_LENGTH] = answered[BLOB_SIZE]
        return UpstreamResponse(HTTPStatus.OK, answered, b"")
    if answer.status != HTTPStatus.OK or answer.headers.get(_LENGTH, "0") != "0":
        return answer
    headers["Range"] = "bytes=0-0"
    async with upstream.request("GET", path, headers, None, REQUEST_TIMEOUT) as first:
        size = _size(first)
        if size is None:
            return UpstreamResponse(first.status, CIMultiDict(first.headers), b"")
    answered = answer.headers.copy()
    answered[_LENGTH] = size
    return UpstreamResponse(answer.status, answered, b"")


def _size(answer: aiohttp.ClientResponse) -> str | None:
    """Return a blob's size from an answer to a range of it, or to all of it; None of any other."""
    if answer.status in _RANGED:
        found = _SIZE.fullmatch(answer.headers.get("Content-Range", ""))
        return found[1] if found else None
    return answer.headers.get(_LENGTH) if answer.status == HTTPStatus.OK else None
