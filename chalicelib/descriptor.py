"""Manifests as the rules see them: media types, descriptors, and what a manifest refers to.

A manifest is taken only if every reader sees the same in it (CVE-2021-41190): it is an image or an
index, has each member once, and none that differs from the specification's in case alone, for
readers in Go take that for the same. This module must never change a manifest's bytes, and never
refuses a member it does not know.
Source: OCI image spec (manifest.md, image-index.md, descriptor.md); Docker image manifest v2,
schema 2.
"""

import enum
import re
from collections.abc import Mapping
from dataclasses import field

from chalicelib.dataclass import dataclass
from chalicelib.digest import Digest, InvalidDigestError
from chalicelib.errors import ManifestInvalidError, quoted
from chalicelib.reference import parse_digest
from chalicelib.strict_json import JsonInvalidError, is_whole, read_object


class MediaType(enum.StrEnum):
    """The manifests this registry stores."""

    OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
    OCI_INDEX = "application/vnd.oci.image.index.v1+json"
    DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
    DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


INDEXES = frozenset({MediaType.OCI_INDEX, MediaType.DOCKER_LIST})
_OF_DOCKER = frozenset({MediaType.DOCKER_MANIFEST, MediaType.DOCKER_LIST})
_MANIFESTS = frozenset(MediaType) | {
    # Not stored here, and no blobs either: an index that names one lacks it.
    "application/vnd.oci.artifact.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
}

MAX_TYPE_LENGTH = 255
"""Longest media type or artifact type in characters (RFC 6838, 4.2, has room for 255)."""

MAX_PLATFORMS = 64
"""Most platforms of an index that a list shows."""

_IMAGE_MEMBERS = ("config", "layers", "fsLayers")
"""What makes a document an image, of this schema or of the one before it."""

_WORD = re.compile(r"[A-Za-z0-9._-]{0,40}")
"""A part of a platform that a list may show; any other text is no platform."""

_DOCUMENT = frozenset(
    {"schemaVersion", "mediaType", "artifactType", "config", "layers", "fsLayers", "manifests"}
    | {"subject", "annotations"}
)
_DESCRIPTOR = frozenset(
    {"mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"}
)
_PLATFORM = frozenset({"architecture", "os", "os.version", "os.features", "variant"})
"""The members that readers interpret, as the specification spells them."""


@dataclass(frozen=True)
class Descriptor:
    """What names content elsewhere: media type, digest, size in bytes."""

    media_type: str
    digest: Digest
    size: int
    foreign: bool = False
    """Whether it carries URLs: its bytes may live elsewhere."""
    platform: str | None = None
    """As `os/architecture/variant`; None if it says none, or one that no list could show."""
    attests: Digest | None = None
    """The manifest of the same index of which BuildKit says how it was built, or what is in it."""


@dataclass(frozen=True)
class ParsedManifest:
    """What the rules need to know of a manifest."""

    media_type: MediaType
    blobs: tuple[Descriptor, ...]
    """An image's config and layers; of an index, the descriptors that are no manifests."""
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str | None
    """As a referrers list shows it: an image without one shows its config's media type."""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def platforms(self) -> tuple[str, ...] | None:
        """What an index says its manifests are for; None where it says nothing, or too much."""
        named = dict.fromkeys(item.platform for item in self.manifests if item.platform)
        return tuple(filter(None, named)) if 0 < len(named) <= MAX_PLATFORMS else None


def parse_manifest(body: bytes, media_type: str) -> ParsedManifest:
    """Read a manifest of the given Content-Type.

    Raises ManifestInvalidError, saying which field is wrong, or DigestInvalidError.
    """
    document = _document(body)
    kind = _kind(document, media_type)
    config: Descriptor | None = None
    manifests: list[Descriptor] = []
    if kind in INDEXES:
        named = _descriptors(document, "manifests")
        blobs = [item for item in named if item.media_type not in _MANIFESTS]
        manifests = [item for item in named if item.media_type in _MANIFESTS]
    else:
        config = _descriptor(document.get("config"), "config")
        blobs = [config, *_descriptors(document, "layers")]
    subject = document.get("subject")
    artifact_type = _type_name(_or(document, "artifactType", ""), "artifactType")
    return ParsedManifest(
        media_type=kind,
        blobs=tuple(blobs),
        manifests=tuple(manifests),
        subject=None if subject is None else _descriptor(subject, "subject"),
        artifact_type=artifact_type or (config.media_type if config else None),
        annotations=_annotations(document, "annotations"),
    )


def _document(body: bytes) -> Mapping[str, object]:
    try:
        document = read_object(body)
    except JsonInvalidError as error:
        raise ManifestInvalidError(f"the manifest can't be read as JSON: {error}") from None
    _require_spelled(document, _DOCUMENT, "the manifest")
    version = document.get("schemaVersion")
    if not is_whole(version) or version != 2:  # noqa: PLR2004 - the only version both specs have
        raise ManifestInvalidError("schemaVersion must be 2")
    return document


