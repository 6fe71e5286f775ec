"""A client of a registry: it repeats requests, logs in, and follows redirects to the storage.

An Authorization header must never reach another server than the registry: neither by a redirect nor
by the Location of an upload.
"""

import asyncio
import io
import urllib.request
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from email.message import Message
from http import HTTPStatus
from urllib.parse import SplitResult, urljoin, urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from moorage.common.http import (
    AddressError,
    HttpResponse,
    host_of,
    is_loopback,
    origin,
    safe_url,
)
from moorage.common.patience import AGAIN, FAILURES, ExhaustedError, Patience, UpstreamResponse
from moorage.common.storage import Storage
from moorage.transfer.content import LARGEST_MANIFEST, TransferError
from moorage.transfer.credentials import kept_login
from moorage.transfer.places import RegistryPlace
from moorage.transfer.tokens import LOG_IN, Authorization

# A gateway answers within half a minute; others copy a layer before they answer a commit.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=20, sock_read=120)
# Nothing has been done yet that waiting could save.
_FIRST_PATIENCE = 10.0
_MOST_REDIRECTS = 5
_CHALLENGES = ("WWW-Authenticate", "x-amzn-Remapped-WWW-Authenticate")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BUFFER = 256 * 1024
_OF_RIGHTS = frozenset({"", "DENIED", "FORBIDDEN", "UNAUTHORIZED"})
"""Codes of a login that lacks a right. Moorage refuses by a quota, a rule or a lease with the same
code, and with details that say which."""


