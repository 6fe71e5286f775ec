"""Lists: tags, repositories, referrers, each page one range of keys.

This module must never read a list whole to answer a page of it.
"""

import json
from collections.abc import Callable, Sequence

from chalicelib.dataclass import dataclass
from chalicelib.digest import Digest
from chalicelib.errors import NameUnknownError
from chalicelib.page import Page
from chalicelib.registry.model import CatalogRow, Referrer
from chalicelib.registry.service import Ports

PAGE = 1000
"""Most entries on a page, whatever a client asks for.

An answer must fit in what Lambda returns: names are at most 255 bytes long, and a page of
referrers, which carry their manifests' annotations, ends by its bytes.
"""

PAGE_BYTES = 4_000_000
"""Most bytes of a page of referrers: of the JSON, in which a byte that is stored may become six."""

READS = 10
"""Most pages that are read for one page of repositories, those that are hidden included."""

Visible = Callable[[Sequence[str]], list[str]]
"""Given names, returns those that the caller may see."""


@dataclass(frozen=True)
class RepositoriesPage:
    """One page of repositories; `rest_after` is where the next one begins, None after the last.

    That is a hidden name where it is not the last of `items`: no client may be shown it.
    """

    items: Sequence[CatalogRow]
    rest_after: str | None


@dataclass(frozen=True)
class ReferrersPage:
    """One page of referrers as descriptors in JSON, each as an index holds it.

    `rest_after` is where the next page begins, None after the last.
    """

    items: Sequence[str]
    rest_after: Digest | None


class Lists:
    """The lists of all repositories."""

    def __init__(self, ports: Ports) -> None:
        self._metadata = ports.metadata

    def tags(self, repository: str, after: str | None, limit: int | None) -> Page[str]:
        """Tags in byte order after `after` (it need not exist); at most `limit`, or 1,000.

        A limit of 0 gives an empty page, with `more` false. Raises NameUnknownError.
        """
        page = self._metadata.list_tags(repository, after, _bounded(limit) or 1)
        if not page.items and not self._metadata.has_repository(repository):
            raise NameUnknownError
        return page if limit != 0 else Page([], more=False)

    def repositories(
        self,
        after: str | None,
        limit: int | None,
        visible: Visible | None = None,
        prefix: str = "",
    ) -> RepositoriesPage:
        """Repositories in byte order after `after` that are `visible` (None: all); limits as above.

        Only those whose names begin with `prefix`.

        With a filter it reads on until one more visible name is found than the page holds, the
        list ends, or READS pages were read: then the page is short, or empty, and more may come.
        """
        if limit == 0:
            return RepositoriesPage([], None)
        wanted = _bounded(limit)
        page = self._metadata.list_repositories(after, wanted, prefix)
        if visible is None:
            return RepositoriesPage(page.items, page.items[-1].name if page.more else None)
        found, reads = _seen(page.items, visible), 1
        while len(found) <= wanted and page.more and reads < READS:
            page = self._metadata.list_repositories(page.items[-1].name, PAGE, prefix)
            found += _seen(page.items, visible)
            reads += 1
        if len(found) > wanted:
            return RepositoriesPage(found[:wanted], found[wanted - 1].name)
        return RepositoriesPage(found, page.items[-1].name if page.more else None)

    def referrers(
        self,
        repository: str,
        subject: Digest,
        artifact_type: str | None,
        after: Digest | None,
    ) -> ReferrersPage:
        """Referrers of a subject, filtered by artifact type (None: all).

        A page is filtered after it is read, so that its cost is bounded: it may be short, or
        empty, and more may still come.
        """
        page = self._metadata.list_referrers(repository, subject, after, PAGE)
        found: list[str] = []
        size = 0
        last = after
        for item in page.items:
            if artifact_type is None or _is_of_type(item, artifact_type):
                text = json.dumps(_descriptor(item))
                size += len(text)
                if found and size > PAGE_BYTES:
                    return ReferrersPage(found, last)
                found.append(text)
            last = item.digest
        return ReferrersPage(found, last if page.more else None)


def _is_of_type(item: Referrer, artifact_type: str) -> bool:
    """Whether a referrer has this type; the `+` of one that was not escaped came as a space."""
    own = item.artifact_type
    return own is not None and own.replace("+", " ") == artifact_type.replace("+", " ")


def _descriptor(item: Referrer) -> dict[str, object]:
    descriptor: dict[str, object] = {
        "mediaType": item.media_type,
        "digest": str(item.digest),
        "size": item.size,
    }
    if item.artifact_type:
        descriptor["artifactType"] = item.artifact_type
    if item.annotations:
        descriptor["annotations"] = dict(item.annotations)
    return descriptor


def _seen(rows: Sequence[CatalogRow], visible: Visible) -> list[CatalogRow]:
    names = {*visible([row.name for row in rows])}
    return [row for row in rows if row.name in names]


def _bounded(limit: int | None) -> int:
    return PAGE if limit is None else min(limit, PAGE)
