"""One request to an upload that is held here until the closing PUT names its digest.

A blob that fits one chunk is then stored by one `POST ?digest=` upstream. A larger one goes to S3
while it comes. If that is impossible, or only the registry can decide, the upload continues in a
session upstream. This module must never answer 201 before the registry has, nor mix the bytes of
two clients.
"""

from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlencode

from multidict import CIMultiDict

from chalicelib.digest import Digest
from chalicelib.errors import RegistryError
from chalicelib.reference import parse_digest
from moorage.common.chunked_upload import ChunkedUpload, UploadRefusedError
from moorage.common.direct_upload import NotDirectError, PutExhaustedError
from moorage.common.patience import AGAIN, ExhaustedError, UpstreamResponse, ask_patiently
from moorage.common.storage import PutRefusedError
from moorage.proxy.direct_stream import DirectStream, OtherDigestError
from moorage.proxy.held_sessions import HELD_SECONDS, HeldSession, HeldUploads, Stored
from moorage.proxy.push_rights import lasts
from moorage.proxy.upstream import Upstream

# A stream that S3 has no byte of may then go on in chunks.
_CHUNKS_DO: Final = (NotDirectError, PutRefusedError, PutExhaustedError)
_OF_THE_SESSION: Final = ("Location", "Range", "Docker-Upload-UUID")


