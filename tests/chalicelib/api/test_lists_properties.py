"""Lists page by page: whoever follows the links sees every name once, in order.

Over a metadata store in memory, by the API itself: the link of one page is the next request.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast
from unittest import mock
from urllib.parse import parse_qs, urlsplit

from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.api.dispatch import Api
from chalicelib.api.messages import Request, Response
from chalicelib.digest import Digest
from chalicelib.registry import lists
from chalicelib.registry.model import Referrer
from chalicelib.registry.registry import Registry
from chalicelib.registry.service import Limits, Ports
from chalicelib.settings import ApiOptions, HeadStrategy
from tests.support.memory_metadata import MemoryMetadataStore
from tests.support.memory_sessions import MemorySessionStore

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "team/app"
SUBJECT = Digest.of(b"subject")
MOST_PAGES = 100

repositories = st.from_regex(r"[a-z0-9]{1,3}([._-][a-z0-9]{1,2})?(/[a-z0-9]{1,2})?", fullmatch=True)
tags = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,4}", fullmatch=True)
lasts = st.none() | st.text(max_size=6) | tags | st.text(alphabet="az09._-/~!\u007f\u00e9")
kinds = st.sampled_from([None, "a/b", "c/d"])


class Shelf:
    """An API over a metadata store that a test fills."""

    def __init__(self) -> None:
        sessions = MemorySessionStore()
        self.metadata = MemoryMetadataStore(sessions)
        unused = cast("Any", None)
        ports = Ports(unused, sessions, self.metadata, unused, unused)
        options = ApiOptions(1024, HeadStrategy.BODY, 1024)
        self._api = Api(lambda: Registry(ports, Limits()), options)

    def get(self, path: str, query: dict[str, list[str]]) -> Response:
        """Send a GET."""
        asked = Request("GET", path.removeprefix("/v2/"), query, {}, b"", 0.0, "test")
        return self._api(asked)

    def pages(self, path: str, **query: object) -> Iterator[Any]:
        """Follow the links from a first page to the last one."""
        given = {name: [str(value)] for name, value in query.items() if value is not None}
        for _ in range(MOST_PAGES):
            response = self.get(path, given)
            assert response.status == 200
            yield json.loads(response.body)
            if "Link" not in response.headers:
                return
            found = re.fullmatch(r'<(.+)>; rel="next"', str(response.headers["Link"]))
            assert found is not None
            link = urlsplit(found[1])
            assert link.path == path
            given = parse_qs(link.query, keep_blank_values=True, strict_parsing=True)
        raise AssertionError("the links never end")


def in_pages(names: set[str], last: str | None, size: int) -> list[list[str]]:
    """The pages that there must be: never an empty one, except for an empty list."""
    left = sorted(name for name in names if last is None or name > last)
    return [left[at : at + size] for at in range(0, len(left), size)] or [[]]


@given(st.sets(repositories, max_size=25), st.integers(1, 30), lasts)
@example({"a", "a-b", "a/b", "a.b", "a_b", "ab"}, 1, "a")
@example({"a"}, 1, "")
def test_the_catalog_is_seen_once_and_in_order(names: set[str], n: int, last: str | None) -> None:
    """Every repository after `last` is on exactly one page, and each page but the last is full."""
    shelf = Shelf()
    for name in names:
        shelf.metadata.add_repository(name)
    pages = [page["repositories"] for page in shelf.pages("/v2/_catalog", n=n, last=last)]
    assert pages == in_pages(names, last, n)


@given(st.sets(tags, max_size=25), st.none() | st.integers(1, 30), lasts)
@example({"A", "a", "_", "0", "a.b", "a-b", "a_b"}, 2, None)
def test_the_tags_are_seen_once_and_in_order(
    names: set[str], n: int | None, last: str | None
) -> None:
    """Every tag after `last` is on exactly one page, also where the server says how long one is."""
    shelf = Shelf()
    shelf.metadata.add_repository(NAME)
    for tag in names:
        shelf.metadata.tags[NAME, tag] = SUBJECT
    with mock.patch.object(lists, "PAGE", 7):
        pages = [page["tags"] for page in shelf.pages(f"/v2/{NAME}/tags/list", n=n, last=last)]
    assert pages == in_pages(names, last, min(n or 7, 7))


@given(st.sets(tags, max_size=5), st.integers(0, 3).map("0".__mul__).filter(bool), lasts)
def test_a_page_of_none_is_the_last(names: set[str], n: str, last: str | None) -> None:
    """With `n` of 0, however it is written, the page is empty and leads nowhere."""
    shelf = Shelf()
    for tag in names:
        shelf.metadata.add_repository(tag.lower())
        shelf.metadata.tags[NAME, tag] = SUBJECT
    shelf.metadata.add_repository(NAME)
    assert [page["tags"] for page in shelf.pages(f"/v2/{NAME}/tags/list", n=n, last=last)] == [[]]
    assert [page["repositories"] for page in shelf.pages("/v2/_catalog", n=n)] == [[]]


@given(st.lists(kinds, max_size=20), kinds, st.none() | st.integers(0, 25))
def test_the_referrers_are_seen_once_and_in_order(
    stored: list[str | None], wanted: str | None, skipped: int | None
) -> None:
    """Every referrer of the type asked for, after `last`, is on exactly one page, by digest."""
    shelf = Shelf()
    digests = {Digest.of(str(number).encode()): kind for number, kind in enumerate(stored)}
    for digest, kind in digests.items():
        row = Referrer(NAME, SUBJECT, digest, "m/t", 1, kind)
        shelf.metadata.referrers[NAME, SUBJECT, digest] = row
    last = None if skipped is None else str(Digest.of(str(skipped).encode()))
    expected = [
        str(digest)
        for digest in sorted(digests, key=str)
        if (wanted is None or digests[digest] == wanted) and (last is None or str(digest) > last)
    ]
    path = f"/v2/{NAME}/referrers/{SUBJECT}"
    with mock.patch.object(lists, "PAGE", 3):
        pages = [page["manifests"] for page in shelf.pages(path, artifactType=wanted, last=last)]
    assert [item["digest"] for page in pages for item in page] == expected
    assert all(len(page) <= 3 for page in pages)
