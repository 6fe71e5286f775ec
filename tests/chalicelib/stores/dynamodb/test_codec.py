"""Items and keys as they are drawn: nothing is guessed, and order is the bytes' own."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.digest import Digest
from chalicelib.registry.model import (
    CollectorPhase,
    CollectorState,
    Garbage,
    Link,
    Record,
    RetentionState,
    TagChange,
    TagRow,
)
from chalicelib.stores.dynamodb import codec, keys
from chalicelib.stores.dynamodb.codec import CorruptItemError, Schema
from chalicelib.stores.dynamodb.items import (
    CHANGE,
    COLLECTOR_STATE,
    GARBAGE,
    LINK,
    MANIFEST,
    RECORD,
    REFERRER,
    RETENTION_STATE,
    SESSION,
    TAG,
    session_item,
)
from tests.support.values import (
    NOW,
    a_full_manifest,
    a_full_session,
    a_manifest,
    a_referrer,
    a_session,
    fresh_digest,
)

DIGEST = Digest.of(b"")
SUBJECT = Digest.of(b"subject")

FULL: list[tuple[Schema[Any], object]] = [
    (SESSION, a_full_session()),
    (LINK, Link("a", DIGEST, 1, "key", NOW, "version", "mark", "count")),
    (RECORD, Record(DIGEST, "key", 1, 2, NOW, "count", b"\x00")),
    (GARBAGE, Garbage("key", DIGEST, 1, NOW)),
    (
        COLLECTOR_STATE,
        CollectorState("v", CollectorPhase.LIST, "key", NOW, NOW, NOW, 1, 2, 3, 4, lists=True),
    ),
    (RETENTION_STATE, RetentionState(NOW, "rules", "a", NOW, "v")),
    (MANIFEST, a_full_manifest()),
    (TAG, TagRow(DIGEST, NOW, "credential:a", SUBJECT)),
    (CHANGE, TagChange("a", "v1", DIGEST, SUBJECT, NOW, NOW + 1, "credential:a", "v1#1#x")),
    (REFERRER, a_referrer(a_manifest(), SUBJECT)),
]
UNSTORED = {SESSION: {"ticket"}, LINK: {"recorded", "content"}}
"""What a value has while it has no item."""
FIELDS = [
    pytest.param(schema, value, field, id=f"{schema.kind.__name__}-{field.name}")
    for schema, value in FULL
    for field in schema.fields
]


@pytest.mark.parametrize(("schema", "value"), FULL)
def test_a_schema_has_every_field(schema: Schema[Any], value: object) -> None:
    """An item holds every field of its value."""
    names = {field.name for field in schema.fields} | UNSTORED.get(schema, set())
    assert names == {field.name for field in fields(value)}  # type: ignore[arg-type]
    assert set(schema.encode(value)) == {field.stored_as for field in schema.fields}


@pytest.mark.parametrize(("schema", "value", "field"), FIELDS)
def test_a_missing_attribute_is_corrupt_or_none(
    schema: Schema[Any], value: object, field: codec.Field
) -> None:
    """An item that lacks an attribute is corrupt, unless its field may be None."""
    item = {**schema.encode(value), "pk": {"S": "the partition"}}
    del item[field.stored_as]
    if field.optional:
        assert getattr(schema.decode(item), field.name) is None
    else:
        with pytest.raises(CorruptItemError, match=field.stored_as):
            schema.decode(item)


@pytest.mark.parametrize(("schema", "value", "field"), FIELDS)
@pytest.mark.parametrize("wrong", [{"NULL": True}, {"SS": ["x"]}])
def test_an_attribute_of_another_kind_is_corrupt(
    schema: Schema[Any], value: object, field: codec.Field, wrong: dict[str, Any]
) -> None:
    """An attribute of another type than the one written raises, optional or not."""
    item = {**schema.encode(value), field.stored_as: wrong}
    with pytest.raises(CorruptItemError, match=field.stored_as):
        schema.decode(item)


@pytest.mark.parametrize(
    ("kind", "attribute"),
    [
        (codec.WHOLE, {"N": "1.5"}),
        (codec.WHOLE, {"N": "many"}),
        (codec.TIME, {"N": "soon"}),
        (codec.DIGEST, {"S": "sha256:short"}),
        (codec.TEXTS_BY_NAME, {"S": "{"}),
    ],
)
def test_unreadable_values_are_refused(
    kind: codec.AttributeKind[Any], attribute: dict[str, Any]
) -> None:
    """A value that does not read back is refused."""
    with pytest.raises(ValueError):  # noqa: PT011 - each kind says it in its own words
        kind.decode(attribute)


@given(st.floats(0, 1e11), st.integers(0, 2**63))
def test_numbers_read_back_exactly(at: float, number: int) -> None:
    """Times keep every digit they have, and whole numbers are never rounded."""
    assert codec.TIME.decode(codec.TIME.encode(at)) == at
    assert codec.WHOLE.decode(codec.WHOLE.encode(number)) == number
    assert codec.WHOLE.decode({"N": "3.0"}) == 3


def test_a_session_has_a_shard_while_it_is_to_be_swept() -> None:
    """A session's shard is one of a few, the same each time, and there only with a sweep_at."""
    shards = set()
    for _ in range(200):
        session = a_session()
        shard = session_item(session)["sweep_shard"]["S"]
        assert shard == session_item(session)["sweep_shard"]["S"]
        shards.add(shard)
    assert shards == set(keys.SWEEP_SHARDS)
    assert "sweep_shard" not in session_item(a_session(sweep_at=None))