def _kind(document: Mapping[str, object], media_type: str) -> MediaType:
    declared = document.get("mediaType")
    named = media_type.partition(";")[0].strip() or declared
    if declared is not None and declared != named:
        raise ManifestInvalidError(
            f"mediaType is {quoted(declared)} but Content-Type says {quoted(named)}"
        )
    try:
        kind = MediaType(str(named))
    except ValueError:
        raise ManifestInvalidError(
            f"{quoted(named)} is not a manifest type this registry stores: use one of "
            + ", ".join(MediaType)
        ) from None
    if declared is None and kind in _OF_DOCKER:
        # Else one digest could be an image of Docker's to some and one of OCI's to others.
        raise ManifestInvalidError(f"a manifest of Docker's needs its mediaType, {kind.value}")
    _require_one_kind(document, kind)
    return kind


def _require_one_kind(document: Mapping[str, object], kind: MediaType) -> None:
    """Require that a document is an image or an index, and that its type says which."""
    image = [name for name in _IMAGE_MEMBERS if name in document]
    if "fsLayers" in image:
        raise ManifestInvalidError("fsLayers is a member of schema 1, which is not stored here")
    if kind in INDEXES and image:
        raise ManifestInvalidError(f"an index has no {image[0]}: it is an image as well")
    if kind not in INDEXES and "manifests" in document:
        raise ManifestInvalidError("an image has no manifests: it is an index as well")


def _require_spelled(value: Mapping[str, object], known: frozenset[str], where: str) -> None:
    """Refuse a member that some readers take for another: one that differs in case alone."""
    folded = {name.casefold(): name for name in known}
    for name in value:
        meant = folded.get(name.casefold())
        if meant not in {None, name}:
            raise ManifestInvalidError(f"{where} has {quoted(name)}: spell it {meant!r}")


def _descriptors(document: Mapping[str, object], name: str) -> list[Descriptor]:
    items = _or(document, name, [])
    if not isinstance(items, list) or (name == "manifests" and name not in document):
        raise ManifestInvalidError(f"{name} is not a list")
    return [_descriptor(item, f"{name}[{index}]") for index, item in enumerate(items)]


def _descriptor(value: object, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ManifestInvalidError(f"{where} is not a descriptor")
    _require_spelled(value, _DESCRIPTOR, where)
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not media_type or not isinstance(digest, str):
        raise ManifestInvalidError(f"{where} needs a mediaType and a digest")
    if not is_whole(size):
        raise ManifestInvalidError(f"{where} needs a size in bytes, a whole number")
    urls = _or(value, "urls", [])
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise ManifestInvalidError(f"urls of {where} is not a list of strings")
    platform = _or(value, "platform", {})
    if not isinstance(platform, dict):
        raise ManifestInvalidError(f"platform of {where} is not an object")
    _require_spelled(platform, _PLATFORM, f"platform of {where}")
    annotations = _annotations(value, f"annotations of {where}")
    _type_name(_or(value, "artifactType", ""), f"artifactType of {where}")
    media_type = _type_name(media_type, f"mediaType of {where}")
    return Descriptor(
        media_type,
        parse_digest(digest),
        size,
        bool(urls),
        _platform_name(platform),
        _attested(annotations),
    )


def _attested(annotations: Mapping[str, str]) -> Digest | None:
    """Source: BuildKit, docs/attestations/attestation-storage.md."""
    if annotations.get("vnd.docker.reference.type") != "attestation-manifest":
        return None
    try:
        return Digest.parse(annotations.get("vnd.docker.reference.digest", ""))
    except InvalidDigestError:
        return None


def _platform_name(platform: Mapping[str, object]) -> str | None:
    """Return a platform's name; BuildKit calls that of what is no image unknown/unknown."""
    words = [platform.get(name) or "" for name in ("os", "architecture", "variant")]
    if not all(isinstance(word, str) and _WORD.fullmatch(word) for word in words):
        return None
    name = "/".join(filter(None, map(str, words)))
    return None if not (words[0] and words[1]) or words[:2] == ["unknown"] * 2 else name


def _or(value: Mapping[str, object], name: str, default: object) -> object:
    """Return a member; Go writes an empty list or map as null."""
    found = value.get(name)
    return default if found is None else found


def _type_name(value: object, where: str) -> str:
    """Return a media type; lists and errors show it, so it can't be long, nor unreadable."""
    if not isinstance(value, str) or len(value) > MAX_TYPE_LENGTH or not value.isprintable():
        raise ManifestInvalidError(
            f"{where} is not a media type: printable, at most {MAX_TYPE_LENGTH} characters"
        )
    return value


def _annotations(value: Mapping[str, object], where: str) -> Mapping[str, str]:
    annotations = _or(value, "annotations", {})
    if not isinstance(annotations, dict) or not all(
        isinstance(text, str) for text in annotations.values()
    ):
        raise ManifestInvalidError(f"{where} is not a map of strings")
    return annotations
