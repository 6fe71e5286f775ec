"""`moorage repo history` and `restore`: shows how tags moved, and restores what was deleted.

A restoration names the digest to restore, so that a repeated request changes nothing more. This
module must never choose a digest by itself if the registry does not know it.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from chalicelib.digest import Digest
from moorage.common.errors import CommandError, UsageError
from moorage.common.http import clean
from moorage.common.listing import Listing
from moorage.repo.asking import (
    SHORT,
    RepoOptions,
    answered,
    document,
    opened,
    plain,
    query,
    rows,
    written,
)
from moorage.transfer.client import RegistryClient, refusal
from moorage.transfer.places import RegistryPlace, registry_place

_HEAD = ("NAME", "DIGEST", "SINCE", "UNTIL", "THEN", "BY", "NOW")
_ALGORITHMS = ("sha256:", "sha512:")
_STATES = {"live": "is there", "gone": "gone for good"}


@dataclass(frozen=True, slots=True)
class BroughtBack:
    """What was brought back: `image` by its digest, the tags that name it, and those that don't."""

    image: str
    digest: str
    tags: list[str]
    moved_on: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A place as a person writes it: REGISTRY/NAME, with a tag, a digest or neither, and a time."""

    place: RegistryPlace
    tag: str | None
    digest: str | None
    when: datetime | None = None

    @classmethod
    def parse(cls, text: str, *, plain_http: bool) -> "_Wanted":
        """Read REGISTRY/NAME[:TAG][@WHEN] or REGISTRY/NAME@DIGEST; raises UsageError."""
        named, _, behind = text.partition("@")
        is_digest = behind.startswith(_ALGORITHMS)
        place = registry_place(text if is_digest else named, plain_http=plain_http)
        if isinstance(place.reference, Digest):
            return cls(place, None, str(place.reference))
        tag = place.reference.name if ":" in named.rpartition("/")[2] else None
        return cls(place, tag, None, _time(behind) if behind else None)


def history(place: str, options: RepoOptions) -> Listing:
    """List the changes of a repository, of a tag or of a manifest; raises CommandError."""
    wanted = _Wanted.parse(place, plain_http=options.plain_http)
    if wanted.when is not None:
        raise UsageError("a history takes no time: it has all changes, the latest first")

    async def run() -> Listing:
        async with opened(wanted.place, options, "pull") as client:
            changes = [row async for row in _changes(client, wanted.tag, wanted.digest)]
        return Listing(_HEAD, [*map(_shown, changes)], changes)

    return answered(run())


def restore(place: str, options: RepoOptions, *, force: bool = False) -> BroughtBack:
    """Restore a tag as it was, or a manifest with its tags; raises CommandError."""
    wanted = _Wanted.parse(place, plain_http=options.plain_http)
    if wanted.tag is None and wanted.digest is None:
        raise UsageError("say what to restore: REGISTRY/NAME:TAG, or REGISTRY/NAME@DIGEST")

    async def run() -> BroughtBack:
        async with opened(wanted.place, options, "pull,push,delete") as client:
            digest = wanted.digest or await _named_before(client, wanted)
            parameters = query(digest=digest, tag=wanted.tag, force="1" if force else None)
            path = client.path(f"_moorage/restore{parameters}")
            answer = await client.call("POST", path)
            if answer.status == HTTPStatus.CONFLICT:
                detail = document(answer.body, "errors")["errors"][0]["detail"]
                raise CommandError(
                    f"tag {clean(detail['tag'])} names {Digest.parse(detail['digest'])} by now:"
                    f" --force moves it to {digest}"
                )
            if answer.status != HTTPStatus.OK:
                raise refusal(client, answer, f"to restore {place}")
            restored = document(answer.body, "digest", "tags", "moved_on")
            found = str(Digest.parse(restored["digest"]))
            return BroughtBack(
                f"{wanted.place.repository}@{found}",
                found,
                [plain(tag) for tag in restored["tags"]],
                {plain(tag): plain(named) for tag, named in restored["moved_on"].items()},
            )

    return answered(run())


def _changes(
    client: RegistryClient, tag: str | None, digest: str | None = None
) -> AsyncIterator[Mapping[str, Any]]:
    """Give the changes of a name, or of all, page by page."""
    path = client.path("_moorage/history") + query(tag=tag, digest=digest)
    return rows(client, path, "history", "to show the history")


async def _named_before(client: RegistryClient, wanted: _Wanted) -> str:
    """Return what a tag named then, or before its last change."""
    found: Mapping[str, Any] | None = None
    async for row in _changes(client, wanted.tag):
        if wanted.when is not None and _time(row["at"]) <= wanted.when:
            break
        found = row
        if wanted.when is None:
            break
    if found is None:
        since = f" since {wanted.when.isoformat()}" if wanted.when else " in the last year"
        raise CommandError(f"{wanted.place} has neither moved nor been deleted{since}")
    if wanted.when is not None and found["since"] and _time(found["since"]) > wanted.when:
        raise CommandError(f"{wanted.place} named nothing then: it came at {found['since']}")
    return str(Digest.parse(found["digest"]))


def _time(text: str) -> datetime:
    """Read a time, which is local if it names no zone; raises UsageError."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise UsageError(
            f"{text[:100]!r} is neither a digest nor a time as in 2026-11-30T15:00"
        ) from None


def _shown(row: Mapping[str, Any]) -> list[str]:
    """Return a change as a row for people."""
    then = "deleted" if row["to"] is None else row["to"][:SHORT]
    now = _STATES.get(row["state"]) or f"in the trash until {written(row['until'])}"
    times = [written(row["since"]), written(row["at"])]
    shown = [
        row["tag"] or "(manifest)",
        row["digest"][:SHORT],
        *times,
        then,
        row["by"] or "unknown",
    ]
    return [*map(clean, shown), now]
