"""Reads what a registry holds, manifest by manifest, and measures what each descriptor names.

It asks with GET alone and counts the bytes that come: no length that a registry tells is believed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.request import ProxyHandler, build_opener

from tests.clients.contents import CorruptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.clients.images import Json

    # From "manifests" or "blobs", and a tag or digest, to the bytes that a registry gives.
    Fetch = Callable[[str, str], bytes]

_TIMEOUT = 60
# No proxy of the machine's may stand between: the registry is on loopback.
_open = build_opener(ProxyHandler({})).open


@dataclass(frozen=True)
class Described:
    """A descriptor in a stored manifest: the size that it says, and that of what it names."""

    digest: str
    said: object
    true: int


def over_http(registry: str, repository: str) -> Fetch:
    """Fetch from a repository of the registry at a URL, following redirects."""

    def fetch(kind: str, reference: str) -> bytes:
        # Go's clients accept every type of manifest, and so does this.
        with _open(f"{registry}/v2/{repository}/{kind}/{reference}", timeout=_TIMEOUT) as answer:
            content: bytes = answer.read()
        return content

    return fetch


def described(fetch: Fetch, reference: str) -> list[Described]:
    """Measure everything below a manifest: its children, config, layers and subject.

    Raises CorruptError when a registry gives other bytes than a digest names.
    """
    return list(_below(fetch, json.loads(fetch("manifests", reference))))


def untrue(found: list[Described]) -> list[Described]:
    """Descriptors that say no size, a size of 0, or another size than their content has."""
    return [each for each in found if each.said != each.true or not each.true]


def _below(fetch: Fetch, document: Json) -> Iterator[Described]:
    blobs = [*([document["config"]] if "config" in document else []), *document.get("layers", [])]
    for blob in blobs:
        yield _measured(blob, _content(fetch, "blobs", blob))
    subject = [document["subject"]] if "subject" in document else []
    for manifest in [*document.get("manifests", []), *subject]:
        content = _content(fetch, "manifests", manifest)
        yield _measured(manifest, content)
        yield from _below(fetch, json.loads(content))


def _measured(descriptor: Json, content: bytes) -> Described:
    return Described(descriptor["digest"], descriptor.get("size"), len(content))


def _content(fetch: Fetch, kind: str, descriptor: Json) -> bytes:
    content = fetch(kind, descriptor["digest"])
    found = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if found != descriptor["digest"]:
        raise CorruptError(f"asked for {descriptor['digest']}, the registry gave {found}")
    return content
