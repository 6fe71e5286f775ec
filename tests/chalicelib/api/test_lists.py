"""Lists over the API: a client that follows the links sees each name once; a page is one query."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.api.dispatch import Api
from chalicelib.api.messages import Request
from chalicelib.digest import Digest
from chalicelib.limits import LAMBDA_BODY
from chalicelib.registry import lists
from chalicelib.registry.model import Referrer
from chalicelib.registry.service import Limits
from chalicelib.settings import ApiOptions, HeadStrategy
from chalicelib.stores.dynamodb import codec, keys
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.items import REFERRER
from tests.chalicelib.api.pushing import IMAGE, INDEX, NAME, described, fill, image, index, put
from tests.support.calls import record_calls
from tests.support.registries import REGISTRY, RegistryUnderTest, registry_in_memory, registry_over

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.emulators.backends import Backend


TAGS = [f"v{number:05}" for number in range(2_100)]
NAMES = [f"team/app-{number:04}" for number in range(1_100)]
SUBJECT = Digest.of(b"a subject that need not be here")
KINDS = ("application/x-sbom", "application/x-signature")
REFERRERS = sorted((Digest.of(f"referrer {number}".encode()) for number in range(1_010)), key=str)


def tag_row(tag: str) -> dict[str, Any]:
    """Return a tag of SUBJECT, as if a manifest had been pushed."""
    return {**key_attributes(keys.tag_key(NAME, tag)), "digest": codec.DIGEST.encode(SUBJECT)}


def referrer_row(digest: Digest, kind: str | None, note: str = "") -> dict[str, Any]:
    """Return one row of the subject's list."""
    referrer = Referrer(NAME, SUBJECT, digest, IMAGE, 7, kind, {"note": note} if note else {})
    key = key_attributes(keys.referrer_key(NAME, SUBJECT, digest))
    return {**key, **REFERRER.encode(referrer)}


@pytest.fixture(scope="module")
def long_lists(strict_moto: Backend) -> RegistryUnderTest:
    """A registry whose tags, repositories and referrers of one subject fill over a page each."""
    registry = registry_over(strict_moto.fresh())
    fill(registry, map(tag_row, TAGS))
    fill(registry, (key_attributes(keys.catalog_key(name)) for name in NAMES))
    fill(registry, (referrer_row(d, KINDS[at % 2]) for at, d in enumerate(REFERRERS)))
    return registry


def pages(registry: RegistryUnderTest, target: str) -> Iterator[dict[str, Any]]:
    """Follow Link from page to page; each page must be one query that reads but that page."""
    following: str | None = target
    while following is not None:
        with record_calls(registry.dynamodb) as calls:
            answer = registry.ask("GET", following)
        assert answer.status == 200
        (query,) = calls.calls
        assert query.operation == "Query"
        assert query.params["Limit"] <= 1001
        yield json.loads(answer.body)
        link = str(answer.headers.get("Link", ""))
        found = re.fullmatch(r'</v2/(.*)>; rel="next"', link)
        assert bool(found) == bool(link)
        following = unquote(found[1]) if found else None


LISTED = f"{NAME}/referrers/{SUBJECT}?artifactType="


@pytest.mark.parametrize(
    ("target", "field", "expected", "number"),
    [
        (f"{NAME}/tags/list", "tags", TAGS, 3),
        (f"{NAME}/tags/list?n=900", "tags", TAGS, 3),
        (f"{NAME}/tags/list?n=9999&last=v01999", "tags", TAGS[2000:], 1),
        ("_catalog?n=600", "repositories", NAMES, 2),
        (LISTED + KINDS[0], "manifests", [str(digest) for digest in REFERRERS[::2]], 2),
        (f"{LISTED}application/x-none", "manifests", [], 2),
    ],
)
def test_a_long_list_page_by_page(
    long_lists: RegistryUnderTest, target: str, field: str, expected: list[str], number: int
) -> None:
    """Following Link gives all once, in order, in pages of what was asked or 1,000.

    A page of referrers may lack those of another type, which may be all.
    """
    found = [page[field] for page in pages(long_lists, target)]
    rows = [row for page in found for row in page]
    assert [row["digest"] if field == "manifests" else row for row in rows] == expected
    assert len(found) == number


def test_fifty_pushed_referrers_are_one_page(registry: RegistryUnderTest) -> None:
    """A manifest with 50 pushed referrers lists them all at once, and fewer after a deletion."""
    subject, pushed = image(registry, b"subject"), []
    for number in range(50):
        body = index(subject=described(subject), annotations={"number": str(number)})
        pushed.append(str(Digest.of(body)))
        assert put(registry, pushed[-1], body, INDEX).status == 201
    target = f"{NAME}/referrers/{Digest.of(subject)}"
    (page,) = pages(registry, target)
    assert [item["digest"] for item in page["manifests"]] == sorted(pushed)
    assert registry.ask("DELETE", f"{NAME}/manifests/{pushed[7]}").status == 202
    (page,) = pages(registry, target)
    assert [item["digest"] for item in page["manifests"]] == sorted({*pushed} - {pushed[7]})


