"""Direct uploads as a client makes them: blobs whose bytes go to S3 itself. docs/direct-uploads.md.

An Authorization header must never go to a URL of the storage, and bytes must never go over a
network without TLS. A registry on another machine must never direct a request to this machine.
"""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from chalicelib.digest import Algorithm, Digest
from chalicelib.strict_json import is_whole
from moorage.common.chunked_upload import UploadRefusedError
from moorage.common.http import json_object
from moorage.common.patience import (
    AGAIN,
    FAILURES,
    ExhaustedError,
    Patience,
    UploadUpstream,
    UpstreamResponse,
    ask_patiently,
)
from moorage.common.storage import Moved, Pieces, PutRefusedError, PutTarget, Storage

SEGMENT: Final = "/_moorage/uploads/"
"""What the path of a direct session has, and that of no other."""

_DISCOVER = "/v2/_oci/ext/discover"
# Chunks do where it stays unknown whether there are direct uploads.
_DISCOVERY_SECONDS = 5.0
# Whether a login may push is another matter than what the registry has.
_OF_THE_LOGIN = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
# What a registry answers that has no such uploads, or not for this blob.
_NOT_SO = frozenset({400, 404, 405, 413, 415, 501})
# The storage has waited for bytes, or got too few.
_CODES_AGAIN = frozenset({"RequestTimeout", "IncompleteBody"})
_EXPIRED_TOKEN = "ExpiredToken"  # noqa: S105 - a code of S3's
# Another PUT to the same key is under way.
_BUSY_KEY = HTTPStatus.CONFLICT
_THERE = HTTPStatus.PRECONDITION_FAILED
# A URL is used until so many seconds before its end: a clock may be wrong, a connection slow.
_MARGIN = 30.0
# So many tries may take as long as they do; then the patience decides.
_LEAST_TRIES = 5
# The URL may have ended. A fresh one that is refused as well would be so for ever.
_MOST_REFUSALS = 2


def _unheard(_: int) -> None:
    """Nobody wants to know."""


class NotDirectError(Exception):
    """The registry takes no such blob directly: push it in chunks."""


class PutExhaustedError(Exception):
    """The storage failed for longer than the patience; the text says how. The session stays."""


class PartSize(NamedTuple):
    """A part by its number, from 1, and its size in bytes."""

    number: int
    size: int


@dataclass(frozen=True, slots=True)
class SentPart:
    """A part in the report; `state`: the hash's words after it, None after the last one."""

    number: int
    size: int
    state: bytes | None


@dataclass(frozen=True, slots=True)
class PartRules:
    """What the registry asks of parts; sizes in bytes.

    Every part but the last is a multiple of `multiple`, and no smaller than `minimum`. `batch` is
    how many URLs one request may ask for.
    """

    minimum: int
    maximum: int
    count: int
    multiple: int
    batch: int


class DirectClient:
    """The direct uploads of one registry; `patience` in seconds, for each request and PUT."""

    def __init__(self, upstream: UploadUpstream, storage: Storage, patience: float) -> None:
        self.upstream = upstream
        self.storage = storage
        self.patience = patience
        self._lock = asyncio.Lock()
        self._offered: bool | None = None

    async def offered(self, headers: Mapping[str, str]) -> bool:
        """Whether the registry has direct uploads; it is asked once, with these headers.

        An answer that is about the login, or that may pass, is no, and isn't remembered.
        """
        async with self._lock:
            if self._offered is None:
                seconds = min(self.patience, _DISCOVERY_SECONDS)
                try:
                    answer = await ask_patiently(
                        self.upstream, _DISCOVER, headers, None, seconds, "GET"
                    )
                except FAILURES:
                    return False
                if answer.status == HTTPStatus.OK:
                    self._offered = _has_extension(answer)
                elif answer.status not in AGAIN | _OF_THE_LOGIN:
                    self._offered = False
            return bool(self._offered)

    async def open_whole(
        self, name: str, digest: Digest, size: int, headers: Mapping[str, str]
    ) -> "WholeUpload":
        """Open a session for one PUT of a known blob.

        Raises NotDirectError, UploadRefusedError, and one of FAILURES when no answer comes.
        """
        query = urlencode({"digest": str(digest), "size": size}, safe=":")
        answer, document = await self._open(name, query, headers)
        return WholeUpload(self, _location(answer), headers, document)

    async def open_parts(
        self, name: str, algorithm: Algorithm, headers: Mapping[str, str]
    ) -> "PartsUpload":
        """Open a session for parts, whose digest comes with the commit; raises as open_whole."""
        query = urlencode({"parts": "true", "algorithm": algorithm.value})
        answer, document = await self._open(name, query, headers)
        return PartsUpload(self, _location(answer), headers, document)

    async def resume(self, location: str, headers: Mapping[str, str]) -> "DirectUpload | None":
        """Return a session that was opened before, with what it keeps; None if it is over.

        One that is open is a WholeUpload or a PartsUpload. Raises UploadRefusedError, and one of
        FAILURES.
        """
        answer = await self.ask("GET", location, headers)
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if answer.status != HTTPStatus.OK:
            raise UploadRefusedError(answer)
        document = json_object(answer.body)
        found = DirectUpload(self, location, headers, document)
        if not found.open:
            return found
        try:
            kind = PartsUpload if "parts" in document else WholeUpload
            return kind(self, location, headers, document)
        except NotDirectError:
            return None

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> UpstreamResponse:
        """Send the registry a request that may be repeated; raises one of FAILURES in the end."""
        sent = dict(headers)
        if body is not None:
            sent["Content-Type"] = "application/json"
        data = None if body is None else memoryview(body)
        return await ask_patiently(self.upstream, path, sent, data, self.patience, method)

    async def _open(
        self, name: str, query: str, headers: Mapping[str, str]
    ) -> tuple[UpstreamResponse, dict[str, Any]]:
        answer = await self.ask("POST", f"/v2/{name}{SEGMENT}?{query}", headers)
        if answer.status in _NOT_SO:
            raise NotDirectError
        if answer.status != HTTPStatus.CREATED:
            raise UploadRefusedError(answer)
        return answer, json_object(answer.body)


