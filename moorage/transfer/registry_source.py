"""An image in a registry, read: manifests by digest, blobs by ranges, wherever they are stored.

A manifest whose bytes have another digest is refused. The target checks the bytes of blobs.
"""

import json
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

import aiohttp
from multidict import CIMultiDict

from chalicelib.descriptor import INDEXES, Descriptor, MediaType
from chalicelib.digest import Digest, InvalidDigestError
from chalicelib.reference import Tag
from moorage.common.http import clean, json_object, next_page, read_json
from moorage.common.patience import AGAIN, FAILURES, Patience, UpstreamResponse
from moorage.transfer.client import RegistryClient, refusal
from moorage.transfer.content import (
    LARGEST_MANIFEST,
    PIECE,
    ManifestContent,
    TransferError,
    checked_manifest,
    listed,
    short,
)

_ACCEPT = {"Accept": ", ".join([*MediaType, "*/*;q=0.1"])}
_DIGEST_HEADER = "Docker-Content-Digest"
# Presigned addresses end, and storage says so in various ways.
_EXPIRED = frozenset({400, 401, 403, 404, 410})
_MOST_PAGES = 1000


class FallbackReferrers(NamedTuple):
    """What an index under a fallback tag lists: as descriptors, and its entries as they are."""

    descriptors: list[Descriptor]
    entries: list[dict[str, object]]


class RegistrySource:
    """An image in a registry; see ImageSource.

    With `platform`, as os/architecture[/variant], an index stands for its manifest of that one.
    """

    def __init__(self, client: RegistryClient, platform: str | None = None) -> None:
        self._client = client
        self._platform = platform

    async def root(self) -> ManifestContent:
        """See ImageSource."""
        reference = self._client.place.reference
        answer = await self._get(str(reference))
        if answer.status != HTTPStatus.OK:
            raise refusal(self._client, answer, f"to pull {reference}")
        named = answer.headers.get(_DIGEST_HEADER, "")
        try:
            stated = Digest.parse(named) if named else Digest.of(answer.body)
        except InvalidDigestError as error:
            raise TransferError(f"{self._client.place}: {error}") from None
        digest = stated if isinstance(reference, Tag) else reference
        root = self._checked(answer, digest, "")
        if self._platform is None or root.parsed.media_type not in INDEXES:
            return root
        return await self.manifest(of_platform(root, self._platform))

    async def manifest(self, descriptor: Descriptor) -> ManifestContent:
        """See ImageSource."""
        answer = await self._get(str(descriptor.digest))
        if answer.status == HTTPStatus.NOT_FOUND:
            raise TransferError(
                f"{self._client.place} names {short(descriptor.digest)}, which the registry lacks:"
                " have the image pushed again with all its platforms, or pull one of them by"
                " --platform"
            )
        if answer.status != HTTPStatus.OK:
            raise refusal(self._client, answer, f"to pull {short(descriptor.digest)}")
        return self._checked(answer, descriptor.digest, descriptor.media_type)

    def blob(self, descriptor: Descriptor) -> "RemoteBlob":
        """See ImageSource."""
        return RemoteBlob(self._client, descriptor)

    async def referrers(self, digest: Digest) -> list[Descriptor]:
        """See ImageSource; from the referrers API, else from the fallback tag."""
        path: str | None = self._client.path(f"referrers/{digest}")
        found: list[Descriptor] = []
        for _ in range(_MOST_PAGES):
            if path is None:
                break
            answer = await self._client.call("GET", path, {"Accept": MediaType.OCI_INDEX})
            if answer.status == HTTPStatus.NOT_FOUND:
                return found + (await fallback_referrers(self._client, digest)).descriptors
            if answer.status != HTTPStatus.OK:
                raise refusal(self._client, answer, f"to list what refers to {short(digest)}")
            found += _listed(answer.body)
            path = next_page(answer.headers.get("Link", ""))
        return found

    async def _get(self, reference: str) -> UpstreamResponse:
        return await self._client.call("GET", self._client.path(f"manifests/{reference}"), _ACCEPT)

    def _checked(self, answer: UpstreamResponse, digest: Digest, known: str) -> ManifestContent:
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        place = str(self._client.place)
        if len(answer.body) > LARGEST_MANIFEST:
            raise TransferError(f"{place}: the manifest has more than {LARGEST_MANIFEST} bytes")
        return checked_manifest(answer.body, known or media_type, digest, place)


def of_platform(index: ManifestContent, wanted: str) -> Descriptor:
    """Return the manifest of a platform in an index; raises TransferError."""
    found: list[str] = []
    entries = json.loads(index.body)["manifests"]
    for entry, descriptor in zip(entries, index.parsed.manifests, strict=True):
        platform = entry.get("platform")
        platform = platform if isinstance(platform, dict) else {}
        parts = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
        named = "/".join(str(part) for part in parts if part)
        if wanted == named or named.startswith(f"{wanted}/"):
            return descriptor
        found.append(named)
    raise TransferError(
        f"the image has no platform {wanted}: give --platform with one of"
        f" {', '.join(sorted(filter(None, found)))}"
    )


async def fallback_referrers(client: RegistryClient, digest: Digest) -> FallbackReferrers:
    """Read what the fallback tag of a subject lists: nothing where there is none.

    Raises TransferError.
    Source: OCI distribution spec, "Referrers tag schema".
    """
    path = client.path(f"manifests/{fallback_tag(digest)}")
    answer = await client.call("GET", path, {"Accept": MediaType.OCI_INDEX})
    if answer.status == HTTPStatus.NOT_FOUND:
        return FallbackReferrers([], [])
    if answer.status != HTTPStatus.OK:
        raise refusal(client, answer, f"to list what refers to {short(digest)}")
    found = _listed(answer.body)
    return FallbackReferrers(found, json_object(answer.body)["manifests"])


