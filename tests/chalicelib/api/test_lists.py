"""Long lists over the API: each page is one query, and costs the same however long the list is."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from chalicelib.digest import Digest
from chalicelib.registry.model import Referrer
from chalicelib.stores.dynamodb import codec, keys
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.items import REFERRER
from tests.chalicelib.api.pushing import IMAGE, INDEX, NAME, described, image, put
from tests.support.calls import record_calls
from tests.support.registries import RegistryUnderTest, registry_over

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.emulators.backends import Backend

TAGS = [f"v{number:05}" for number in range(2_500)]
NAMES = [f"team/app-{number:04}" for number in range(1_200)]
SUBJECT = Digest.of(b"a subject that need not be here")
KINDS = ("application/x-sbom", "application/x-signature")
REFERRERS = sorted((Digest.of(f"referrer {number}".encode()) for number in range(1_100)), key=str)


def fill(registry: RegistryUnderTest, items: Iterable[dict[str, Any]]) -> None:
    """Write items straight into the table, as many requests of a client would have left them."""
    puts: list[Any] = [{"PutRequest": {"Item": item}} for item in items]
    for start in range(0, len(puts), 25):
        batch = puts[start : start + 25]
        registry.dynamodb.batch_write_item(RequestItems={registry.registry_table: batch})


def tag_rows() -> Iterator[dict[str, Any]]:
    """Return the rows of 2,500 tags of one manifest."""
    digest = Digest.of(b"a manifest")
    for tag in TAGS:
        row = {"digest": codec.DIGEST.encode(digest)}
        yield {**key_attributes(keys.tag_key(NAME, tag)), **row}


def referrer_row(digest: Digest, kind: str, note: str = "") -> dict[str, Any]:
    """Return one row of the subject's list."""
    referrer = Referrer(NAME, SUBJECT, digest, IMAGE, 7, kind, {"note": note})
    key = key_attributes(keys.referrer_key(NAME, SUBJECT, digest))
    return {**key, **REFERRER.encode(referrer)}


@pytest.fixture(scope="module")
def long_lists(strict_moto: Backend) -> RegistryUnderTest:
    """A registry with 2,500 tags, 1,200 repositories and 1,100 referrers of one subject."""
    registry = registry_over(strict_moto.fresh())
    fill(registry, tag_rows())
    fill(registry, (key_attributes(keys.catalog_key(name)) for name in NAMES))
    fill(registry, (referrer_row(d, KINDS[at % 2]) for at, d in enumerate(REFERRERS)))
    return registry


def pages(registry: RegistryUnderTest, target: str) -> Iterator[dict[str, Any]]:
    """Follow Link from page to page; each page must be one query that reads but that page."""
    scanned: list[int] = []

    def count(parsed: dict[str, Any], **_: object) -> None:
        scanned.append(parsed["ScannedCount"])

    events = registry.dynamodb.meta.events
    events.register("after-call.dynamodb.Query", count)
    try:
        following: str | None = target
        while following is not None:
            scanned.clear()
            with record_calls(registry.dynamodb) as calls:
                answer = registry.ask("GET", following)
            assert answer.status == 200
            assert calls.operations() == {"Query": 1}
            assert scanned[0] <= 1001
            yield json.loads(answer.body)
            link = str(answer.headers.get("Link", ""))
            found = re.fullmatch(r'</v2/(.*)>; rel="next"', link)
            assert bool(found) == bool(link)
            following = unquote(found[1]) if found else None
    finally:
        events.unregister("after-call.dynamodb.Query", count)


@pytest.mark.parametrize(
    ("target", "field", "expected", "number"),
    [
        (f"{NAME}/tags/list", "tags", TAGS, 3),
        (f"{NAME}/tags/list?n=700", "tags", TAGS, 4),
        (f"{NAME}/tags/list?n=9999&last=v02000", "tags", TAGS[2001:], 1),
        ("_catalog", "repositories", NAMES, 2),
        ("_catalog?n=300", "repositories", NAMES, 4),
    ],
)
def test_names_page_by_page(
    long_lists: RegistryUnderTest, target: str, field: str, expected: list[str], number: int
) -> None:
    """Following Link gives every name once, in order, in pages of what was asked or 1,000."""
    found = [page[field] for page in pages(long_lists, target)]
    assert [name for page in found for name in page] == expected
    assert len(found) == number


@pytest.mark.parametrize("kind", [None, *KINDS, "application/x-none"])
def test_referrers_page_by_page(long_lists: RegistryUnderTest, kind: str | None) -> None:
    """Following Link gives every referrer of the type once; a page may lack some, or all."""
    query = "" if kind is None else f"?artifactType={kind}"
    found = [page["manifests"] for page in pages(long_lists, f"{NAME}/referrers/{SUBJECT}{query}")]
    expected = [str(digest) for at, digest in enumerate(REFERRERS) if kind in {None, KINDS[at % 2]}]
    assert [item["digest"] for page in found for item in page] == expected
    assert len(found) == 2


def test_two_hundred_referrers_are_one_page(registry: RegistryUnderTest) -> None:
    """A manifest with 200 pushed referrers lists them all at once, and fewer after a deletion."""
    subject, pushed = image(registry, b"subject"), []
    for number in range(200):
        index = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [],
            "subject": described(subject),
            "annotations": {"number": str(number)},
        }
        body = json.dumps(index).encode()
        pushed.append(str(Digest.of(body)))
        assert put(registry, pushed[-1], body, INDEX).status == 201
    target = f"{NAME}/referrers/{Digest.of(subject)}"
    (page,) = pages(registry, target)
    assert [item["digest"] for item in page["manifests"]] == sorted(pushed)
    assert registry.ask("DELETE", f"{NAME}/manifests/{pushed[7]}").status == 202
    (page,) = pages(registry, target)
    assert [item["digest"] for item in page["manifests"]] == sorted({*pushed} - {pushed[7]})


def test_a_page_of_long_annotations_fits_in_an_answer(strict_moto: Backend) -> None:
    """Referrers that say as much as they may fill pages of no more than Lambda returns."""
    registry = registry_over(strict_moto.fresh())
    digests = REFERRERS[:40]
    for digest in digests:
        fill(registry, [referrer_row(digest, KINDS[0], "x" * 128 * 1024)])
    found = list(pages(registry, f"{NAME}/referrers/{SUBJECT}"))
    assert [item["digest"] for page in found for item in page["manifests"]] == list(
        map(str, digests)
    )
    assert max(len(json.dumps(page)) for page in found) < 4_700_000
    assert len(found) > 1
