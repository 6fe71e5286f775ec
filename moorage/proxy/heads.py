"""HEAD through the proxy: its answer has the true length, whatever the gateway says.

API Gateway may answer every HEAD with a length of 0, and clients write what they hear into
manifests and signatures. This module must never answer a length that it doesn't know to be true,
nor fetch a blob to learn it.
"""

import re
from http import HTTPStatus

import aiohttp
from multidict import CIMultiDict

from moorage.common.chunked_upload import UpstreamResponse
from moorage.proxy.upstream import REQUEST_TIMEOUT, Upstream

_LENGTH = "Content-Length"
_SIZE = re.compile(r"bytes (?:\d+-\d+|\*)/(\d{1,19})", re.ASCII)
_RANGED = frozenset({HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})
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


async def head_of_blob(
    upstream: Upstream, path: str, headers: CIMultiDict[str]
) -> UpstreamResponse:
    """Return what a HEAD is answered, with the blob's size where the gateway says none.

    A redirect leads to S3, which says the true length. A blob without one is asked for its first
    byte, whose Content-Range has the size.
    """
    answer = await upstream.ask("HEAD", path, headers)
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
