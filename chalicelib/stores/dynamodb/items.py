"""What each item of the tables `registry` and `uploads` holds: one row for each attribute.

This module must never do I/O. An attribute's name is the field's own; `keys.py` draws the keys.
"""

from typing import Any

from chalicelib.digest import Algorithm
from chalicelib.registry.model import (
    HISTORY_LIFE,
    CatalogFacts,
    CatalogRow,
    CollectorPhase,
    CollectorState,
    Garbage,
    Holding,
    InUse,
    Link,
    Manifest,
    ManifestState,
    Record,
    Referrer,
    RetentionState,
    TagChange,
    TagRow,
    UseSource,
)
from chalicelib.registry.session import Reading, Session, StoredObject, UploadState
from chalicelib.rules.document import StoredRules
from chalicelib.stores.dynamodb import codec, keys
from chalicelib.stores.dynamodb.codec import Field, Item, Schema

_STORED_OBJECT = codec.nested(
    Schema(
        StoredObject,
        (Field("key", codec.TEXT), Field("size", codec.WHOLE), Field("etag", codec.TEXT)),
    )
)

_READING = codec.nested(
    Schema(
        Reading,
        (
            Field("algorithm", codec.choice(Algorithm)),
            Field("offset", codec.WHOLE),
            Field("state", codec.BINARY),
        ),
    )
)

SESSION = Schema(
    Session,
    (
        Field("id", codec.TEXT, stored_as="session"),
        Field("repository", codec.TEXT),
        Field("principal", codec.TEXT),
        Field("nonce", codec.TEXT),
        Field("created_at", codec.TIME),
        Field("life_until", codec.TIME),
        Field("state", codec.choice(UploadState)),
        Field("offset", codec.WHOLE),
        Field("algorithm", codec.choice(Algorithm)),
        Field("hash_state", codec.BINARY, optional=True),
        Field("upload_id", codec.TEXT, optional=True),
        Field("next_part", codec.WHOLE),
        Field("burned", codec.NUMBERS),
        Field("tail", _STORED_OBJECT, optional=True),
        Field("tail_part", codec.WHOLE, optional=True),
        Field("claim", codec.DIGEST, optional=True),
        Field("earlier_claims", codec.list_of(codec.DIGEST)),
        Field("fence", codec.WHOLE),
        Field("holder", codec.TEXT, optional=True),
        Field("lease_until", codec.TIME),
        Field("last_fence", codec.WHOLE),
        Field("staged", _STORED_OBJECT, optional=True),
        Field("missed_at", codec.TIME, optional=True),
        Field("reading", _READING, optional=True),
        Field("computed", codec.list_of(codec.DIGEST)),
        Field("published_key", codec.TEXT, optional=True),
        Field("direct_size", codec.WHOLE, optional=True),
        Field("by_parts", codec.FLAG, optional=True),
        Field("report", codec.DIGEST, optional=True),
        Field("verified_segments", codec.BINARY, optional=True),
        Field("refusal", codec.TEXT, optional=True),
        Field("denied", codec.FLAG, optional=True),
        Field("disturbed", codec.FLAG),
        Field("sweep_at", codec.TIME, optional=True),
        Field("expires_at", codec.SECONDS, optional=True),
    ),
)

LINK = Schema(
    Link,
    (
        Field("repository", codec.TEXT),
        Field("digest", codec.DIGEST),
        Field("size", codec.WHOLE),
        Field("key", codec.TEXT),
        Field("touched_at", codec.TIME),
        Field("version", codec.TEXT),
        Field("mark", codec.TEXT, optional=True),
        Field("count_id", codec.TEXT, optional=True),
    ),
)

RECORD = Schema(
    Record,
    (
        Field("digest", codec.DIGEST),
        Field("key", codec.TEXT),
        Field("size", codec.WHOLE),
        Field("links", codec.WHOLE),
        Field("released_at", codec.TIME, optional=True),
        Field("count_id", codec.TEXT, optional=True),
        Field("content", codec.BINARY, optional=True),
    ),
)

GARBAGE = Schema(
    Garbage,
    (
        Field("key", codec.TEXT),
        Field("digest", codec.DIGEST),
        Field("size", codec.WHOLE),
        Field("at", codec.TIME),
    ),
)

COLLECTOR_STATE = Schema(
    CollectorState,
    (
        Field("version", codec.TEXT),
        Field("phase", codec.choice(CollectorPhase)),
        Field("place", codec.TEXT, optional=True),
        Field("began_at", codec.TIME, optional=True),
        Field("finished_at", codec.TIME, optional=True),
        Field("listed_at", codec.TIME, optional=True),
        Field("repositories", codec.WHOLE),
        Field("links", codec.WHOLE),
        Field("records", codec.WHOLE),
        Field("freed", codec.WHOLE),
        Field("lists", codec.FLAG, optional=True),
    ),
)

MANIFEST = Schema(
    Manifest,
    (
        Field("repository", codec.TEXT),
        Field("digest", codec.DIGEST),
        Field("media_type", codec.TEXT),
        Field("size", codec.WHOLE),
        Field("references", codec.list_of(codec.DIGEST), optional=True),
        Field("subject", codec.DIGEST, optional=True),
        Field("body", codec.BINARY, optional=True),
        Field("pushed_at", codec.TIME),
        Field("version", codec.TEXT),
        Field("state", codec.choice(ManifestState)),
        Field("sweep_at", codec.TIME, optional=True),
        Field("pushed_by", codec.TEXT, optional=True),
        Field("total_bytes", codec.WHOLE, optional=True),
        Field("platforms", codec.list_of(codec.TEXT), optional=True),
        Field("artifact_type", codec.TEXT, optional=True),
        Field("pulled_at", codec.TIME, optional=True),
        Field("restored_at", codec.TIME, optional=True),
        Field("mark", codec.TEXT, optional=True),
        Field("deleted_at", codec.TIME, optional=True),
        Field("deleted_by", codec.TEXT, optional=True),
        Field("deleted_tags", codec.list_of(codec.TEXT), optional=True),
    ),
)