def test_the_keys_are_as_they_are_drawn() -> None:
    """Every key is the one that the module's tree shows."""
    assert keys.session_key("id") == {"session": "id"}
    assert keys.garbage_key("blobs/a") == {"pk": "GARBAGE", "sk": "blobs/a"}
    assert keys.collector_key() == {"pk": "COLLECTOR", "sk": "STATE"}
    assert keys.record_key(DIGEST) == {"pk": f"BLOB#{DIGEST}", "sk": "RECORD"}
    assert keys.catalog_key("a/b") == {"pk": "CATALOG", "sk": "a/b"}
    in_repository = {
        f"BLOB#{DIGEST}": keys.link_key("a/b", DIGEST),
        f"MANIFEST#{DIGEST}": keys.manifest_key("a/b", DIGEST),
        "TAG#v1": keys.tag_key("a/b", "v1"),
        f"TAGGED#{DIGEST}#v1": keys.tagged_key("a/b", DIGEST, "v1"),
        f"REFERRER#{SUBJECT}#{DIGEST}": keys.referrer_key("a/b", SUBJECT, DIGEST),
    }
    for sort, key in in_repository.items():
        assert key == {"pk": "REPO#a/b", "sk": sort}


TAGS = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True)


NEAR = TAGS.flatmap(
    lambda tag: st.tuples(
        st.just(tag),
        st.builds(lambda cut, rest: tag[:cut] + rest, st.integers(1, 128), st.text(max_size=3)),
    )
)


@given(NEAR | st.tuples(TAGS, TAGS | st.text() | st.none()))
def test_a_span_has_just_what_comes_after(tag_and_after: tuple[str, str | None]) -> None:
    """A tag's key is in the span after any text exactly if the tag is greater than the text."""
    tag, after = tag_and_after
    span = keys.tags_after("a", after)
    inside = span.first <= keys.tag_key("a", tag)["sk"] <= span.last
    assert inside == (after is None or tag > after)
    assert len(span.first.encode()) <= 1024


def test_spans_begin_with_their_own_rows_only() -> None:
    """A span of one manifest or subject begins and ends below its own prefix."""
    other = fresh_digest()
    for span, key in (
        (keys.tagged_of("a", DIGEST), keys.tagged_key("a", other, "v1")),
        (keys.referrers_after("a", DIGEST, None), keys.referrer_key("a", other, DIGEST)),
    ):
        assert not span.first <= key["sk"] <= span.last


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((), ""),
        ((7,), "7"),
        ((3, 64), "3 64"),
        ((1, 2), "1-2"),
        ((2, *range(5, 71), 90), "2 5-70 90"),
        (tuple(range(1, 10_000)), "1-9999"),
    ],
)
def test_part_numbers_are_as_long_as_their_spells(numbers: tuple[int, ...], text: str) -> None:
    """A long outage takes no more room in the item than a short one."""
    assert codec.NUMBERS.encode(numbers) == {"S": text}
    assert codec.NUMBERS.decode({"S": text}) == numbers


@given(st.sets(st.integers(1, 10_000)).map(sorted).map(tuple))
def test_part_numbers_read_back(numbers: tuple[int, ...]) -> None:
    """Writing and reading gives the same numbers."""
    assert codec.NUMBERS.decode(codec.NUMBERS.encode(numbers)) == numbers


def test_part_numbers_of_an_older_version_are_read() -> None:
    """An upload that was begun before an upgrade goes on after it."""
    item = {**session_item(a_session()), "burned": {"L": [{"N": "3"}, {"N": "64"}]}}
    assert SESSION.decode(item).burned == (3, 64)
