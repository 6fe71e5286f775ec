"""A client that gets through: it asks for the status, resumes, repeats, waits, or starts anew.

It notes each promise in the ledger. It must never read the stores to decide what to do next.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from chalicelib.digest import Algorithm, Digest
from chalicelib.errors import RegistryError
from chalicelib.registry.outcomes import PresignedPut
from chalicelib.registry.registry import Registry
from chalicelib.registry.session import UploadState
from tests.drills.support.ledger import Ledger, Violation, id_of
from tests.drills.support.points import Gate, Stopped
from tests.drills.support.requests import LATER, NoAnswerError, Requests, expect, offset_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.api.messages import Response
    from chalicelib.registry.service import Limits
    from tests.drills.support.worlds import World
    from tests.support.parted import PartedBlob

HOME, AWAY = "team/home", "team/away"
"""The repositories of the operations and races."""
TEXT = b"The quick brown fox jumps over the lazy dog, and again."
"""55 bytes: a few parts of 8 and a tail, and above what one copy takes."""

CLIENTS_PUT = "client.put"
"""The name of the call by which a client puts the bytes of a direct upload to S3."""

_SESSIONS = 20
"""How often a client starts an upload anew before that is a violation."""


@dataclass(frozen=True)
class Upload:
    """A blob and how it is sent: sizes of the PATCHes in bytes; what is left goes with the PUT."""

    data: bytes
    chunks: tuple[int, ...] = ()
    algorithm: Algorithm = Algorithm.SHA256
    whole: bool = False
    """In one POST with `?digest=`."""
    wrong_first: bool = False
    """The first closing PUT names a digest that is not these bytes'."""

    @property
    def digest(self) -> Digest:
        """Return the bytes' digest."""
        return Digest.of(self.data, self.algorithm)


class Preparation(Protocol):
    """What is prepared for an operation or a race; its outcome is never changed by any."""

    @property
    def prepare(self) -> Callable[[Stage], Any]:
        """Prepares an empty stage."""

    @property
    def limits(self) -> Limits:
        """The limits of the registry."""


def named_by(response: Response) -> str:
    """Return what a Location names a session by: its ticket, or its id."""
    return str(response.headers["Location"]).rpartition("/")[2].partition("?")[0]


@dataclass
class Stage:
    """A world and the ledger of its clients."""

    world: World
    ledger: Ledger

    @classmethod
    def over(cls, world: World, limits: Limits) -> Stage:
        """Return an empty stage of the same kind as `world`."""
        return cls(world.fresh(limits), Ledger())

    @classmethod
    def prepared(cls, world: World, what: Preparation) -> tuple[Stage, Any]:
        """Return a stage of `world`'s kind on which something was prepared, and what came of it.

        It is prepared once for `world`, and copied for each use, where such a stage can be.
        """
        key = what.prepare, what.limits
        if key not in world.prepared:
            stage = cls.over(world, what.limits)
            found = what.prepare(stage)
            if stage.copy() is None:
                return stage, found
            world.prepared[key] = stage, found
        kept, found = world.prepared[key]
        return kept.copy(), found

    def copy(self) -> Stage | None:
        """Return a stage that is as this one is now; None if its world can't be copied."""
        world = self.world.copy()
        return None if world is None else Stage(world, self.ledger.copy())

    def registry(self, gate: Gate | None = None) -> Registry:
        """Return the registry as one task has it."""
        return Registry(self.world.ports(gate or Gate()), self.world.limits)

    def client(self, gate: Gate | None = None, *, patient: bool = True, tries: int = 60) -> Client:
        """Return a client, whose requests go through a gate."""
        gate = gate or Gate()
        requests = Requests(
            self.registry(gate), self.world.clock, gate, patient=patient, tries=tries
        )
        return Client(self, requests)


