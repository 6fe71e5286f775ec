"""What one request of a racing pair does, what is prepared for it, and what must hold after.

A body must never depend on how it is scheduled; it judges the answers that it gets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from tests.drills import images
from tests.drills.steps import AWAY, HOME, TEXT, held, opened
from tests.drills.support.client import Upload
from tests.drills.support.ledger import Violation
from tests.drills.support.requests import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.api.messages import Response
    from tests.drills.races import Body
    from tests.drills.support.client import Client, Stage

OTHER = TEXT.upper()
"""As long as TEXT, and other bytes."""


# What one client does


def patching(text: bytes, at: int, end: int) -> Body:
    """PATCH a chunk until it or another one is accepted there, or the session is over."""

    def body(client: Client, session: str) -> None:
        client.fill(HOME, session, text, at, end)

    return body


def putting(text: bytes, at: int, *, right: bool = True, **how: Any) -> Body:  # noqa: ANN401 - any field of an upload
    """PUT with a digest until it is answered; a `right` one must be accepted."""

    def body(client: Client, session: str) -> None:
        upload = Upload(text, **how)
        response = put(client, session, upload, at)
        if response.status == 201:
            client.ledger.blob(HOME, upload.digest, text)
        if response.status == 404:
            client.gone(session, upload.digest)
        expect(response, *((201,) if right else (201, 400, 404, 416)))

    return body


def put(client: Client, session: str, upload: Upload, at: int) -> Response:
    """PUT what is left from `at` on."""
    target = f"{HOME}/blobs/uploads/{session}?at={at}&digest={upload.digest}"
    return client.requests.insist("PUT", target, upload.data[at:])


def cancelling(client: Client, session: str) -> None:
    """Cancel."""
    client.cancel(HOME, session)


def mounting(client: Client, _: object) -> None:
    """Mount the blob, which the source may have lost."""
    client.mount(HOME, AWAY, Upload(TEXT))


def deleting(repository: str) -> Body:
    """Delete the blob."""
    return lambda client, _: client.delete_blob(repository, Digest.of(TEXT))


def filling_and_putting(at: int, end: int) -> Body:
    """PATCH the first bytes of TEXT, unless the session has some, and PUT the next ones."""

    def body(client: Client, session: str) -> None:
        client.fill(HOME, session, TEXT, 0, at)
        putting(TEXT[:end], at, right=False)(client, session)

    return body


def tagging(body: bytes, *, may_lack: bool = False) -> Body:
    """Put a manifest under the tag."""
    return lambda client, _: client.put_manifest(HOME, "v1", body, may_lack=may_lack)


def putting_index(client: Client, body: bytes) -> None:
    """Put an index of the image, which may be deleted by then."""
    client.put_manifest(HOME, "all", images.index(body), may_lack=True)


def deleting_manifest(reference: str) -> Body:
    """Delete a manifest or a tag."""
    return lambda client, _: client.delete_manifest(HOME, reference)


def deleting_layer(client: Client, _: object) -> None:
    """Delete a blob that the manifest names."""
    client.delete_blob(HOME, Digest.of(images.LAYERS[0]))


def working(client: Client, session: str) -> None:
    """Drive the session as the commit function does."""
    client.invoke(lambda registry, now: registry.commits.resume(session, now + 600))


# What is prepared


def ending_soon(*sizes: int) -> Callable[[Stage], str]:
    """Prepare a session with chunks of these sizes, whose life ends in ten seconds."""

    def prepare(stage: Stage) -> str:
        session = opened(*sizes)(stage)
        stage.world.clock.time = held(stage, session).life_until - 10
        return session

    return prepare


def nothing(_stage: Stage) -> None:
    """Prepare nothing."""


# What comes after


def holds_one_of(*texts: bytes) -> Body:
    """One of these texts is accepted whole, and none of the session's accepted bytes is lost."""

    def finish(client: Client, session: str) -> None:
        if client.where(HOME, session) is None:
            return
        for text in texts:
            upload = Upload(text)
            response = put(client, session, upload, held(client.stage, session).offset)
            if response.status == 201:
                client.ledger.blob(HOME, upload.digest, text)
                if client.pull(HOME, upload.digest) != text:
                    raise Violation(f"{text!r} was accepted, and can't be pulled")
                return
            if expect(response, 400, 404).status == 404:
                client.gone(session, upload.digest)
        raise Violation(f"no text that was sent is what {session} holds")

    return finish


def pullable_from(*repositories: str) -> Body:
    """The blob can be pulled from these repositories."""

    def finish(client: Client, _: object) -> None:
        for repository in repositories:
            if client.pull(repository, Digest.of(TEXT)) != TEXT:
                raise Violation(f"{repository} lacks the blob")

    return finish


def tagged(body: bytes) -> Body:
    """The tag names this manifest."""

    def finish(client: Client, _: object) -> None:
        response = expect(client.requests.insist("GET", f"{HOME}/manifests/v1"), 200)
        if response.body != body:
            raise Violation("the tag names another manifest")

    return finish


def in_turn(*bodies: Body) -> Body:
    """Do all of these, one after the other."""

    def finish(client: Client, prepared: object) -> None:
        for body in bodies:
            body(client, prepared)

    return finish