class DirectUpload:
    """A session at `location`; `state` is what the registry last said of it."""

    def __init__(
        self,
        uploads: DirectClient,
        location: str,
        headers: Mapping[str, str],
        document: Mapping[str, Any],
    ) -> None:
        self._uploads = uploads
        self._headers = headers
        self.location = location
        self.state = str(document.get("state"))
        self._take(document)

    def _take(self, document: Mapping[str, Any]) -> None:
        """Take what the document of one kind of session has; raises NotDirectError."""

    @property
    def open(self) -> bool:
        """Whether it takes bytes; else it is committed, or on the way to it."""
        return self.state == "direct"

    async def cancel(self) -> None:
        """Give the session up, by one try: one that stays ends by itself."""
        with contextlib.suppress(*FAILURES):
            await self._uploads.upstream.ask("DELETE", self.location, self._headers)

    async def repeat_commit(self, digest: Digest) -> UpstreamResponse:
        """Ask again for a commit that the registry has; raises as the first one."""
        return await self._commit(_digest_query(digest), None)

    async def _commit(self, query: str, body: bytes | None) -> UpstreamResponse:
        path = self.location
        if query:
            path += ("&" if "?" in path else "?") + query
        answer = await self._uploads.ask("PUT", path, self._headers, body)
        if answer.status != HTTPStatus.CREATED:
            raise UploadRefusedError(answer)
        return answer


class WholeUpload(DirectUpload):
    """A session for one PUT, which S3 compares with the digest."""

    def _take(self, document: Mapping[str, Any]) -> None:
        self._to = _presigned(document.get("put"))
        if self._to is None:
            raise NotDirectError

    async def put(self, size: int, pieces: Pieces, moved: Moved = _unheard) -> None:
        """Put the bytes, again and again if need be.

        Raises PutRefusedError, PutExhaustedError, UploadRefusedError, and one of FAILURES.
        """
        await _put_patiently(self._uploads, self._url, size, pieces, moved)

    async def commit(self) -> UpstreamResponse:
        """Publish the blob and return the 201; raises UploadRefusedError, and one of FAILURES."""
        return await self._commit("", None)

    async def _url(self) -> PutTarget:
        to, self._to = self._to, None
        if to is not None and to.until > time.monotonic():
            return to
        answer = await self._uploads.ask("GET", self.location, self._headers)
        if answer.status != HTTPStatus.OK:
            raise UploadRefusedError(answer)
        document = json_object(answer.body)
        self.state = str(document.get("state"))
        fresh = _presigned(document.get("put"))
        if fresh is None:
            raise UploadRefusedError(answer)
        return fresh