class Client:
    """One client."""

    def __init__(self, stage: Stage, requests: Requests) -> None:
        self.stage = stage
        self.ledger = stage.ledger
        self.requests = requests

    def invoke(self, work: Callable[[Registry, float], object]) -> None:
        """Do the work of the commit function or the sweeper; if it dies, again where patient."""
        for _ in range(self.requests.tries):
            try:
                work(self.stage.registry(self.requests.gate), self.stage.world.clock.now())
            except Stopped:
                self.requests.gate.revive()
                self.requests.wait()
            except RegistryError:
                self.requests.wait()
            else:
                return
        raise Violation(f"no end in {self.requests.tries} tries")

    # uploads

    def push(self, repository: str, upload: Upload) -> None:
        """Push a blob, with as many requests as it takes."""
        if upload.whole:
            target = f"{repository}/blobs/uploads?digest={upload.digest}"
            expect(self.requests.insist("POST", target, upload.data), 201)
        else:
            for _ in range(_SESSIONS):
                if self.fill_and_close(repository, self.start(repository), upload):
                    break
            else:
                raise Violation(f"no session of {_SESSIONS} ever took the blob")
        self.ledger.blobs[repository, upload.digest] = upload.data

    def start(self, repository: str) -> str:
        """Open a session; returns its ticket."""
        response = expect(self.requests.insist("POST", f"{repository}/blobs/uploads"), 202)
        return named_by(response)

    def fill_and_close(self, repository: str, session: str, upload: Upload) -> bool:
        """Send a blob into a session and close it; False if the session is gone."""
        where: int | None = 0
        for end in itertools.accumulate(upload.chunks):
            where = self.fill(repository, session, upload.data, where or 0, end)
            if where is None:
                return False
        if upload.wrong_first and not self.claim_wrongly(repository, session, upload, where or 0):
            return False
        return self.close(repository, session, upload, where or 0)

    def claim_wrongly(self, repository: str, session: str, upload: Upload, at: int) -> bool:
        """PUT what is left with a digest that the bytes do not have; False if it is gone."""
        wrong = Digest.of(b"wrong", upload.algorithm)
        target = f"{repository}/blobs/uploads/{session}?at={at}&digest={wrong}"
        response = expect(self.requests.insist("PUT", target, upload.data[at:]), 400, 404)
        return response.status == 400 or self.gone(session, wrong)

    def fill(self, repository: str, session: str, data: bytes, at: int, end: int) -> int | None:
        """Send the bytes at..end (exclusive); returns the offset then, None if the session is gone.

        The session may be further already, if another client sends to it.
        """
        for _ in range(self.requests.tries):
            if at >= end:
                return at
            response = self.chunk(repository, session, data[at:end], at)
            if response is None:
                found = self.where(repository, session)
                if found is None:
                    return None
                at = found
            elif response.status == 404:
                self.gone(session)
                return None
            else:
                at = offset_of(response)
        raise Violation(f"{session}: a chunk at {at} was refused {self.requests.tries} times")

    def chunk(self, repository: str, session: str, chunk: bytes, at: int) -> Response | None:
        """PATCH once; None if there was no answer or another try is due."""
        target = f"{repository}/blobs/uploads/{session}?at={at}"
        try:
            response = self.requests.ask("PATCH", target, chunk)
        except NoAnswerError:
            self.requests.wait()
            return None
        if response.status in LATER:
            self.requests.wait(response)
            return None
        if response.status == 202:
            self.ledger.accepted(session, at, chunk)
        elif response.status == 416:
            if offset_of(response) == at:
                raise Violation(f"{target}: refused at its own offset")
        else:
            expect(response, 404)
        return response

    def where(self, repository: str, session: str) -> int | None:
        """Ask for the status; returns the durable offset, None if the session is gone."""
        response = self.requests.insist("GET", f"{repository}/blobs/uploads/{session}")
        if response.status == 404:
            self.gone(session)
            return None
        offset = offset_of(expect(response, 204))
        self.ledger.durable(session, offset)
        return offset

    def close(self, repository: str, session: str, upload: Upload, at: int) -> bool:
        """PUT what is left from `at` with the digest until it is 201; False if the session is gone.

        After no answer, or a 429 or 503, it asks for the status and sends what is left.
        """
        for _ in range(self.requests.tries):
            target = f"{repository}/blobs/uploads/{session}?at={at}&digest={upload.digest}"
            try:
                response = self.requests.ask("PUT", target, upload.data[at:])
            except NoAnswerError:
                self.requests.wait()
            else:
                if response.status == 201:
                    self.ledger.blobs[repository, upload.digest] = upload.data
                    return True
                if response.status == 404:
                    return self.gone(session, upload.digest)
                if response.status in LATER:
                    self.requests.wait(response)
                else:
                    expect(response, 416)
            found = self.where(repository, session)
            if found is None:
                return False
            at = found
        raise Violation(f"{session}: no commit in {self.requests.tries} tries")

    def cancel(self, repository: str, session: str) -> None:
        """Cancel a session."""
        self.ledger.cancelled.add(id_of(session))
        response = self.requests.insist("DELETE", f"{repository}/blobs/uploads/{session}")
        expect(response, 204, 404)

    def gone(self, name: str, digest: Digest | None = None) -> bool:
        """Judge a 404 about a session; returns False, or raises Violation.

        It is wrong of a session that lives, or that no client cancelled. A closed session is 404
        for chunks, and for a PUT with a digest only once the blob was deleted. An unbegun one lives
        as long as its ticket.
        """
        session_id, _, ticket = name.partition("~")
        session = self.stage.world.snapshot().sessions.get(session_id)
        if session is None:
            if ticket and float(ticket.partition("~")[0]) <= self.stage.world.clock.now():
                return False
            raise Violation(f"session {session_id} was opened, and is not there")
        if session.over_by(self.stage.world.clock.now()) or self.ledger.ends(session_id):
            return False
        closed = not session.takes_bytes and session.state is not UploadState.CANCELLED
        deleted = (session.repository, digest) in self.ledger.unlinked
        if not closed or (digest is not None and not deleted):
            raise Violation(f"session {session_id} is {session.state}, and was answered 404")
        return False

    # direct uploads

    def push_direct(self, repository: str, data: bytes) -> None:
        """Push a blob by putting it to S3."""
        for _ in range(_SESSIONS):
            session = self.start_direct(repository, data)
            put = self.put_direct(repository, session, data)
            if put and self.commit_direct(repository, session, data):
                return
        raise Violation(f"no direct session of {_SESSIONS} ever took the blob")

    def start_direct(self, repository: str, data: bytes) -> str:
        """Open a direct session; returns its id."""
        target = f"{repository}/_moorage/uploads?digest={Digest.of(data)}&size={len(data)}"
        response = expect(self.requests.insist("POST", target), 201)
        return str(response.headers["Docker-Upload-UUID"])

    def url_of(self, repository: str, session: str) -> PresignedPut | None:
        """Ask for a URL; None if the session is gone, or committed."""
        response = self.requests.insist("GET", f"{repository}/_moorage/uploads/{session}")
        if response.status == 404:
            self.gone(session)
            return None
        put = json.loads(expect(response, 200).body).get("put")
        return PresignedPut(put["url"], put["headers"]) if put else None

    def put_direct(self, repository: str, session: str, data: bytes) -> bool:
        """Put the bytes to S3; False if the session is over before."""
        for _ in range(self.requests.tries):
            put = self.url_of(repository, session)
            if put is None:
                return False
            try:
                status = self.put_to(put, data)
            except Stopped:
                self.requests.gate.revive()
                self.requests.wait()
            except RegistryError:
                self.requests.wait()
            else:
                if status not in {200, 412}:
                    raise Violation(f"{session}: its bytes were refused with {status}")
                return True
        raise Violation(f"{session}: no PUT in {self.requests.tries} tries")

    def put_to(self, put: PresignedPut, data: bytes) -> int:
        """Put bytes to a URL, in one request that can be stopped; returns S3's status."""
        world = self.stage.world
        status: int = self.requests.gate(CLIENTS_PUT, lambda: world.put_by_url(put, data))
        return status

    def commit_direct(self, repository: str, session: str, data: bytes) -> bool:
        """Commit a direct session; False if it is gone."""
        digest = Digest.of(data)
        response = self.requests.insist("PUT", f"{repository}/_moorage/uploads/{session}")
        if expect(response, 201, 404).status == 404:
            return self.gone(session, digest)
        self.ledger.blobs[repository, digest] = data
        return True

    def cancel_direct(self, repository: str, session: str) -> None:
        """Cancel a direct session."""
        self.ledger.cancelled.add(session)
        response = self.requests.insist("DELETE", f"{repository}/_moorage/uploads/{session}")
        expect(response, 204, 404)

    # direct uploads in parts

    def push_parts(self, repository: str, blob: PartedBlob) -> None:
        """Push a blob by putting its parts to S3."""
        for _ in range(_SESSIONS):
            session = self.start_parts(repository, blob)
            put = self.put_parts(repository, session, blob)
            if put and self.commit_parts(repository, session, blob):
                return
        raise Violation(f"no session of {_SESSIONS} ever took the parts")

    def start_parts(self, repository: str, blob: PartedBlob) -> str:
        """Open a direct session in parts; returns its id."""
        target = f"{repository}/_moorage/uploads?parts=true&algorithm={blob.algorithm}"
        response = expect(self.requests.insist("POST", target), 201)
        return str(response.headers["Docker-Upload-UUID"])

    def stored_parts(self, repository: str, session: str) -> dict[int, int] | None:
        """Ask which parts S3 has, and their sizes; None if the session takes none any more."""
        response = self.requests.insist("GET", f"{repository}/_moorage/uploads/{session}")
        if response.status == 404:
            self.gone(session)
            return None
        parts = json.loads(expect(response, 200).body).get("parts")
        return parts and {part["number"]: part["size"] for part in parts["stored"]}

    def part_urls(
        self, repository: str, session: str, blob: PartedBlob
    ) -> dict[int, PresignedPut] | None:
        """Ask for a URL for each part; None if the session takes none any more."""
        target = f"{repository}/_moorage/uploads/{session}/parts"
        response = self.requests.insist("POST", target, blob.wanted)
        if response.status == 404:
            self.gone(session)
            return None
        given = json.loads(expect(response, 200).body)["parts"]
        return {part["number"]: PresignedPut(part["url"], part["headers"]) for part in given}

    def put_parts(self, repository: str, session: str, blob: PartedBlob) -> bool:
        """Put the parts that S3 lacks; False if the session is over before."""
        for _ in range(self.requests.tries):
            stored = self.stored_parts(repository, session)
            if stored is None:
                return False
            lacking = {n: data for n, data in blob.parts.items() if stored.get(n) != len(data)}
            if not lacking:
                return True
            urls = self.part_urls(repository, session, replace(blob, parts=lacking)) or {}
            try:
                statuses = [self.put_to(urls[n], lacking[n]) for n in urls]
            except Stopped:
                self.requests.gate.revive()
                self.requests.wait()
            except RegistryError:
                self.requests.wait()
            else:
                # What S3 failed to keep is asked for again.
                if not {200, 404, 500, 503}.issuperset(statuses):
                    raise Violation(f"{session}: its parts were refused with {statuses}")
        raise Violation(f"{session}: its parts never came in {self.requests.tries} tries")

    def commit_parts(
        self,
        repository: str,
        session: str,
        blob: PartedBlob,
        report: bytes | None = None,
    ) -> bool:
        """Commit with the blob's report, or with another body; False if the session is gone."""
        target = f"{repository}/_moorage/uploads/{session}?digest={blob.digest}"
        body = blob.report if report is None else report
        response = expect(self.requests.insist("PUT", target, body), 201, 404)
        if response.status == 404:
            return self.gone(session, blob.digest)
        self.ledger.blobs[repository, blob.digest] = blob.data
        return True

    def commit_wrongly(self, repository: str, session: str, digest: Digest, report: bytes) -> None:
        """Commit with a digest or a report that is not true: it is refused, now and again."""
        self.ledger.refused.add(session)
        target = f"{repository}/_moorage/uploads/{session}?digest={digest}"
        for body in (report, b"", report):
            expect(self.requests.insist("PUT", target, body), 400)

    # the rest

    def mount(self, repository: str, source: str, upload: Upload) -> bool:
        """Mount a blob; False if the source has none (then a session was opened)."""
        target = f"{repository}/blobs/uploads?mount={upload.digest}&from={source}"
        response = expect(self.requests.insist("POST", target), 201, 202)
        if response.status == 201:
            self.ledger.blobs[repository, upload.digest] = upload.data
            return True
        if (source, upload.digest) not in self.ledger.unlinked:
            raise Violation(f"{target}: the source has it, and it was not mounted")
        self.cancel(repository, named_by(response))
        return False

    def pull(self, repository: str, digest: Digest) -> bytes | None:
        """Pull a blob; None if it is not there, which is right only after a DELETE."""
        response = expect(self.requests.insist("GET", f"{repository}/blobs/{digest}"), 200, 404)
        place = repository, digest
        if response.status == 200:
            if Digest.of(response.body, digest.algorithm) != digest:
                raise Violation(f"{digest} was answered with other bytes")
            return response.body
        if place in self.ledger.blobs and place not in self.ledger.unlinked:
            raise Violation(f"{digest} is in {repository}, and was answered 404")
        return None

    def delete_blob(self, repository: str, digest: Digest) -> None:
        """Delete a blob from a repository."""
        self.ledger.unlinked.add((repository, digest))
        self._delete(f"{repository}/blobs/{digest}")

    def put_manifest(
        self, repository: str, reference: str, body: bytes, *, may_lack: bool = False
    ) -> bool:
        """Put a manifest; False if a blob of it is lacking, where it `may_lack` one."""
        target = f"{repository}/manifests/{reference}"
        response = self.requests.insist("PUT", target, body, content_type="")
        if response.status in {403, 404} and may_lack:
            return False
        expect(response, 201)
        digest = Digest.parse(str(response.headers["Docker-Content-Digest"]))
        self.ledger.manifests[repository, digest] = body
        return True

    def delete_manifest(self, repository: str, reference: str) -> None:
        """Delete a tag, or a manifest by its digest."""
        if ":" in reference:
            self.ledger.dropped.add((repository, Digest.parse(reference)))
        self._delete(f"{repository}/manifests/{reference}")

    def _delete(self, target: str) -> None:
        # A client that sent one request is answered 202, even if the SDK sent a call twice. In
        # memory the whole deletion is repeated, and the second one finds nothing.
        once = not self.requests.patient and self.stage.world.name != "memory"
        expect(self.requests.insist("DELETE", target), *((202,) if once else (202, 404)))
