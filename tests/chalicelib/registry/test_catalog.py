"""Facts of repositories: measured when the collector comes by, and noted where they changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.api.dispatch import Api
from chalicelib.digest import Digest
from chalicelib.errors import NameUnknownError
from chalicelib.registry import catalog
from chalicelib.registry.service import Limits
from chalicelib.settings import ApiOptions, HeadStrategy
from tests.support.registries import MemoryRegistry, registry_in_memory, request_to

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chalicelib.registry.model import CatalogFacts

HOUR = 3600.0
IMAGE = "application/vnd.oci.image.manifest.v1+json"


class Shop:
    """A registry in memory, pushed to over its API."""

    def __init__(self, **limits: Any) -> None:  # noqa: ANN401 - those of Limits
        self.memory: MemoryRegistry = registry_in_memory(Limits(**limits))

    def ask(self, method: str, target: str, body: bytes = b"", status: int = 201) -> Any:  # noqa: ANN401 - a Response
        """Send a request."""
        api = Api(lambda: self.memory.registry, ApiOptions(1024, HeadStrategy.BODY, 4_500_000))
        deadline = self.memory.clock.now() + 29
        answer = api(request_to(method, target, body, {"content_type": IMAGE}, deadline))
        assert answer.status == status, answer.body
        return answer

    def blob(self, name: str, data: bytes) -> dict[str, Any]:
        """Push a blob."""
        digest = Digest.of(data)
        self.ask("POST", f"{name}/blobs/uploads?digest={digest}", data)
        return {"mediaType": "application/x", "digest": str(digest), "size": len(data)}

    def image(self, name: str, tag: str, *layers: bytes) -> str:
        """Push an image."""
        document = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": self.blob(name, b"{}"),
            "layers": [self.blob(name, layer) for layer in layers],
        }
        body = json.dumps(document).encode()
        self.ask("PUT", f"{name}/manifests/{tag}", body)
        return str(Digest.of(body))

    def walk(self, hours: float = 25) -> None:
        """Let the collector walk after so many hours."""
        self.memory.clock.sleep(hours * HOUR)
        report = self.memory.registry.collector.run(self.memory.clock.now() + 900)
        assert report.finished

    def facts(self, name: str) -> CatalogFacts | None:
        """Return what is noted of a repository."""
        return self.memory.registry.catalog.of(name).facts


def bytes_of(found: CatalogFacts | None) -> Sequence[int | None]:
    """Return bytes: all, of this alone, its part of what is shared with that, and unused."""
    assert found is not None
    return found.linked_bytes, found.own_bytes, found.billed_bytes, found.unused_bytes


def test_a_walk_notes_what_a_repository_has_and_shares() -> None:
    """A shared blob is divided; before the first walk the facts are unknown."""
    shop = Shop()
    shop.image("a", "v1", b"base", b"of a alone")
    shop.image("a", "v2", b"base")
    gone = shop.image("a", "v3", b"trash")
    shop.image("b", "v1", b"base")
    assert shop.facts("a") is None
    with pytest.raises(NameUnknownError):
        shop.facts("c")
    began = shop.memory.clock.now()
    shop.ask("GET", "a/manifests/v1", status=200)
    shop.ask("DELETE", f"a/manifests/{gone}", status=202)
    shop.walk(1)
    found = shop.facts("a")
    assert bytes_of(found) == (2 + 4 + 10 + 5, 10 + 5, 10 + 5 + 1 + 2, 0)
    assert found is not None
    assert (found.tags, found.images, found.trashed) == (2, 2, 1)
    assert found.pushed_at is not None
    assert found.pushed_at <= began <= (found.pulled_at or 0) <= found.noted_at
    assert bytes_of(shop.facts("b")) == (6, 0, 3, 0)


def test_a_blob_that_no_manifest_names_counts_as_unused() -> None:
    """From the first walk on, until the collector has deleted it."""
    shop = Shop()
    shop.image("a", "v1", b"layer")
    shop.blob("a", b"nobody's")
    shop.walk(1)
    assert bytes_of(shop.facts("a")) == (15, 15, 15, 8)
    shop.walk()
    assert bytes_of(shop.facts("a")) == (7, 7, 7, 0)


def test_facts_are_written_only_if_they_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk that finds the same facts writes nothing, except after a week."""
    shop = Shop()
    shop.image("a", "v1", b"layer")
    shop.walk()
    before = shop.facts("a")
    with monkeypatch.context() as patched:
        patched.setattr(shop.memory.metadata, "note_facts", None)
        patched.setattr(shop.memory.metadata, "list_links", None)
        shop.walk()
    assert shop.facts("a") == before
    shop.image("b", "v1", b"layer")
    shop.walk()
    assert bytes_of(shop.facts("a")) == (7, 7, 7, 0)  # what others do is looked at weekly
    shop.walk(7 * 24)
    assert bytes_of(shop.facts("a")) == (7, 0, 3, 0)
    shop.image("a", "v2", b"layer")
    shop.walk()
    found = shop.facts("a")
    assert found is not None
    assert found.tags == 2
    monkeypatch.setattr(catalog, "MOST", 0)
    shop.image("a", "v3", b"another")
    shop.walk()
    assert bytes_of(shop.facts("a")) == (14, None, None, None)


def test_a_repository_that_left_the_catalog_stays_away() -> None:
    """Writing facts adds no row to the catalog."""
    shop = Shop()
    shop.image("a", "v1", b"layer")
    listed = [row for row in shop.memory.tables.rows("registry") if row["pk"]["S"] == "CATALOG"]
    for row in listed:
        shop.memory.tables.delete_item(TableName="registry", Key={"pk": row["pk"], "sk": row["sk"]})
    shop.walk()
    with pytest.raises(NameUnknownError):
        shop.facts("a")


def test_unknown_references_make_unused_bytes_unknown() -> None:
    """A manifest with too many references for its item has unknown ones."""
    shop = Shop(references_inline=1)
    shop.image("a", "v1", b"layer")
    shop.blob("a", b"nobody's")
    shop.walk(1)
    assert bytes_of(shop.facts("a")) == (15, 15, 15, None)