class PartsUpload(DirectUpload):
    """A session for parts, which may be put in parallel; `stored` has the sizes by number."""

    def _take(self, document: Mapping[str, Any]) -> None:
        rules: Any = document.get("parts")
        try:
            names = (field.name for field in fields(PartRules))
            self.rules = PartRules(**{name: int(rules[name]) for name in names})
            self.stored = {
                int(part["number"]): int(part["size"]) for part in rules.get("stored", [])
            }
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
            raise NotDirectError from None
        if not all(getattr(self.rules, field.name) > 0 for field in fields(PartRules)):
            raise NotDirectError
        self._lock = asyncio.Lock()
        self._urls: dict[PartSize, PutTarget] = {}

    async def put(
        self,
        part: PartSize,
        pieces: Pieces,
        ahead: Sequence[PartSize] = (),
        moved: Moved = _unheard,
    ) -> None:
        """Put a part, again and again if need be; `ahead` are those that probably come next.

        Raises PutRefusedError, PutExhaustedError, UploadRefusedError, and one of FAILURES.
        """

        async def url() -> PutTarget:
            return await self._url(part, ahead)

        await _put_patiently(self._uploads, url, part.size, pieces, moved)
        self.stored[part.number] = part.size

    async def commit(self, digest: Digest, report: Sequence[SentPart]) -> UpstreamResponse:
        """Publish the blob and return the 201; raises UploadRefusedError, and one of FAILURES."""
        parts: list[dict[str, object]] = [
            {"number": part.number, "size": part.size}
            | ({} if part.state is None else {"state": part.state.hex()})
            for part in report
        ]
        return await self._commit(_digest_query(digest), json.dumps({"parts": parts}).encode())

    async def _url(self, part: PartSize, ahead: Sequence[PartSize]) -> PutTarget:
        """Return a URL for a part that was not used, with those for the parts ahead if need be."""
        async with self._lock:
            to = self._urls.pop(part, None)
            if to is None or to.until <= time.monotonic():
                wanted = [part, *(each for each in ahead if each != part)][: self.rules.batch]
                await self._ask_for(wanted)
                to = self._urls.pop(part, None)
            if to is None:
                raise PutRefusedError(0, "the registry gives no URL for the part")
            return to

    async def _ask_for(self, parts: Sequence[PartSize]) -> None:
        place, mark, query = self.location.partition("?")
        path = f"{place}/parts{mark}{query}"
        wanted = json.dumps({"parts": [part._asdict() for part in parts]}).encode()
        answer = await self._uploads.ask("POST", path, self._headers, wanted)
        if answer.status != HTTPStatus.OK:
            raise UploadRefusedError(answer)
        given = json_object(answer.body).get("parts")
        sizes = {part.number: part for part in parts}
        for each in given if isinstance(given, list) else []:
            to = _presigned(each)
            number = each.get("number") if to is not None else None
            if to is not None and is_whole(number) and number in sizes:
                self._urls[sizes[number]] = to


async def _put_patiently(
    uploads: DirectClient,
    url: Callable[[], Awaitable[PutTarget]],
    size: int,
    pieces: Pieces,
    moved: Moved,
) -> None:
    """PUT until the storage has the bytes; each try gets a URL that was not used."""
    patience = Patience(uploads.patience)
    refused = 0
    for tries in itertools.count(1):
        moved(0)
        said, began = "", time.monotonic()
        to = await url()
        try:
            status, code = await uploads.storage.put(to, size, pieces, moved)
        except FAILURES as error:
            status, code, said = 0, "", str(error) or type(error).__name__
        if status in {HTTPStatus.OK, _THERE}:
            uploads.storage.worked = True
            moved(size)
            return
        if status == HTTPStatus.FORBIDDEN or code == _EXPIRED_TOKEN:
            refused += 1
            if refused < _MOST_REFUSALS:
                continue
        elif status in AGAIN | {0, _BUSY_KEY} or code in _CODES_AGAIN:
            refused = 0
            if tries < _LEAST_TRIES:
                # Sending is no waiting.
                patience.put_off(time.monotonic() - began)
            try:
                await asyncio.sleep(patience.delay(None))
            except ExhaustedError:
                raise PutExhaustedError(said or f"status {status}") from None
            continue
        raise PutRefusedError(status, code)


def _has_extension(answer: UpstreamResponse) -> bool:
    listed = json_object(answer.body).get("extensions")
    extensions = listed if isinstance(listed, list) else []
    return any(isinstance(each, dict) and each.get("name") == "_moorage" for each in extensions)


def _digest_query(digest: Digest) -> str:
    return urlencode({"digest": str(digest)}, safe=":")


def _location(answer: UpstreamResponse) -> str:
    location = answer.headers.get("Location")
    if location is None:
        raise NotDirectError
    return location


def _presigned(document: Any) -> PutTarget | None:  # noqa: ANN401 - JSON
    """Read where bytes go; None for what is no such thing."""
    try:
        headers = {str(name): str(value) for name, value in document["headers"].items()}
        until = time.monotonic() + float(document["expires_in"]) - _MARGIN
        to = PutTarget(document["url"], headers, until)
        written = "".join((to.url, *headers, *headers.values()))
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return None
    return to if written.isascii() and written.isprintable() else None