class RegistryClient:
    """One repository of a registry; `patience`: seconds to keep trying without an answer."""

    def __init__(
        self, place: RegistryPlace, scopes: Sequence[str], patience: float, *, plain_http: bool
    ) -> None:
        self.place = place
        self._base = place.origin
        self.patience = patience
        self._plain_http = plain_http
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "moorage"},
            skip_auto_headers=("Accept-Encoding", "Content-Type"),
            read_bufsize=_BUFFER,
            timeout=_TIMEOUT,
        )
        login = kept_login(place.repository)
        self._authorization = Authorization(self._base, login, scopes, self._fetch)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def open(self) -> None:
        """Ask whether a registry is there, and log in; raises TransferError."""
        answer = await self.call("GET", "/v2/", patience=min(self.patience, _FIRST_PATIENCE))
        if answer.status not in {HTTPStatus.OK, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise TransferError(
                f"{self._base} answers /v2/ with status {answer.status}, which no registry does:"
                " look at the address"
            )

    @property
    def storage(self) -> Storage:
        """Where its presigned URLs lead: the connections alone, without a login."""
        return Storage(self._session, local=is_loopback(self.place.url), proxy_for=_proxy_for)

    async def may_pull(self, name: str) -> None:
        """Ask for the right to pull from another repository too, where tokens have rights.

        Raises TransferError where that is refused.
        """
        await self._authorization.widen(f"repository:{name}:pull")

    def path(self, rest: str) -> str:
        """Return the path of something in the repository."""
        return f"/v2/{self.place.name}/{rest}"

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: memoryview | None = None
    ) -> UpstreamResponse:
        """See UploadUpstream: one try, whose failure is one of FAILURES.

        Locations come back as whole URLs.
        """
        url = self._url(path)
        async with self._request(method, url, headers, body) as answer:
            return await self._whole(answer, url)

    async def call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: memoryview | None = None,
        patience: float | None = None,
    ) -> UpstreamResponse:
        """Send a request that may be repeated, until it has an answer that is no passing failure.

        A GET is led on as `get` is. Raises TransferError when the patience is over: that of the
        client, or a shorter one.
        """
        waiting = Patience(self.patience if patience is None else patience)
        while True:
            answer: UpstreamResponse | None = None
            said = ""
            try:
                if method == "GET":
                    async with self.get(path, headers or {}) as (got, url):
                        answer = await self._whole(got, url)
                else:
                    answer = await self.ask(method, path, headers or {}, body)
            except aiohttp.ClientConnectorCertificateError as error:
                raise TransferError(
                    f"the TLS certificate of {self._base} is not trusted"
                    f" ({error.certificate_error}): name its authority's in $SSL_CERT_FILE"
                ) from None
            except FAILURES as error:
                said = str(error) or type(error).__name__
            if answer is not None and answer.status not in AGAIN:
                return answer
            await self.wait(waiting, answer, said)

    async def wait(self, patience: Patience, answer: UpstreamResponse | None, said: str) -> None:
        """Wait until a failed request may be repeated; raises TransferError in the end."""
        try:
            delay = patience.delay(answer)
        except ExhaustedError:
            raise self.unreachable(answer, said) from None
        await asyncio.sleep(delay)

    def unreachable(self, answer: UpstreamResponse | None, said: str) -> TransferError:
        """Return the error for a registry that fails for too long."""
        problem = f"answers with status {answer.status}" if answer else f"can't be reached ({said})"
        return TransferError(
            f"{self._base} {problem}, and that for too long: look at the address and the network,"
            " and run the same command again; what the registry has is not sent twice"
        )

    @asynccontextmanager
    async def get(
        self, path: str, headers: Mapping[str, str]
    ) -> AsyncGenerator[tuple[aiohttp.ClientResponse, str], None]:
        """GET what may be elsewhere: give the last answer, unread, and the URL that gave it.

        Raises one of FAILURES, TransferError for a redirect that must not be followed.
        """
        url = self._url(path)
        for _ in range(_MOST_REDIRECTS):
            async with self._request("GET", url, headers, None) as answer:
                if answer.status not in _REDIRECTS or "Location" not in answer.headers:
                    yield answer, url
                    return
                url = self._url(self._joined(url, answer.headers["Location"]))
        raise TransferError(f"{self._base} leads from one address to the next without end")

    @asynccontextmanager
    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: memoryview | None
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        own = self._is_own(url)
        for left in (True, False):
            authorization = await self._authorization.header() if own else None
            sent = dict(headers)
            if authorization is not None:
                sent["Authorization"] = authorization
            async with self._session.request(
                method,
                URL(url, encoded=True),
                headers=sent,
                data=None if body is None else io.BytesIO(body),
                allow_redirects=False,
                proxy=_proxy_for(url),
            ) as answer:
                if answer.status == HTTPStatus.UNAUTHORIZED and own and left:
                    headers_of = answer.headers.getall
                    named = [each for name in _CHALLENGES for each in headers_of(name, [])]
                    await _read(answer)
                    if await self._authorization.answer(named, authorization):
                        continue
                yield answer
                return

    async def _whole(self, answer: aiohttp.ClientResponse, url: str) -> UpstreamResponse:
        answered = CIMultiDict(answer.headers)
        if "Location" in answered:
            answered["Location"] = self._joined(url, answered["Location"])
        return UpstreamResponse(answer.status, answered, await _read(answer))

    async def _fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> UpstreamResponse:
        """Ask a token endpoint; raises TransferError when it doesn't answer."""
        patience = Patience(self.patience)
        while True:
            got: UpstreamResponse | None = None
            said = ""
            try:
                async with self._session.request(
                    method,
                    URL(url, encoded=True),
                    headers=headers,
                    data=body or None,
                    allow_redirects=False,
                    proxy=_proxy_for(url),
                ) as answer:
                    read = await _read(answer)
                    got = UpstreamResponse(answer.status, CIMultiDict(answer.headers), read)
            except FAILURES as error:
                said = str(error) or type(error).__name__
            if got is not None and got.status not in AGAIN:
                return got
            await self.wait(patience, got, said)

    def _url(self, path: str) -> str:
        """Return the URL of a path or a Location; raises TransferError for one without TLS."""
        if path.startswith("/"):
            return self._base + path
        try:
            parts = safe_url(path)
        except AddressError:
            raise self._nowhere() from None
        # A registry elsewhere must not lead to what listens on this machine alone.
        here = is_loopback(parts)
        if here and not is_loopback(self.place.url):
            raise TransferError(
                f"{self._base} sends this on to {origin(parts)}, which is this machine"
            )
        if parts.scheme == "http" and not here and not self._plain_http:
            if parts.hostname != self.place.url.hostname:
                raise TransferError(
                    f"{self._base} sends this on to {origin(parts)}, which has no TLS"
                )
            # A registry behind a TLS proxy that doesn't know of it.
            parts = parts._replace(scheme="https", netloc=host_of(self.place.url))
        return parts.geturl()

    def _joined(self, url: str, location: str) -> str:
        """Return where a Location leads from a URL; raises TransferError for what is no URL."""
        try:
            return urljoin(url, location)
        except ValueError:
            raise self._nowhere() from None

    def _nowhere(self) -> TransferError:
        return TransferError(f"{self._base} sends this on to what is no address")

    def _is_own(self, url: str) -> bool:
        return origin(urlsplit(url)) == self._base


def refusal(client: RegistryClient, answer: UpstreamResponse, what: str) -> TransferError:
    """Return the error for an answer that is not the one hoped for; `what` was to be done."""
    response = HttpResponse(answer.status, Message(), answer.body)
    said, error = response.message(), response.error()
    lacks_right = str(error.get("code") or "") in _OF_RIGHTS
    lacks_right = lacks_right and not isinstance(error.get("detail"), dict)
    advice = {
        HTTPStatus.UNAUTHORIZED: f": {LOG_IN}",
        HTTPStatus.FORBIDDEN: ": ask the registry's owner for that right" if lacks_right else "",
        HTTPStatus.NOT_FOUND: ": look at the name",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ": the registry takes smaller requests only; give a"
        " smaller --chunk-size",
    }.get(HTTPStatus(answer.status) if answer.status in set(HTTPStatus) else HTTPStatus.OK, "")
    return TransferError(f"{client.place.repository}: {what} is refused ({said}){advice}")


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """Read a small body; of one that is larger than any manifest no more than shows that."""
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > LARGEST_MANIFEST:
            break
    return bytes(body)


def _proxy_for(url: str) -> str | None:
    """Return the HTTP proxy that the environment names for a URL; none for this machine."""
    parts: SplitResult = urlsplit(url)
    if is_loopback(parts) or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)
