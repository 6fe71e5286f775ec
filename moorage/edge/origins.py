"""The two origins behind the edge: API Gateway, and the bucket, to which CloudFront signs requests.

It signs as CloudFront's origin access control does: it removes the client's own signature, and
takes the payload's hash from the header `x-amz-content-sha256`. A PUT is never sent twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import aiohttp
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from moorage.edge.event import EdgeRequest

_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=120)
_HASH: Final = "payload_hash"
_UNSIGNED: Final = "UNSIGNED-PAYLOAD"
# Each says something of the connection from the client, or is set for the one to the origin.
_OF_THE_VIEWER: Final = frozenset({"host", "transfer-encoding"})


class _AccessControl(S3SigV4Auth):
    """Signs a hash of the payload that is known already, for the payload streams."""

    def payload(self, request: AWSRequest) -> str:
        """Return that hash."""
        return str(request.context[_HASH])


class BucketOrigin:
    """A bucket at an endpoint of S3, by path: emulators have no host for each bucket."""

    def __init__(self, base: str, region: str, credentials: ReadOnlyCredentials) -> None:
        self.base = base
        self._region = region
        self._credentials = credentials

    @classmethod
    def at(cls, environment: Mapping[str, str]) -> Self:
        """Return the bucket of a local registry, whose gateway has this environment."""
        credentials = ReadOnlyCredentials(
            environment["AWS_ACCESS_KEY_ID"],
            environment["AWS_SECRET_ACCESS_KEY"],
            environment.get("AWS_SESSION_TOKEN"),
        )
        base = f"{environment['AWS_ENDPOINT_URL'].rstrip('/')}/{environment['MOORAGE_BUCKET']}"
        return cls(base, environment["AWS_REGION"], credentials)

    def headers(self, request: EdgeRequest, url: str) -> dict[str, str]:
        """Return what is sent to S3: the request's headers, signed here and by nobody else."""
        unwanted = {*_OF_THE_VIEWER, "authorization"}
        sent = {name: value for name, value in request.headers if name not in unwanted}
        signed = AWSRequest(method=request.method, url=url, headers=sent)
        signed.context[_HASH] = sent.get("x-amz-content-sha256", _UNSIGNED)
        _AccessControl(self._credentials, "s3", self._region).add_auth(signed)
        return dict(signed.headers.items())


class ApiOrigin:
    """API Gateway, or the gateway that imitates it, at a URL."""

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")

    def headers(self, request: EdgeRequest, url: str) -> list[tuple[str, str]]:
        """Return what is sent to the API: all but the client's Host."""
        del url
        return [(name, value) for name, value in request.headers if name not in _OF_THE_VIEWER]


Origin = BucketOrigin | ApiOrigin


def session() -> aiohttp.ClientSession:
    """Return what sends requests to origins; it repeats none, for a connection serves one only."""
    return aiohttp.ClientSession(
        auto_decompress=False,
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        timeout=_TIMEOUT,
    )


def send(
    client: aiohttp.ClientSession,
    origin: Origin,
    request: EdgeRequest,
    body: AsyncIterator[bytes] | None,
) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    """Send a request to an origin."""
    url = origin.base + request.path + (f"?{request.query}" if request.query else "")
    return client.request(
        request.method,
        URL(url, encoded=True),
        headers=origin.headers(request, url),
        data=body,
        allow_redirects=False,
    )
