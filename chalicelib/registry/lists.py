"""Lists: tags, repositories, referrers, each page one range of keys.

This module must never read a list whole to answer a page of it.
"""

from chalicelib.digest import Digest
from chalicelib.errors import NameUnknownError
from chalicelib.registry.model import Page, Referrer
from chalicelib.registry.service import Ports

PAGE = 1000
"""Most names on a page, whatever a client asks for: an answer must fit in 6 MB."""

REFERRERS = 100
"""Most referrers on a page: each carries its manifest's annotations."""


class Lists:
    """The lists of all repositories."""

    def __init__(self, ports: Ports) -> None:
        self._metadata = ports.metadata

    def tags(self, repository: str, after: str | None, limit: int | None) -> Page[str]:
        """Tags in byte order after `after` (it need not exist); at most `limit`, or 1,000.

        A limit of 0 is an empty page and says that no more come. Raises NameUnknownError.
        """
        page = self._metadata.list_tags(repository, after, _bounded(limit) or 1)
        if not page.items and not self._metadata.has_repository(repository):
            raise NameUnknownError
        return page if limit != 0 else Page([], more=False)

    def repositories(self, after: str | None, limit: int | None) -> Page[str]:
        """Repositories in byte order after `after`; limits as for tags."""
        if limit == 0:
            return Page([], more=False)
        return self._metadata.list_repositories(after, _bounded(limit))

    def referrers(
        self,
        repository: str,
        subject: Digest,
        artifact_type: str | None,
        after: Digest | None,
    ) -> Page[Referrer]:
        """Referrers of a subject, filtered by artifact type; `more` speaks of the unfiltered list.

        A filtered page may be empty and still say that more come.
        """
        page = self._metadata.list_referrers(repository, subject, after, REFERRERS)
        if artifact_type is None:
            return page
        wanted = [item for item in page.items if item.artifact_type == artifact_type]
        while page.more and len(wanted) < REFERRERS:
            page = self._metadata.list_referrers(
                repository, subject, page.items[-1].digest, REFERRERS - len(wanted)
            )
            wanted += [item for item in page.items if item.artifact_type == artifact_type]
        return Page(wanted, page.more)


def _bounded(limit: int | None) -> int:
    return PAGE if limit is None else min(limit, PAGE)
