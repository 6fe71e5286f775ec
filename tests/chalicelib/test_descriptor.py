"""Manifests are read strictly: what is an image to one reader and an index to another is refused.

Source of the attack: CVE-2021-41190. What real clients write is taken.
"""

# ruff: noqa: FBT003 - the values of JSON are arguments here

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.descriptor import MediaType, parse_manifest
from chalicelib.digest import Digest
from chalicelib.errors import DigestInvalidError, ManifestInvalidError

OCI, INDEX = MediaType.OCI_MANIFEST, MediaType.OCI_INDEX
DOCKER, LIST = MediaType.DOCKER_MANIFEST, MediaType.DOCKER_LIST
DIGEST = str(Digest.of(b"layer"))


def blob(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any value of JSON
    """Return a descriptor, with changes."""
    return {"mediaType": "application/x", "digest": DIGEST, "size": 5, **changes}


def image(media_type: Any = OCI, /, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    """Return an image, with changes."""
    declared = {} if media_type is None else {"mediaType": media_type}
    return {"schemaVersion": 2, **declared, "config": blob(), "layers": [blob()], **changes}


def index(media_type: Any = INDEX, /, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    """Return an index, with changes."""
    declared = {} if media_type is None else {"mediaType": media_type}
    return {"schemaVersion": 2, **declared, "manifests": [blob(mediaType=OCI)], **changes}


def each(*values: Any) -> tuple[Any, ...]:  # noqa: ANN401 - as above
    """Return values of several types, one after the other."""
    return values


KIDS = [blob(mediaType=OCI)]
WITHOUT_CONFIG = {"schemaVersion": 2, "layers": [blob()]}

# fmt: off
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    # an image and an index at once
    **{f"an image with manifests {kids}": (image(manifests=kids), OCI)
       for kids in each([], None, KIDS)},
    "the same undeclared": (image(None, manifests=KIDS), OCI),
    "the same undeclared, as an index": (image(None, manifests=KIDS), INDEX),
    "an image of Docker's with manifests": (image(DOCKER, manifests=KIDS), DOCKER),
    **{f"an index with {name} {value}": (index(**{name: value}), INDEX)
       for name in ("config", "layers", "fsLayers") for value in each([], None, {}, blob())},
    "a list with layers": (index(LIST, layers=[]), LIST),
    "an image with layers of schema 1": (image(fsLayers=[{"blobSum": DIGEST}]), OCI),
    # a type that says something else
    "an index said to be an image": (image(INDEX), OCI),
    "an image said to be an index": (index(OCI), INDEX),
    "an image of Docker's said to be OCI's": (image(DOCKER), OCI),
    "an image as an index": (image(None), INDEX),
    "an index as an image": (index(None), OCI),
    "a type in capitals": (image(OCI.upper()), OCI),
    "a type that is a list": (image([OCI]), OCI),
    "an image of Docker's undeclared": (image(None), DOCKER),
    "a list of Docker's undeclared": (index(None), LIST),
    "no type at all": (image(None), ""),
    "another type": (image("application/json"), "application/json"),
    "neither image nor index": ({"schemaVersion": 2}, INDEX),
    "no config": (WITHOUT_CONFIG, OCI),
    "manifests that are no list": (index(manifests={}), INDEX),
    # members that readers in Go take for others
    **{f"{name} beside the right one": (image(**{name: []}), OCI)
       for name in ("Layers", "LAYERS", "layer\u017f", "Config", "MediaType", "schemaversion",
                    "Manifests", "FsLayers", "Subject", "Annotations", "ArtifactType")},
    **{f"{name} in a layer": (image(layers=[blob(**{name: 1})]), OCI)
       for name in ("Digest", "Size", "MediaType", "URLs", "Urls", "Data", "Platform")},
    "Size in a config": (image(config=blob(Size=1)), OCI),
    "Digest in a subject": (image(subject=blob(Digest=DIGEST)), OCI),
    "Digest in an index": (index(manifests=[blob(Digest=DIGEST)]), INDEX),
    "OS in a platform": (index(manifests=[blob(platform={"OS": "linux"})]), INDEX),
    # values of another kind
    **{f"schemaVersion {version!r}": (image(schemaVersion=version), OCI)
       for version in each(1, 3, 2.0, True, "2", None, [2])},
    **{f"a layer of size {size!r}": (image(layers=[blob(size=size)]), OCI)
       for size in each(-1, 1.0, 1e3, True, False, "5", None, [], 2**63, 10**30)},
    **{f"layers {value!r}": (image(layers=value), OCI)
       for value in each({}, "", 0, False, [5], [None])},
    **{f"urls {value!r}": (image(layers=[blob(urls=value)]), OCI)
       for value in each("http://h/x", "", {}, True, 0, [1], [None])},
    **{f"annotations {value!r}": (image(annotations=value), OCI)
       for value in each([], "", 0, False, {"a": 1}, {"a": None})},
    "annotations of a layer": (image(layers=[blob(annotations={"a": 1})]), OCI),
    **{f"a platform {value!r}": (index(manifests=[blob(platform=value)]), INDEX)
       for value in each("linux", [], 0)},
    **{f"subject {value!r}": (image(subject=value), OCI) for value in each(5, "", [], False, {})},
    **{f"artifactType {value!r}": (image(artifactType=value), OCI)
       for value in each(5, [], False, "a/\n", "a/\x01", "a" * 256, "a\u202eb")},
    **{f"a layer of type {value!r}": (image(layers=[blob(mediaType=value)]), OCI)
       for value in each(None, "", 5, "a/\x7f", "a" * 256)},
    "a layer of a type of 4 MB": (image(layers=[blob(mediaType="\U0001f600" * 10**6)]), OCI),
    "a config of a long type": (image(config=blob(mediaType="a" * 256)), OCI),
    "a subject of a long type": (image(subject=blob(mediaType="a" * 256)), OCI),
    "a long artifact type in an index": (index(manifests=[blob(artifactType="a" * 256)]), INDEX),
}
NO_DIGESTS = ["", "sha256:", DIGEST.upper(), DIGEST[:-1], "sha384:" + "0" * 96, "latest", "sha256:"
              + "A" * 64, f" {DIGEST}", f"{DIGEST}\n"]
# fmt: on


@pytest.mark.parametrize(("document", "media_type"), REFUSED.values(), ids=REFUSED)
def test_a_document_that_parsers_read_differently_is_refused(
    document: dict[str, Any], media_type: str
) -> None:
    """Each row is refused with a short error."""
    with pytest.raises(ManifestInvalidError) as caught:
        parse_manifest(json.dumps(document).encode(), media_type)
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize("digest", NO_DIGESTS)
@pytest.mark.parametrize("member", ["config", "subject"])
def test_an_invalid_digest_is_refused(digest: str, member: str) -> None:
    """Also one in capitals, which some parsers would accept."""
    with pytest.raises(DigestInvalidError):
        parse_manifest(json.dumps(image(**{member: blob(digest=digest)})).encode(), OCI)


@pytest.mark.parametrize(
    "text",
    [
        f'"mediaType": "{INDEX}"',
        '"layers": []',
        '"\\u006cayers": []',
        '"x": NaN',
        '"x": 1e999',
        '"x": {"y": 1, "y": 2}',
        '"annotations": {"a": "\\ud83d"}',
    ],
)
def test_a_text_that_is_read_in_two_ways_is_refused(text: str) -> None:
    """A member twice, a number that JSON lacks, and half of a surrogate pair."""
    whole = json.dumps(image()).encode()
    assert parse_manifest(whole, OCI).media_type is OCI
    with pytest.raises(ManifestInvalidError):
        parse_manifest(whole[:-1] + f", {text}}}".encode(), OCI)
    for other in (b"\xef\xbb\xbf" + whole, whole.decode().encode("utf-16"), whole + b"}"):
        with pytest.raises(ManifestInvalidError):
            parse_manifest(other, OCI)


# fmt: off
TAKEN: dict[str, tuple[dict[str, Any], str, MediaType]] = {
    "an undeclared image": (image(None), OCI, OCI),
    "an undeclared index": (index(None), INDEX, INDEX),
    "a Content-Type with a parameter": (image(), f"{OCI}; charset=utf-8", OCI),
    "no Content-Type": (image(DOCKER), "", DOCKER),
    "a list of Docker's": (index(LIST), LIST, LIST),
    "lists and maps that Go writes as null":
        (image(layers=None, annotations=None, subject=None, artifactType=None), OCI, OCI),
    "an empty index that Go writes": (index(manifests=None), INDEX, INDEX),
    "urls, platform and annotations as null":
        (image(layers=[blob(urls=None, platform=None, annotations=None)]), OCI, OCI),
    "an image without layers": (
        {"schemaVersion": 2, "config": blob(mediaType="application/vnd.cncf.helm.config.v1+json")},
        OCI, OCI),
    "members that nobody knows": (image(history=[], Foo=1, blobs=[], name="x", tag="y"), OCI, OCI),
    "unknown members of a layer": (image(layers=[blob(newUnspecifiedField={"Size": 1})]), OCI, OCI),
    "annotations that differ in case": (image(annotations={"a": "", "A": ""}), OCI, OCI),
    "inline data": (image(config=blob(data="e30=", artifactType="a/b")), OCI, OCI),
    "a platform": (index(manifests=[blob(platform={
        "architecture": "amd64", "os": "windows", "os.version": "10", "os.features": ["win32k"],
        "variant": "v8", "features": ["sse4"]})]), INDEX, INDEX),
    "a type with a parameter": (image(layers=[blob(mediaType="text/plain; charset=utf-8")]),
                                OCI, OCI),
    "the longest artifact type": (image(artifactType="a/" + "b" * 253), OCI, OCI),
    "an attestation of buildkit's": (index(manifests=[blob(
        mediaType=OCI, annotations={"vnd.docker.reference.type": "attestation-manifest"},
        platform={"architecture": "unknown", "os": "unknown"})]), INDEX, INDEX),
}
# fmt: on


@pytest.mark.parametrize(("document", "named", "kind"), TAKEN.values(), ids=TAKEN)
def test_documents_of_real_clients_are_accepted(
    document: dict[str, Any], named: str, kind: MediaType
) -> None:
    """Each under its type, with escapes and large numbers in unused members."""
    text = json.dumps({**document, "org.example": ["\\ud83d", 10**30, -0.0, 1.5]})
    assert parse_manifest(text.encode(), named).media_type is kind


@pytest.mark.parametrize(
    ("platforms", "named"),
    [
        ([{"os": "linux", "architecture": "amd64"}], ("linux/amd64",)),
        ([{"os": "linux", "architecture": "arm", "variant": "v7"}] * 2, ("linux/arm/v7",)),
        ([{"os": "windows", "architecture": "amd64", "os.version": "10"}], ("windows/amd64",)),
        ([{"os": "unknown", "architecture": "unknown"}], None),
        ([{"os": "linux"}, {"architecture": "amd64"}, {}, None], None),
        ([{"os": "<b>", "architecture": "amd64"}, {"os": 1, "architecture": []}], None),
        ([{"os": "x" * 41, "architecture": "amd64"}], None),
        ([{"os": "linux", "architecture": f"a{n}"} for n in range(65)], None),
        ([], None),
    ],
)
def test_the_platforms_of_an_index(
    platforms: list[dict[str, Any] | None], named: tuple[str, ...] | None
) -> None:
    """Each once, as a list can show it; attestations and what is no platform are none."""
    items = [blob(mediaType=OCI, platform=platform) for platform in platforms]
    document = json.dumps(index(manifests=items)).encode()
    assert parse_manifest(document, INDEX).platforms == named
    assert parse_manifest(json.dumps(image()).encode(), OCI).platforms is None


def test_an_index_names_blobs_by_their_media_types() -> None:
    """What has the type of a manifest is one; anything else, such as a layer of a cache, a blob."""
    types = [*MediaType, "application/vnd.docker.distribution.manifest.v1+prettyjws"]
    manifests = [blob(mediaType=media_type) for media_type in types]
    blobs = [
        blob(mediaType=media_type)
        for media_type in (
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.buildkit.cacheconfig.v0",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        )
    ]
    for media_type in (INDEX, LIST):
        document = index(media_type, manifests=[*blobs, *manifests])
        parsed = parse_manifest(json.dumps(document).encode(), media_type)
        assert [item.media_type for item in parsed.manifests] == types
        assert [item.media_type for item in parsed.blobs] == [item["mediaType"] for item in blobs]
        assert parsed.artifact_type is None
