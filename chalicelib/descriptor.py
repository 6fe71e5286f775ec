"""Manifests as the rules see them: media types, descriptors, and what a manifest refers to.

This module must never change a manifest's bytes, and never refuses a field it does not know.
Source: OCI image spec (manifest.md, image-index.md, descriptor.md); Docker image manifest v2,
schema 2.
"""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.digest import Digest
from chalicelib.errors import ManifestInvalidError
from chalicelib.reference import parse_digest


class MediaType(enum.StrEnum):
    """The manifests this registry stores."""

    OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
    OCI_INDEX = "application/vnd.oci.image.index.v1+json"
    DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
    DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


INDEXES = frozenset({MediaType.OCI_INDEX, MediaType.DOCKER_LIST})


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What names content elsewhere: media type, digest, size in bytes."""

    media_type: str
    digest: Digest
    size: int
    foreign: bool = False
    """Whether it carries URLs: its bytes may live elsewhere."""


@dataclass(frozen=True, slots=True)
class ParsedManifest:
    """What the rules need to know of a manifest."""

    media_type: MediaType
    blobs: tuple[Descriptor, ...]
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str | None
    """As a referrers list shows it: an image without one shows its config's media type."""
    annotations: Mapping[str, str] = field(default_factory=dict)


def parse_manifest(body: bytes, media_type: str) -> ParsedManifest:
    """Read a manifest of the given Content-Type.

    Raises ManifestInvalidError, saying which field is wrong, or DigestInvalidError.
    """
    document = _document(body)
    kind = _kind(document, media_type)
    blobs: list[Descriptor] = []
    manifests: list[Descriptor] = []
    config: Descriptor | None = None
    if kind in INDEXES:
        manifests = _descriptors(document, "manifests")
    else:
        config = _descriptor(document.get("config"), "config")
        blobs = [config, *_descriptors(document, "layers")]
    subject = document.get("subject")
    artifact_type = _text(document, "artifactType")
    return ParsedManifest(
        media_type=kind,
        blobs=tuple(blobs),
        manifests=tuple(manifests),
        subject=None if subject is None else _descriptor(subject, "subject"),
        artifact_type=artifact_type or (config.media_type if config else None),
        annotations=_annotations(document),
    )


def _document(body: bytes) -> Mapping[str, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ManifestInvalidError(f"the manifest is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ManifestInvalidError("the manifest is not a JSON object")
    if document.get("schemaVersion") != 2:  # noqa: PLR2004 - the only version both specs have
        raise ManifestInvalidError("schemaVersion must be 2")
    return document


def _kind(document: Mapping[str, object], media_type: str) -> MediaType:
    declared = document.get("mediaType")
    named = media_type.partition(";")[0].strip() or declared
    if declared is not None and declared != named:
        raise ManifestInvalidError(
            f"mediaType is {str(declared)[:200]!r} but Content-Type says {str(named)[:200]!r}"
        )
    try:
        return MediaType(str(named))
    except ValueError:
        raise ManifestInvalidError(
            f"{str(named)[:200]!r} is not a manifest type this registry stores: use one of "
            + ", ".join(MediaType)
        ) from None


def _descriptors(document: Mapping[str, object], name: str) -> list[Descriptor]:
    items = document.get(name)
    if items is None and name == "layers":
        return []
    if not isinstance(items, list):
        raise ManifestInvalidError(f"{name} is not a list")
    return [_descriptor(item, f"{name}[{index}]") for index, item in enumerate(items)]


def _descriptor(value: object, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ManifestInvalidError(f"{where} is not a descriptor")
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str):
        raise ManifestInvalidError(f"{where} needs a mediaType and a digest")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ManifestInvalidError(f"{where} needs a size in bytes")
    media_type = _unicode(media_type, f"{where}'s mediaType")
    return Descriptor(media_type, parse_digest(digest), size, bool(value.get("urls")))


def _text(document: Mapping[str, object], name: str) -> str | None:
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise ManifestInvalidError(f"{name} is not a string")
    return None if value is None else _unicode(value, name)


def _unicode(text: str, where: str) -> str:
    """Return a text that can be stored: JSON can escape half of a surrogate pair, which can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ManifestInvalidError(f"{where} holds half of a surrogate pair") from None
    return text


def _annotations(document: Mapping[str, object]) -> Mapping[str, str]:
    value = document.get("annotations") or {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ManifestInvalidError("annotations is not a map of strings")
    return value