TAG = Schema(
    TagRow,
    (
        Field("digest", codec.DIGEST),
        Field("tagged_at", codec.TIME, optional=True),
        Field("tagged_by", codec.TEXT, optional=True),
        Field("previous", codec.DIGEST, optional=True),
    ),
)

CHANGE = Schema(
    TagChange,
    (
        Field("repository", codec.TEXT),
        Field("tag", codec.TEXT, optional=True),
        Field("was", codec.DIGEST),
        Field("now", codec.DIGEST, optional=True),
        Field("since", codec.TIME, optional=True),
        Field("at", codec.TIME),
        Field("by", codec.TEXT, optional=True),
        Field("place", codec.TEXT),
    ),
)

STORED_RULES = Schema(
    StoredRules,
    (
        Field("version", codec.WHOLE),
        Field("text", codec.TEXT),
        Field("set_at", codec.TIME),
        Field("set_by", codec.TEXT),
    ),
)

IN_USE = Schema(
    InUse,
    (
        Field("repository", codec.TEXT),
        Field("source", codec.TEXT),
        Field("origin", codec.TEXT),
        Field("digests", codec.TEXTS_BY_DIGEST),
        Field("refreshed_at", codec.TIME),
        Field("until", codec.TIME),
    ),
)

HOLDING = Schema(
    Holding,
    (
        Field("bytes", codec.WHOLE),
        Field("tags", codec.WHOLE),
        Field("rules", codec.WHOLE),
        Field("counted_at", codec.TIME),
        Field("version", codec.TEXT),
    ),
)

USE_SOURCE = Schema(
    UseSource,
    (
        Field("name", codec.TEXT),
        Field("origin", codec.TEXT),
        Field("repositories", codec.list_of(codec.TEXT)),
        Field("count", codec.WHOLE),
        Field("refreshed_at", codec.TIME),
        Field("until", codec.TIME),
        Field("version", codec.TEXT),
    ),
)

RETENTION_STATE = Schema(
    RetentionState,
    (
        Field("began_at", codec.TIME),
        Field("rules", codec.TEXT),
        Field("after", codec.TEXT),
        Field("finished_at", codec.TIME, optional=True),
        Field("version", codec.TEXT),
    ),
)

CATALOG_FACTS = Schema(
    CatalogFacts,
    (
        Field("noted_at", codec.TIME),
        Field("tags", codec.WHOLE),
        Field("images", codec.WHOLE),
        Field("trashed", codec.WHOLE),
        Field("linked_bytes", codec.WHOLE),
        Field("unused_bytes", codec.WHOLE, optional=True),
        Field("own_bytes", codec.WHOLE, optional=True),
        Field("billed_bytes", codec.WHOLE, optional=True),
        Field("pushed_at", codec.TIME, optional=True),
        Field("pulled_at", codec.TIME, optional=True),
    ),
)

REFERRER = Schema(
    Referrer,
    (
        Field("repository", codec.TEXT),
        Field("subject", codec.DIGEST),
        Field("digest", codec.DIGEST),
        Field("media_type", codec.TEXT),
        Field("size", codec.WHOLE),
        Field("artifact_type", codec.TEXT, optional=True),
        Field("annotations", codec.TEXTS_BY_NAME),
    ),
)


def session_item(session: Session) -> Item:
    """Return a session's whole item; it is in the index `sweep` while it has a `sweep_at`."""
    return _queued(SESSION.encode(session), session.id)


def manifest_item(manifest: Manifest) -> Item:
    """Return a manifest's whole item; it is in the index `sweep` while it has a `sweep_at`."""
    return _queued(MANIFEST.encode(manifest), str(manifest.digest))


def catalog_row(item: Item) -> CatalogRow:
    """Read a row of the catalog, which has facts or none."""
    facts = CATALOG_FACTS.decode(item) if "noted_at" in item else None
    return CatalogRow(item["sk"]["S"], facts)


def tagged_item(tag: TagRow) -> Item:
    """Return the row that leads back from a manifest to its tag: since when that names it."""
    return {} if tag.tagged_at is None else {"tagged_at": codec.TIME.encode(tag.tagged_at)}


def since_of(tagged: Item) -> float | None:
    """Return since when a tag names the manifest that this row leads back from; None if unknown."""
    noted = tagged.get("tagged_at")
    return None if noted is None else codec.TIME.decode(noted)


def change_item(change: TagChange) -> Item:
    """Return a row of a repository's history, which DynamoDB drops at the end of its life."""
    expires_at = codec.SECONDS.encode(change.at + HISTORY_LIFE)
    return {**CHANGE.encode(change), "expires_at": expires_at}


def sweep_attributes(name: str, at: float) -> Item:
    """Return the attributes by which an item is in its table's index `sweep`."""
    return _queued({"sweep_at": codec.TIME.encode(at)}, name)


def _queued(item: dict[str, dict[str, Any]], name: str) -> Item:
    if "sweep_at" in item:
        item["sweep_shard"] = codec.TEXT.encode(keys.sweep_shard(name))
    return item
