"""`moorage repo delete`: deletes images and tags, after showing what that does.

Deleting an image's last tag deletes the image. This module must never delete what it has not shown,
nor hide that something could not be deleted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from chalicelib.digest import Digest
from chalicelib.errors import RegistryError
from chalicelib.reference import Reference, Tag, parse_reference
from moorage.common.errors import CommandError, UsageError
from moorage.repo.asking import (
    RepoOptions,
    answered,
    digest_of,
    opened,
    plain,
    query,
    read,
    size,
    written,
)
from moorage.transfer.client import RegistryClient, refusal
from moorage.transfer.places import registry_place

_MOST = 100
"""As many as the registry looks at in one request."""

_GONE = frozenset({HTTPStatus.ACCEPTED, HTTPStatus.NOT_FOUND})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to delete. `deep`: also what nothing else leads to; `only_tags`: no image goes.

    `force`: also what runs somewhere.
    """

    place: str
    references: Sequence[str]
    deep: bool = False
    only_tags: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be deleted: images by digest, and tags whose images stay.

    `alone` are the images and signatures that nothing else leads to; they are among `images` where
    those were asked for. Bytes are None where they are unknown.
    """

    repository: str
    images: Sequence[Mapping[str, Any]]
    tags: Sequence[str]
    alone: Sequence[str] | None = None
    deep: bool = False
    unused_bytes: int | None = 0
    freed_bytes: int | None = 0
    until: str | None = None

    @property
    def references(self) -> Sequence[str]:
        """What is sent: first the tags, then images, those before that lead to others."""
        alone = self.alone if self.deep and self.alone else ()
        return [*self.tags, *(image["digest"] for image in self.images), *alone]

    def lines(self) -> Sequence[str]:
        """Say it to a person."""
        said = [f"from {self.repository}:"]
        said += [f"  tag {plain(tag)}; its image stays" for tag in self.tags]
        said += [line for image in self.images for line in _image_lines(image)]
        if self.alone:
            what = f"{len(self.alone)} images or signatures that nothing else leads to"
            said.append(f"  and {what}" if self.deep else f"  {what} stay: --deep deletes them too")
        if self.images:
            said.append(f"frees {self._bytes()}, once the trash is emptied and the collector came")
            until = f"until {written(self.until)}" if self.until else "not at all"
            said.append(f"can be undone {until}")
        return said

    def _bytes(self) -> str:
        if self.unused_bytes is None:
            return "an unknown number of bytes (the repository is too large to say)"
        if self.freed_bytes is None:
            return f"up to {size(self.unused_bytes)}: what other repositories share stays"
        shared = self.unused_bytes - self.freed_bytes
        return size(self.freed_bytes) + (
            f" ({size(shared)} more are in other repositories, too)" if shared else ""
        )


@dataclass(frozen=True, slots=True)
class Deleted:
    """What came of it: references that are gone, and why others are not."""

    plan: Plan
    gone: Sequence[str]
    failed: Mapping[str, str] = field(default_factory=dict)

    def values(self) -> Mapping[str, object]:
        """Return it for JSON."""
        plan = self.plan
        return {
            "repository": plan.repository,
            "deleted": list(self.gone),
            "failed": dict(self.failed),
            "unused_bytes": plan.unused_bytes,
            "freed_bytes": plan.freed_bytes,
            "until": plan.until,
        }


def delete(wanted: Wanted, options: RepoOptions, agreed: Callable[[Plan], bool]) -> Deleted | None:
    """Delete what a person agrees to; None if they don't. Raises CommandError."""
    place = registry_place(wanted.place, plain_http=options.plain_http)
    references = _references(wanted, place.reference)

    async def run() -> Deleted | None:
        async with opened(place, options, "pull,delete") as client:
            plan = await _planned(client, wanted, references)
            if not agreed(plan):
                return None
            return await _done(client, plan, force=wanted.force)

    return answered(run())


