"""Uploads a blob to a registry: in one request if it fits, otherwise chunk by chunk.

Bytes that the registry has already are never sent again, in this run or the next one.
"""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from chalicelib.descriptor import Descriptor
from chalicelib.digest import Algorithm
from moorage.common.chunked_upload import ChunkedUpload, UploadRefusedError, offset_of
from moorage.common.http import whole_number
from moorage.common.patience import FAILURES, ExhaustedError, UpstreamResponse
from moorage.transfer.client import RegistryClient, refusal
from moorage.transfer.content import BlobProgress, BlobReader, TransferError, pieces, short
from moorage.transfer.kept_sessions import KeptSession

_OCTETS = {"Content-Type": "application/octet-stream"}
# A chunk that a killed run has sent may still arrive: the session is asked again where it is.
_OUT_OF_PLACE = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
_ANEW = frozenset({HTTPStatus.NOT_FOUND, _OUT_OF_PLACE})
_TRIES = 4
# Pieces that are read while one is sent.
_AHEAD = 1


@dataclass(frozen=True, slots=True)
class OpenedUpload:
    """An upload session; `offset` is how many bytes it keeps, `kept` whether of an earlier run."""

    location: str
    offset: int = 0
    least_chunk: int = 0
    kept: bool = False


class BlobSender(Protocol):
    """A way for a blob's bytes to a registry."""

    async def send(
        self,
        blob: Descriptor,
        reader: BlobReader,
        progress: BlobProgress,
        opened: OpenedUpload | None,
    ) -> None:
        """Send a blob, which is in the repository then; `opened` is a session to use for it.

        Raises TransferError.
        """


class ChunkSender:
    """The distribution specification's way, which every registry has; see BlobSender."""

    def __init__(self, client: RegistryClient, chunk_size: int, patience: float) -> None:
        self._client = client
        self._chunk_size = chunk_size
        self._patience = patience
        self._takes_whole = True
        """Whether the registry takes a blob with the POST; some open a session instead."""

    async def send(
        self,
        blob: Descriptor,
        reader: BlobReader,
        progress: BlobProgress,
        opened: OpenedUpload | None,
    ) -> None:
        """See BlobSender."""
        if opened is None and blob.size <= self._chunk_size and self._takes_whole:
            opened = await self._send_whole(blob, reader)
            if opened is None:
                progress.moved(blob.size)
                return
        with KeptSession(self._client.place.repository, blob.digest) as session:
            for left in reversed(range(_TRIES)):
                upload = await self._resumed(session, blob) or opened or await self._opened(blob)
                if upload.kept and left == _TRIES - 1:
                    progress.kept(upload.offset)
                else:
                    progress.moved(upload.offset)
                try:
                    await self._send_chunks(upload, session, blob, reader, progress)
                except UploadRefusedError as refused:
                    status = refused.answer.status
                    if not left or (status not in _ANEW and not upload.kept):
                        session.forget()
                        raise self._refused(refused.answer, blob) from None
                    if status != _OUT_OF_PLACE or left == 1:
                        session.forget()
                    opened = None
                else:
                    return

    async def _send_whole(self, blob: Descriptor, reader: BlobReader) -> OpenedUpload | None:
        """Send a blob by one POST; return the session that the registry has opened instead."""
        body = await reader.read(0, blob.size)
        path = f"{self._client.path('blobs/uploads/')}?digest={blob.digest}"
        answer = await self._client.call("POST", path, _OCTETS, body)
        if answer.status == HTTPStatus.CREATED:
            return None
        if answer.status != HTTPStatus.ACCEPTED:
            raise self._refused(answer, blob)
        self._takes_whole = False
        return opened_upload(self._client, answer)

    async def _resumed(self, session: KeptSession, blob: Descriptor) -> OpenedUpload | None:
        """Return the session of an earlier run, if the registry still has it."""
        if session.location is None:
            return None
        answer = await self._client.call("GET", session.location)
        kept = offset_of(answer.headers)
        if answer.status == HTTPStatus.NO_CONTENT and kept and kept <= blob.size:
            location = answer.headers.get("Location", session.location)
            return OpenedUpload(location, kept, kept=True)
        session.forget()
        return None

    async def _opened(self, blob: Descriptor) -> OpenedUpload:
        path = self._client.path("blobs/uploads/")
        if blob.digest.algorithm is not Algorithm.SHA256:
            path += f"?digest-algorithm={blob.digest.algorithm.value}"
        answer = await self._client.call("POST", path)
        if answer.status != HTTPStatus.ACCEPTED:
            raise refusal(self._client, answer, "to push")
        return opened_upload(self._client, answer)

    async def _send_chunks(
        self,
        opened: OpenedUpload,
        session: KeptSession,
        blob: Descriptor,
        reader: BlobReader,
        progress: BlobProgress,
    ) -> None:
        """Send what the session lacks, and close it; raises UploadRefusedError, TransferError."""
        size = max(self._chunk_size, opened.least_chunk)
        upstream = _KeepingUpstream(self._client, session)
        upload = ChunkedUpload(upstream, opened.location, {}, opened.offset, self._patience)
        session.keep(opened.location)
        try:
            async with aclosing(pieces(reader, opened.offset, blob.size, size, _AHEAD)) as chunks:
                async for chunk in chunks:
                    if upload.offset + len(chunk) == blob.size:
                        await upload.close(chunk, f"digest={blob.digest}")
                        break
                    await upload.append(chunk)
                    progress.moved(upload.offset)
                else:
                    await upload.close(memoryview(b""), f"digest={blob.digest}")
        except ExhaustedError:
            raise self._client.unreachable(upstream.answer, upstream.said) from None
        session.forget()
        progress.moved(blob.size)

    def _refused(self, answer: UpstreamResponse, blob: Descriptor) -> TransferError:
        return refusal(self._client, answer, f"to push {short(blob.digest)}")


def opened_upload(client: RegistryClient, answer: UpstreamResponse) -> OpenedUpload:
    """Return the session that a 202 has opened; raises TransferError for one without a Location."""
    location = answer.headers.get("Location")
    if location is None:
        raise TransferError(f"{client.place.repository}: the registry opens an upload nowhere")
    least = whole_number(answer.headers.get("OCI-Chunk-Min-Length", ""))
    return OpenedUpload(location, least_chunk=least or 0)


class _KeepingUpstream:
    """The registry, for ChunkedUpload; every Location that it answers with is noted."""

    def __init__(self, client: RegistryClient, session: KeptSession) -> None:
        self._client = client
        self._session = session
        self.answer: UpstreamResponse | None = None
        self.said = ""

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: memoryview | None = None
    ) -> UpstreamResponse:
        """See UploadUpstream."""
        self.answer, self.said = None, ""
        try:
            self.answer = await self._client.ask(method, path, headers, body)
        except FAILURES as error:
            self.said = str(error) or type(error).__name__
            raise
        location = self.answer.headers.get("Location")
        if location is not None and offset_of(self.answer.headers) is not None:
            self._session.keep(location)
        return self.answer