class HeldUpload:
    """One request to a held session; it does what ChunkedUpload does.

    `offset` is where the client says that its body begins; None, at a closing PUT, is the end.
    `length` is how many bytes it announces; None if it doesn't say.
    """

    def __init__(  # noqa: PLR0913 - a request to a session is all of these
        self,
        held: HeldUploads,
        session: HeldSession,
        upstream: Upstream,
        headers: CIMultiDict[str],
        offset: int | None,
        length: int | None,
        patience: float,
    ) -> None:
        self._held = held
        self._session = session
        self._upstream = upstream
        self._headers = headers
        self._offset = offset
        self._announced = session.size + (length or 0)
        self._patience = patience
        self._before: int | None = None
        self._upload: ChunkedUpload | None = None

    @property
    def offset(self) -> int:
        """How many bytes the session is known to keep."""
        return self._upload.offset if self._upload is not None else self._session.size

    async def append(
        self, chunk: memoryview, algorithm: str = "", *, last: bool = False
    ) -> UpstreamResponse:
        """Hold the last chunk of a body if there is room for it; send any other one on.

        Raises UploadRefusedError, ExhaustedError, and what Upstream.ask does.
        """
        session = self._session
        if self._upload is None:
            async with session.lock:
                self._check_open()
                if not session.location:
                    self._check_offset(len(chunk))
                    self._note_size()
                    waits = last and not algorithm and lasts(self._headers, HELD_SECONDS)
                    if (waits and self._held.keep(session, chunk)) or (
                        await self._append_directly(chunk, algorithm)
                    ):
                        self._offset = session.size
                        return session.response(HTTPStatus.ACCEPTED)
                self._upload = await self._upstream_session(algorithm)
        answer = await self._upload.append(chunk, algorithm)
        session.location = self._upload.location
        return answer

    async def close(self, chunk: memoryview, query: str) -> UpstreamResponse:
        """Store the blob by one request if it fits a chunk, else as it was begun.

        A wrong digest is 400, and the session keeps what it had. Raises as `append` does.
        """
        session = self._session
        if self._upload is None:
            async with session.lock:
                digests = parse_qs(query).get("digest", [])
                if session.stored is not None and [session.stored.digest] == digests:
                    return await self._again(session.stored)
                self._check_open()
                if not session.location:
                    if chunk:
                        self._check_offset(len(chunk))
                    self._note_size()
                    if len(digests) != 1 and session.stream is not None:
                        raise self._invalid("name one digest: ?digest=<algorithm>:<hex>")
                    # Without a byte and without one digest the registry says what is wrong.
                    if len(digests) == 1 and (session.size or chunk):
                        if self._held.fits(session, chunk):
                            data = memoryview(b"".join((*session.pieces, chunk)))
                            return await self._store(data, digests[0], query)
                        before = session.size
                        answer = await self._close_directly(chunk, digests[0])
                        if answer is not None:
                            return answer
                        chunk = chunk[session.size - before :]
                self._upload = await self._upstream_session("")
        return await self._upload.close(chunk, query)

    async def cancel(self) -> UpstreamResponse:
        """Forget the session, which must not have moved; raises UploadRefusedError."""
        async with self._session.lock:
            self._check_open()
            await self._held.end(self._session)
        return UpstreamResponse(HTTPStatus.NO_CONTENT, CIMultiDict(), b"")

    async def _append_directly(self, chunk: memoryview, algorithm: str) -> bool:
        """Append to the session's stream; False if it must continue in chunks."""
        stream = await self._held.stream(self._session, algorithm, self._of_the_login())
        if stream is None:
            return False
        if stream.finished:
            raise self._unknown("the upload is being committed: repeat its PUT, or start a new one")
        stream.announce(self._announced)
        try:
            await stream.append(bytes(chunk))
            if not lasts(self._headers, HELD_SECONDS):
                await stream.open()
        except _CHUNKS_DO as failed:
            await self._take_back(stream, failed)
            return False
        except UploadRefusedError as refused:
            raise self._refused(refused.answer) from None
        return True

    async def _close_directly(self, chunk: memoryview, named: str) -> UpstreamResponse | None:
        """Store the blob by the session's stream; None if it must continue in chunks."""
        session = self._session
        stream = await self._held.stream(session, "", self._of_the_login())
        if stream is None:
            return None
        try:
            digest = parse_digest(named)
            await stream.finish(digest, bytes(chunk))
            answer = await stream.commit(digest)
        except RegistryError as wrong:
            refusal = session.response(wrong.code.status, wrong.code.code, wrong.message)
            raise UploadRefusedError(refusal) from None
        except OtherDigestError as other:
            if not stream.finished:
                await self._held.rewind(session, stream, self._before or 0)
            raise self._other_digest(named, other.digest) from None
        except _CHUNKS_DO as failed:
            await self._take_back(stream, failed)
            return None
        except UploadRefusedError as refused:
            raise self._refused(refused.answer) from None
        self._held.stored(session, Stored(named, stream.size, answer))
        return answer

    async def _take_back(self, stream: DirectStream, failed: Exception) -> None:
        """Continue the session in chunks; raises if S3 has some of its bytes already."""
        if await self._held.take_back(self._session, stream):
            return
        if isinstance(failed, PutExhaustedError):
            raise ExhaustedError from failed
        status, code = HTTPStatus.BAD_GATEWAY, "UNAVAILABLE"
        raise UploadRefusedError(self._session.response(status, code, str(failed))) from failed

    def _refused(self, answer: UpstreamResponse) -> UploadRefusedError:
        """Return the client's answer for an answer that ends its request or its session."""
        if answer.status == HTTPStatus.NOT_FOUND:
            self._held.forget(self._session)
            return self._unknown("the upload is over: start a new one")
        headers = answer.headers.copy()
        for name in _OF_THE_SESSION:
            headers.popall(name, None)
        if answer.status == HTTPStatus.BAD_REQUEST:
            self._held.forget(self._session)
        else:
            headers.update(self._session.response(HTTPStatus.OK).headers)
        return UploadRefusedError(UpstreamResponse(answer.status, headers, answer.body))

    def _other_digest(self, named: str, found: Digest) -> UploadRefusedError:
        if named.startswith(f"{found.algorithm}:"):
            return self._invalid(f"the bytes have the digest {found}, not {named}")
        self._held.prefer_chunks(self._session.name)
        return self._invalid(f"the bytes were hashed as {found.algorithm}: push this blob again")

    def _invalid(self, message: str) -> UploadRefusedError:
        status, code = HTTPStatus.BAD_REQUEST, "DIGEST_INVALID"
        return UploadRefusedError(self._session.response(status, code, message))

    def _of_the_login(self) -> CIMultiDict[str]:
        """Return the headers for requests of the proxy's own, whose answers are read here."""
        headers = self._headers.copy()
        for name in ("Accept-Encoding", "Content-Encoding"):
            headers.popall(name, None)
        return headers

    async def _store(self, data: memoryview, digest: str, query: str) -> UpstreamResponse:
        path = f"/v2/{self._session.name}/blobs/uploads/?{urlencode({'digest': digest}, safe=':')}"
        headers = CIMultiDict(self._headers)
        headers["Content-Type"] = "application/octet-stream"
        answer = await ask_patiently(self._upstream, path, headers, data, self._patience)
        if answer.status == HTTPStatus.ACCEPTED and "Location" in answer.headers:
            # A registry that takes no blob by POST has opened a session for it.
            location = answer.headers["Location"]
            upload = ChunkedUpload(self._upstream, location, self._headers, 0, self._patience)
            answer = await upload.close(data, query)
        if answer.status != HTTPStatus.CREATED:
            if answer.status == HTTPStatus.BAD_REQUEST:
                answer.headers.update(self._session.response(HTTPStatus.BAD_REQUEST).headers)
            raise UploadRefusedError(answer)
        self._held.stored(self._session, Stored(digest, len(data), answer))
        return answer

    async def _again(self, stored: Stored) -> UpstreamResponse:
        """Answer a PUT that is repeated, if the blob is still there: 201 once more.

        A login that may push and not pull can't be told that it is gone.
        """
        path = f"/v2/{self._session.name}/blobs/{stored.digest}"
        found = await self._upstream.ask("HEAD", path, self._headers)
        if found.status == HTTPStatus.NOT_FOUND:
            raise self._unknown("the blob of this upload was deleted since: start a new upload")
        if found.status in AGAIN:
            raise UploadRefusedError(UpstreamResponse(found.status, found.headers, b""))
        return stored.answer

    async def _upstream_session(self, algorithm: str) -> ChunkedUpload:
        """Return the session upstream in which this one continues; open one if there is none."""
        session, patience = self._session, self._patience
        at = self._offset or 0
        if session.location:
            return ChunkedUpload(self._upstream, session.location, self._headers, at, patience)
        path = f"/v2/{session.name}/blobs/uploads/"
        opened = await ask_patiently(self._upstream, path, self._headers, None, patience)
        if opened.status != HTTPStatus.ACCEPTED or "Location" not in opened.headers:
            raise UploadRefusedError(opened)
        location = opened.headers["Location"]
        upload = ChunkedUpload(self._upstream, location, self._headers, 0, patience)
        for piece in session.pieces:
            await upload.append(memoryview(piece), algorithm)
        self._held.moved(session, upload.location)
        return upload

    def _check_open(self) -> None:
        if self._session.gone or self._session.stored is not None:
            raise self._unknown("the upload is over: start a new one")

    def _note_size(self) -> None:
        """Note how many bytes the session had before this request."""
        if self._before is None:
            self._before = self._session.size

    def _check_offset(self, size: int) -> None:
        kept = self._session.size
        if self._offset not in {None, kept}:
            status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            message = f"the upload has {kept} bytes, the {size} that came begin at {self._offset}"
            raise UploadRefusedError(self._session.response(status, "RANGE_INVALID", message))

    def _unknown(self, message: str) -> UploadRefusedError:
        answer = self._session.response(HTTPStatus.NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", message)
        return UploadRefusedError(UpstreamResponse(answer.status, CIMultiDict(), answer.body))