def _references(wanted: Wanted, named: Reference) -> Sequence[Reference]:
    """Return what is to go; raises UsageError."""
    is_named = isinstance(named, Digest) or ":" in wanted.place.rpartition("/")[2]
    try:
        given = [parse_reference(text) for text in wanted.references]
    except RegistryError as error:
        raise UsageError(str(error)) from None
    found = list(dict.fromkeys([*([named] if is_named else []), *given]))
    if not found:
        raise UsageError("say what to delete: REGISTRY/NAME and tags or digests of it")
    if len(found) > _MOST:
        raise UsageError(f"{len(found)} are too many at once: up to {_MOST} can be looked at")
    if wanted.only_tags and any(isinstance(each, Digest) for each in found):
        raise UsageError("--only-tags and a digest don't go together")
    return found


async def _planned(client: RegistryClient, wanted: Wanted, references: Sequence[Reference]) -> Plan:
    repository = client.place.repository
    tags = [each.name for each in references if isinstance(each, Tag)]
    if wanted.only_tags:
        for tag in tags:
            await digest_of(client, Tag(tag))
        return Plan(repository, [], tags)
    named = {tag: await digest_of(client, Tag(tag)) for tag in tags}
    chosen = {str(each) for each in references if isinstance(each, Digest)}
    digests = [named[each.name] if isinstance(each, Tag) else str(each) for each in references]
    looked_at = await _look(client, [*dict.fromkeys(digests)], deep=False)
    whole = [
        image
        for image in looked_at["images"]
        if image["digest"] in chosen or {*image["tags"]} <= {*tags}
    ]
    goes = [image["digest"] for image in whole]
    stay = [tag for tag, digest in named.items() if digest not in goes]
    if not goes:
        return Plan(repository, [], stay)
    found = await _look(client, goes, deep=wanted.deep)
    running = [image["digest"] for image in found["images"] if image["runs"]]
    if running and not wanted.force:
        where = ", ".join(each["source"] for each in _runs(found["images"]))
        raise CommandError(
            f"{running[0]} runs in {plain(where)}: take it from there, or delete it by --force"
        )
    return Plan(
        repository,
        found["images"],
        stay,
        found["alone"],
        wanted.deep,
        found["unused_bytes"],
        found["freed_bytes"],
        found["until"],
    )


async def _look(client: RegistryClient, digests: Sequence[str], *, deep: bool) -> Mapping[str, Any]:
    pairs = [("digest", digest) for digest in digests] + [("alone", "1")] * deep
    path = client.path(f"_moorage/deletion?{urlencode(pairs)}")
    names = ("images", "alone", "unused_bytes", "freed_bytes", "until")
    return await read(client, path, "to delete from it", *names)


async def _done(client: RegistryClient, plan: Plan, *, force: bool) -> Deleted:
    gone: list[str] = []
    failed: dict[str, str] = {}
    for reference in plan.references:
        try:
            path = client.path(f"manifests/{reference}") + query(force="true" if force else None)
            answer = await client.call("DELETE", path)
        except CommandError as error:
            failed[reference] = str(error)
            continue
        if answer.status in _GONE:
            gone.append(reference)
        else:
            failed[reference] = str(refusal(client, answer, f"to delete {reference}"))
    return Deleted(plan, gone, failed)


def _runs(images: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return [each for image in images for each in image["runs"] or ()]


def _image_lines(image: Mapping[str, Any]) -> Sequence[str]:
    tags = ", ".join(map(plain, image["tags"]))
    said = [f"  {plain(image['digest'])}" + (f", tagged {tags}" if tags else "")]
    said += [
        f"    runs in {plain(each['source'])} {plain(each['what'])}" for each in _runs([image])
    ]
    if image["referrers"]:
        said.append(f"    {image['referrers']} manifests refer to it")
    if image["named_by"]:
        named = ", ".join(map(plain, image["named_by"]))
        said.append(f"    named by {named}, which can't be pulled whole without it")
    return said
