"""`moorage repo list` and `show`: repositories, tags and images, with all that is known of them.

This module must never guess a fact that nobody noted: it is shown as unknown.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from chalicelib.digest import Digest
from moorage.common.listing import Listing
from moorage.common.sizes import dollars
from moorage.repo.asking import (
    SHORT,
    UNKNOWN,
    RepoOptions,
    answered,
    digest_of,
    opened,
    plain,
    query,
    read,
    rows,
    size,
    written,
)
from moorage.transfer.places import RegistryPlace, registry_place

_REPOSITORIES = (
    "NAME",
    "SIZE",
    "OF IT SHARED",
    "USD/MONTH",
    "UNUSED",
    "TAGS",
    "PUSHED",
    "LAST PULL",
)
_TAGS = ("TAG", "DIGEST", "SIZE", "WHAT", "PUSHED", "BY", "LAST PULL", "STAYS")
_NONE_NOTED = "none noted"
_OF_IMAGES = re.compile(r"\.(container|oci)\.image(\.config)?\.v1\+json\Z")


def repositories(place: str, options: RepoOptions) -> Listing:
    """List the repositories of a registry that the login sees; raises CommandError.

    `place` is REGISTRY or REGISTRY/PREFIX.
    """
    host, _, prefix = place.removeprefix("docker://").rpartition("://")[2].partition("/")
    scheme = place[: place.index(host)]
    registry = registry_place(f"{scheme}{host}/any", plain_http=options.plain_http)
    path = f"/v2/_moorage/repositories{query(prefix=prefix or None)}"

    async def run() -> Listing:
        async with opened(replace(registry, name=""), options, "") as client:
            found = [row async for row in rows(client, path, "repositories", "to list")]
        return Listing(_REPOSITORIES, [*map(_repository, found)], found)

    return answered(run())


def show(place: str, options: RepoOptions) -> Listing:
    """List a repository's tags, or the facts of one image; raises CommandError."""
    wanted = registry_place(place, plain_http=options.plain_http)

    async def run() -> Listing:
        async with opened(wanted, options, "pull") as client:
            if not _names_image(place, wanted):
                path = client.path("_moorage/tags")
                found = [row async for row in rows(client, path, "tags", "to show the tags")]
                return Listing(_TAGS, [*map(_tag, found)], found)
            digest = await digest_of(client, wanted.reference)
            path = client.path(f"_moorage/images/{digest}")
            image = await read(client, path, f"to show {wanted}", "digest", "tags", "layers")
            return Listing((), _image(image), image)

    return answered(run())


def _names_image(place: str, wanted: RegistryPlace) -> bool:
    return isinstance(wanted.reference, Digest) or ":" in place.rpartition("/")[2]


def _repository(row: Mapping[str, Any]) -> Sequence[str]:
    facts = row.get("facts")
    if not isinstance(facts, dict):
        return [plain(row["name"]), *[UNKNOWN] * (len(_REPOSITORIES) - 1)]
    return [
        plain(row["name"]),
        size(facts["linked_bytes"]),
        size(facts["shared_bytes"]),
        UNKNOWN if facts["usd_month"] is None else dollars(facts["usd_month"]),
        size(facts["unused_bytes"]),
        str(facts["tags"]),
        written(facts["pushed_at"]),
        written(facts["pulled_at"], _NONE_NOTED),
    ]


def _tag(row: Mapping[str, Any]) -> Sequence[str]:
    image = row["image"]
    if image is None:
        known = [plain(row["tag"]), row["digest"][:SHORT], UNKNOWN, "deleted", *[UNKNOWN] * 3]
        return [*known, "; ".join(_staying(row))]
    return [
        plain(row["tag"]),
        plain(row["digest"])[:SHORT],
        size(image["total_bytes"]),
        _kind(image),
        written(row["tagged_at"] or image["pushed_at"]),
        plain(row["tagged_by"] or image["pushed_by"] or UNKNOWN),
        written(image["pulled_at"], _NONE_NOTED),
        "; ".join(_staying(row)),
    ]


def _staying(row: Mapping[str, Any]) -> list[str]:
    """Say why an image stays: where it runs, and by which rules."""
    said = [plain(_running(each)) for each in row["runs"] or ()]
    if row["kept_by"] is None:
        return [*said, "the rules can't be read"]
    return said + [plain(_kept(rule)) for rule in row["kept_by"]]


def _running(lease: Mapping[str, Any]) -> str:
    kind = {"ecs": "ECS ", "k8s": "Kubernetes "}.get(lease["from"], "")
    what = f": {lease['what']}" if lease["what"] else ""
    is_late = datetime.fromisoformat(lease["until"]) < datetime.now(UTC)
    until = f"lease {'overdue since' if is_late else 'until'} {written(lease['until'])}"
    return f"runs in {kind}{lease['source']}{what}, {until}"


def _kept(rule: Mapping[str, Any]) -> str:
    match rule["kind"]:
        case "immutable":
            return f"may not move, by rule {rule['rule']}"
        case "last":
            return f"kept while among the last {rule['last']}, by rule {rule['rule']}"
        case _:
            return f"kept by rule {rule['rule']}"


def _kind(image: Mapping[str, Any]) -> str:
    platforms, artifact = image["platforms"], image["artifact_type"]
    if platforms:
        return plain(", ".join(map(str, platforms)))
    # An image of one platform is of the type of its config, which says no more.
    return "image" if not artifact or _OF_IMAGES.search(artifact) else plain(artifact)


def _image(image: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the facts of an image, a row each."""
    facts = [
        ("digest", image["digest"]),
        ("tags", ", ".join(image["tags"]) or "none"),
        ("what", _kind(image)),
        ("type", image["media_type"]),
        ("size", size(image["total_bytes"])),
        ("pushed", f"{written(image['pushed_at'])} by {image['pushed_by'] or UNKNOWN}"),
        ("last pull", written(image["pulled_at"], _NONE_NOTED)),
        ("refers to", image["subject"]),
    ]
    facts += [("stays", text) for text in _staying(image)]
    facts += [("platform", f"{each['digest']}  {each['platform']}") for each in image["manifests"]]
    facts += [("layer", _layer(each)) for each in image["layers"]]
    facts += [
        ("referrer", f"{each['digest']}  {each['artifact_type'] or UNKNOWN}")
        for each in image["referrers"]
    ]
    return [(name, plain(text)) for name, text in facts if text is not None]


def _layer(layer: Mapping[str, Any]) -> str:
    repositories = layer["repositories"]
    where = f", in {repositories} repositories" if repositories and repositories > 1 else ""
    return f"{layer['digest']}  {size(layer['size'])}{where}  {layer['command'] or ''}"