@pytest.mark.parametrize(
    ("kind", "note", "number"),
    [
        (KINDS[0], "x" * 128 * 1024, 40),
        (KINDS[0], "\x01" * 21_700, 60),
        (KINDS[0], "\U0001f600" * 10_900, 60),
        ("\x01" * 21_700, "", 60),
        (KINDS[0], "\x01" * 350, 1_010),
    ],
    ids=["long", "control characters", "emoji", "a type that 0.1 took", "many"],
)
def test_a_page_of_referrers_fits_in_an_answer(
    strict_moto: Backend, kind: str, note: str, number: int
) -> None:
    """Referrers that say as much as they may fill pages of no more than Lambda returns.

    A control character has one byte where it is stored, and six in the answer.
    """
    registry = registry_over(strict_moto.fresh())
    digests = REFERRERS[:number]
    fill(registry, (referrer_row(digest, kind, note) for digest in digests))
    for query in ("", "?artifactType=application/x-sbom"):
        wanted = [str(digest) for digest in digests if not query or kind == KINDS[0]]
        found, following = [], f"{NAME}/referrers/{SUBJECT}{query}"
        while following:
            answer = registry.ask("GET", following)
            assert (answer.status, len(answer.body) < LAMBDA_BODY) == (200, True)
            found += [item["digest"] for item in json.loads(answer.body)["manifests"]]
            link = re.fullmatch(r'</v2/(.*)>; rel="next"', str(answer.headers.get("Link", "")))
            following = unquote(link[1]) if link else ""
        assert found == wanted


@pytest.mark.parametrize(
    ("stored", "asked", "found"),
    [
        ("application/x+json", "application/x+json", True),
        ("application/x+json", "application/x json", True),
        ("application/x+a; b=c", "application/x a; b=c", True),
        ("application/x+json", "application/xjson", False),
        ("application/xjson", "application/x+json", False),
    ],
)
def test_a_plus_that_came_as_a_space_is_a_plus(
    registry: RegistryUnderTest, stored: str, asked: str, *, found: bool
) -> None:
    """Forms decode `+` to a space, so curl requests another type than was typed."""
    fill(registry, [referrer_row(REFERRERS[0], stored)])
    answer = registry.ask("GET", f"{NAME}/referrers/{SUBJECT}?artifactType={asked}")
    assert bool(json.loads(answer.body)["manifests"]) is found


@pytest.mark.parametrize(
    "target", [f"{NAME}/tags/list?n=5", "_catalog?n=5", f"{NAME}/referrers/{SUBJECT}", "_catalog"]
)
def test_a_head_of_a_list_has_the_headers_of_the_get(
    long_lists: RegistryUnderTest, target: str
) -> None:
    """With its Link; the gateway drops the body, and says how long it was."""
    got, headed = (long_lists.ask(method, target) for method in ("GET", "HEAD"))
    assert headed == got
    assert "Link" in headed.headers
    unknown = [long_lists.ask(method, "no/body/tags/list") for method in ("GET", "HEAD")]
    assert [answer.status for answer in unknown] == [404, 404]


MOST_PAGES = 100

repositories = st.from_regex(r"[a-z0-9]{1,3}([._-][a-z0-9]{1,2})?(/[a-z0-9]{1,2})?", fullmatch=True)
tags = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,4}", fullmatch=True)
lasts = st.none() | st.text(max_size=6) | tags | st.text(alphabet="az09._-/~!\u007f\u00e9")
kinds = st.sampled_from([None, "a/b", "c/d"])


class Shelf:
    """An API over a metadata store that a test fills."""

    def __init__(self) -> None:
        memory = registry_in_memory(Limits())
        self._tables, self.metadata = memory.tables, memory.metadata
        self._api = Api(lambda: memory.registry, ApiOptions(1024, HeadStrategy.BODY, 1024))

    def put(self, item: dict[str, Any]) -> None:
        """Put a row."""
        self._tables.put_item(TableName=REGISTRY, Item=item)

    def pages(self, path: str, **query: object) -> Iterator[Any]:
        """Follow the links from a first page to the last one."""
        given = {name: [str(value)] for name, value in query.items() if value is not None}
        for _ in range(MOST_PAGES):
            asked = Request("GET", path.removeprefix("/v2/"), given, {}, b"", 0.0, "test")
            response = self._api(asked)
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


numbers = st.none() | st.integers(1, 30).map(str) | st.integers(1, 30).map("{:010}".format)


@given(st.sets(tags, max_size=25), numbers, lasts)
@example({"A", "a", "_", "0", "a.b", "a-b", "a_b"}, "2", None)
@example({"a", "b", "c", "d"}, "9" * 5000, "b" + "x" * 3000)
def test_the_tags_are_seen_once_and_in_order(
    names: set[str], n: str | None, last: str | None
) -> None:
    """Every tag after `last` is on exactly one page, also where the server says how long one is."""
    shelf = Shelf()
    shelf.metadata.add_repository(NAME)
    for tag in names:
        shelf.put(tag_row(tag))
    with mock.patch.object(lists, "PAGE", 7):
        pages = [page["tags"] for page in shelf.pages(f"/v2/{NAME}/tags/list", n=n, last=last)]
    assert pages == in_pages(names, last, min(int(n[:10]) if n else 7, 7))


@given(st.sets(tags, max_size=5), st.integers(0, 3).map("0".__mul__).filter(bool), lasts)
def test_a_page_with_n_of_0_is_empty_and_the_last(
    names: set[str], n: str, last: str | None
) -> None:
    """Any spelling of 0 gives an empty page without a `Link`."""
    shelf = Shelf()
    for tag in names:
        shelf.metadata.add_repository(tag.lower())
        shelf.put(tag_row(tag))
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
        shelf.put(referrer_row(digest, kind))
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