def fallback_tag(digest: Digest) -> str:
    """Return the tag under which registries without the API keep a subject's referrers."""
    return f"{digest.algorithm.value}-{digest.hex}"


def _listed(body: bytes) -> list[Descriptor]:
    """Return the manifests of an index; raises TransferError."""
    try:
        return listed(read_json(body)["manifests"])
    except (ValueError, KeyError, TypeError) as error:
        raise TransferError(f"a list of referrers can't be read: {error}") from None


class RemoteBlob:
    """A blob in a registry; see BlobReader.

    Where the registry answers a range with the whole blob, pieces are read one after the other from
    that one answer.
    """

    def __init__(self, client: RegistryClient, blob: Descriptor) -> None:
        self._client = client
        self._blob = blob
        self._place: str | None = None
        """Where a redirect has led, as long as it works."""
        self._whole: tuple[AsyncExitStack, aiohttp.ClientResponse] | None = None
        self._position = 0
        """How much of the whole answer is read."""
        self.parallel = False

    async def read(self, offset: int, size: int) -> memoryview:
        """See BlobReader; after a broken connection the rest is requested again."""
        buffer = memoryview(bytearray(size))
        filled = 0
        patience = Patience(self._client.patience)
        while filled < size:
            attempt = _Attempt(buffer, offset, filled)
            said = "the answer ended early"
            try:
                await self._fill(attempt)
            except FAILURES as error:
                said = str(error) or type(error).__name__
            if attempt.filled < size and self._whole is not None:
                await self._leave_whole()
            if attempt.filled > filled:
                filled = attempt.filled
                patience.renew()
            elif filled < size:
                await self._client.wait(patience, attempt.answer, said)
        return buffer

    async def _fill(self, attempt: "_Attempt") -> None:
        """Read from one answer into the attempt; raises one of FAILURES, TransferError."""
        if self._whole is not None:
            await self._read_whole(attempt)
            return
        first, last = attempt.position, attempt.offset + len(attempt.buffer) - 1
        place = self._place
        path = place or self._client.path(f"blobs/{self._blob.digest}")
        async with AsyncExitStack() as stack:
            request = self._client.get(path, {"Range": f"bytes={first}-{last}"})
            answer, url = await stack.enter_async_context(request)
            if answer.status == HTTPStatus.PARTIAL_CONTENT:
                self._begins_at(answer, first)
                self.parallel = True
                self._place = url
                await attempt.take(answer)
            elif answer.status == HTTPStatus.OK:
                self._whole, self._position = (stack.pop_all(), answer), 0
                await self._read_whole(attempt)
            else:
                await self._failed(answer, attempt, place)

    async def _failed(
        self, answer: aiohttp.ClientResponse, attempt: "_Attempt", place: str | None
    ) -> None:
        """Note why nothing was read; raises TransferError where asking again would not help."""
        body = await answer.content.read(4096)
        attempt.answer = UpstreamResponse(answer.status, CIMultiDict(answer.headers), body)
        if answer.status in _EXPIRED and place is not None:
            # Other pieces may have found that out before, and have a new address already.
            if self._place == place:
                self._place = None
        elif answer.status == HTTPStatus.NOT_FOUND:
            raise TransferError(
                f"{self._client.place} names {short(self._blob.digest)}, which the registry lacks:"
                " have the image pushed again"
            )
        elif answer.status not in AGAIN:
            raise refusal(self._client, attempt.answer, f"to pull {short(self._blob.digest)}")

    async def _read_whole(self, attempt: "_Attempt") -> None:
        assert self._whole is not None  # noqa: S101 - who calls this has looked
        stack, answer = self._whole
        while self._position < attempt.position:
            piece = await answer.content.read(min(PIECE, attempt.position - self._position))
            if not piece:
                return
            self._position += len(piece)
        if self._position == attempt.position:
            before = attempt.filled
            try:
                await attempt.take(answer)
            finally:
                self._position += attempt.filled - before
        if self._position == self._blob.size:
            self._whole = None
            await stack.aclose()

    async def _leave_whole(self) -> None:
        if self._whole is not None:
            stack, self._whole = self._whole[0], None
            await stack.aclose()

    def _begins_at(self, answer: aiohttp.ClientResponse, first: int) -> None:
        content_range = answer.headers.get("Content-Range", "")
        if not content_range.startswith(f"bytes {first}-"):
            raise TransferError(
                f"{self._client.place}: asked for bytes from {first} on,"
                f" it sent {clean(content_range)!r}"
            )


@dataclass
class _Attempt:
    """A piece that is being read: `filled` is how many of its bytes are there."""

    buffer: memoryview
    offset: int
    filled: int
    answer: UpstreamResponse | None = None

    @property
    def position(self) -> int:
        return self.offset + self.filled

    async def take(self, answer: aiohttp.ClientResponse) -> None:
        """Read the rest of the piece, as far as the answer has it; raises one of FAILURES."""
        while self.filled < len(self.buffer):
            piece = await answer.content.read(len(self.buffer) - self.filled)
            if not piece:
                return
            self.buffer[self.filled : self.filled + len(piece)] = piece
            self.filled += len(piece)
