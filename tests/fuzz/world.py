"""A registry over memory for requests that go wrong, and every state that one can find in it.

Limits are small, so that small requests reach what large ones do. Each state is made by the
registry's own rules under a repository of the caller's: it must never be shared between requests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from chalicelib.api.dispatch import Api
from chalicelib.digest import Algorithm, Digest
from chalicelib.reference import parse_reference
from chalicelib.registry.manifests.pushing import ManifestPush
from chalicelib.registry.service import Limits
from chalicelib.settings import ApiOptions, HeadStrategy
from tests.chalicelib.api.pushing import IMAGE, hold
from tests.chalicelib.registry.sessions import named
from tests.support.registries import MemoryRegistry, registry_in_memory
from tests.support.values import as_sealed

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.registry.registry import Registry
    from chalicelib.registry.session import Session

PART_MINIMUM = 16
OPTIONS = ApiOptions(inline_limit=64, head_strategy=HeadStrategy.BODY, manifest_limit=20_000)
LIMITS = Limits(part_minimum=PART_MINIMUM, body_inline=1200, commit_wait=2.0)

DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
SMALL = b"0123456789"
LARGE = b"above the inline limit: " * 4
CHUNK = b"a chunk of bytes"
WHOLE = CHUNK * 3 + b"end"


@dataclass(frozen=True)
class Fuzzed:
    """A registry with its API."""

    memory: MemoryRegistry

    @property
    def registry(self) -> Registry:
        """What stands below the API."""
        return self.memory.registry

    @property
    def api(self) -> Api:
        """Its API over HTTP."""
        return Api(lambda: self.registry, OPTIONS)

    @property
    def deadline(self) -> float:
        """When a request that is made now has to end."""
        return self.memory.clock.now() + 29

    def blob(self, name: str, data: bytes) -> dict[str, Any]:
        """Put a blob into a repository, as a mount does where it can; return its descriptor."""
        digest = Digest.of(data)
        if self.memory.metadata.add_link(name, digest, self.memory.clock.now()) is None:
            self.registry.uploads.put_whole(name, "", digest, data)
        return {"mediaType": "application/octet-stream", "digest": str(digest), "size": len(data)}

    def manifest(self, name: str, reference: str, document: Any, media_type: str) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Push a manifest and return its descriptor."""
        body = json.dumps(document).encode()
        parsed = parse_reference(reference)
        push = ManifestPush(name, parsed, media_type, body, (), "")
        digest = self.registry.pushes.put(push).digest
        return {"mediaType": media_type, "digest": str(digest), "size": len(body)}

    def image(self, name: str, **extra: object) -> dict[str, Any]:
        """Push the blobs of an image and return its manifest, which is yet to be pushed."""
        layers = [self.blob(name, SMALL), self.blob(name, LARGE)]
        config = {**self.blob(name, b"{}"), "mediaType": "application/vnd.oci.image.config.v1+json"}
        document = {"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers}
        return {**document, **extra}

    def session(self, name: str, state: str) -> Session:
        """Open a session and bring it to one of SESSIONS."""
        algorithm = Algorithm.SHA512 if state == "of sha512" else Algorithm.SHA256
        opened = self.registry.uploads.start(name, "", algorithm)
        return SESSIONS[state](self, opened)

    def append(self, session: Session, *chunks: bytes) -> Session:
        """Append chunks to a session."""
        for chunk in chunks:
            session = self.registry.uploads.append(
                session.owner, named(session), chunk, session.offset, self.deadline
            )
        return session

    def change(self, session: Session, **fields: Any) -> Session:  # noqa: ANN401 - any field
        """Set fields of a session behind the registry's back."""
        return self.memory.sessions.write(session, replace(session, **fields))


def fuzzed() -> Fuzzed:
    """Return a registry with nothing in it."""
    return Fuzzed(registry_in_memory(LIMITS))


def _tail(world: Fuzzed, opened: Session) -> Session:
    return world.append(opened, b"abc")


def _parts(world: Fuzzed, opened: Session) -> Session:
    return world.append(opened, CHUNK * 2, CHUNK, b"end")


def _committed(world: Fuzzed, opened: Session) -> Session:
    digest = Digest.of(b"abc")
    _tail(world, opened)
    return world.registry.uploads.commit(
        opened.owner, named(opened), digest, b"", None, world.deadline
    )


def _cancelled(world: Fuzzed, opened: Session) -> Session:
    world.registry.uploads.cancel(opened.owner, named(opened))
    return opened


def _lost(world: Fuzzed, opened: Session) -> Session:
    """A session whose tail and parts are gone."""
    session = _parts(world, opened)
    world.memory.objects.purge(f"uploads/{session.id}/")
    return session


def _sealed(world: Fuzzed, opened: Session) -> Session:
    """A session whose commit was begun and left."""
    session = _parts(world, opened)
    sealed = as_sealed(session, Digest.of(WHOLE), world.memory.clock.now())
    return world.memory.sessions.write(session, sealed)


HELD = "held by another"
SESSIONS: dict[str, Callable[[Fuzzed, Session], Session]] = {
    "new": lambda _, opened: opened,
    "of sha512": _tail,
    "with a tail": _tail,
    "with parts": _parts,
    "unhashed": lambda world, opened: world.change(_parts(world, opened), hash_state=None),
    "of a corrupt hash": lambda world, opened: world.change(
        _tail(world, opened), hash_state=b"sha\x03 and no more"
    ),
    "committed": _committed,
    "cancelled": _cancelled,
    "expired": lambda world, opened: world.change(_tail(world, opened), life_until=1.0),
    "of lost bytes": _lost,
    "sealed": _sealed,
    HELD: lambda world, opened: hold(
        world.memory.sessions, _tail(world, opened), world.memory.clock.now(), 3600
    ),
}
