"""`moorage gc`: a list that writes nothing, what it is followed by, and what is said of it."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from chalicelib.digest import Digest
from chalicelib.registry.collector.collector import Collector
from chalicelib.registry.collector.seen import is_its_turn
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.keys import link_key, manifest_key, record_key
from moorage.garbage import run
from moorage.garbage.run import GarbageOf
from tests.support.registries import RegistryUnderTest, registry_over
from tests.support.values import a_manifest, push_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.emulators.backends import Backend
    from tests.support.moorage_command import Command

DAY = 24 * 3600.0
NEEDED, UNNEEDED, SHARED = b"a layer", b"a layer that nobody needs", b"a layer of two"
NAME, OTHER = "team/app", "team/other"


@pytest.fixture
def registry(backend: Backend) -> RegistryUnderTest:
    """A registry to which all was pushed three days ago; one blob is needed by an image."""
    registry = registry_over(backend)
    registry.clock.offset = -3 * DAY
    for name, data in ((NAME, NEEDED), (NAME, UNNEEDED), (NAME, SHARED), (OTHER, SHARED)):
        push(registry, data, name)
    references = (Digest.of(NEEDED), Digest.of(SHARED))
    push_manifest(registry.ports.metadata, a_manifest(repository=OTHER, references=references[1:]))
    push_manifest(registry.ports.metadata, a_manifest(repository=NAME, references=references[:1]))
    registry.clock.offset = 0
    return registry


@pytest.fixture
def at(backend: Backend) -> str:
    """The options that name it."""
    tables = f"--table {backend.registry_table} --uploads-table {backend.uploads_table}"
    return f"--bucket {backend.bucket} {tables} --aws-endpoint {backend.endpoint_url}"


def push(registry: RegistryUnderTest, data: bytes, name: str = NAME) -> None:
    """Push a blob."""
    registry.registry.uploads.put_whole(name, "ann", Digest.of(data), data)


def rows(registry: RegistryUnderTest) -> list[Any]:
    """Return all rows of the table."""
    found = registry.dynamodb.scan(TableName=registry.registry_table)["Items"]
    return sorted(found, key=lambda row: (row["pk"]["S"], row["sk"]["S"]))


def delete_row(registry: RegistryUnderTest, key: dict[str, str]) -> None:
    """Delete a row behind the registry's back."""
    registry.dynamodb.delete_item(TableName=registry.registry_table, Key=key_attributes(key))


def test_a_dry_run_lists_what_would_go_and_writes_nothing(
    moorage: Command, registry: RegistryUnderTest, at: str
) -> None:
    """A link that frees nothing, as another repository has the blob, is told from one that does."""
    before = rows(registry), registry.stored()
    done = moorage(f"gc --dry-run {at}")
    assert done.status == 0
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["WHAT", "REPOSITORY", "DIGEST", "SIZE", "FREED", "WHY"]
    alone, shared = (str(Digest.of(each))[:19] for each in (UNNEEDED, SHARED))
    assert sorted(line[:6] for line in lines[1:]) == sorted(
        (["link", NAME, alone, "25", "B", "yes"], ["link", NAME, shared, "14", "B", "no"])
    )
    first, second = done.err.splitlines()
    assert first == "2 links and 1 blob would go: 25 B of the bucket"
    assert second.startswith("what is in the trash, or was pushed of late, stays: ")
    assert (rows(registry), registry.stored()) == before


def test_exactly_the_list_is_deleted(
    moorage: Command, registry: RegistryUnderTest, at: str, tmp_path: Path
) -> None:
    """Content used since then stays and is reported; newly unneeded content stays too."""
    listed = moorage(f"gc --dry-run --json {at}")
    assert json.loads(listed.out)["frees"] == len(UNNEEDED)
    file = tmp_path / "list.json"
    file.write_text(listed.out)
    registry.clock.offset = -3 * DAY
    push(registry, b"of three days ago, and not in the list")
    registry.clock.offset = 0
    push(registry, SHARED)  # somebody relies on the link again
    done = moorage(f"gc --only {file} {at}")
    assert done.status == 0
    assert done.err.splitlines() == [
        "deleted 1 link, 1 record, 1 object: 25 B of the bucket",
        "1 was to go and stays, for somebody uses it again:",
        f"  {NAME} {Digest.of(SHARED)}",
    ]
    assert len(registry.stored()) == 3
    assert "deleted 0 links, 0 records" in moorage(f"gc --only {file} {at}").err


def test_a_whole_pass_deletes_what_nothing_needs(
    moorage: Command, registry: RegistryUnderTest, at: str
) -> None:
    """Its report is for programs, too; a second one finds nothing."""
    done = moorage(f"gc --json {at}")
    report = json.loads(done.out)
    assert done.status == 0
    assert done.err.startswith("looked at 2 repositories\ndeleted 2 links, 1 record, 1 object: ")
    assert (report["links"], report["records"], report["objects"]) == (2, 1, 1)
    assert (report["freed"], report["finished"], report["left"]) == (len(UNNEEDED), True, [])
    assert len(registry.stored()) == 2
    nothing = moorage(f"gc --dry-run {at}")
    assert (nothing.out, nothing.err.splitlines()[0]) == ("", "nothing would go")


@pytest.mark.usefixtures("registry")
def test_a_pass_shows_its_progress(backend: Backend) -> None:
    """It shows the counts that it saves; a pass by a list saves and shows none."""
    names = backend.bucket, backend.registry_table, backend.uploads_table
    garbage = GarbageOf("stack", *names, backend.endpoint_url)
    told: list[str] = []
    before_end = threading.Event()

    def tell(text: str) -> None:
        told.append(text)
        if len(told) > 2:
            before_end.set()

    judged = Collector._judge  # noqa: SLF001 - it waits in the midst of a pass

    def waiting(*arguments: Any) -> bool:  # noqa: ANN401 - of `_judge`
        assert before_end.wait(20)
        return judged(*arguments)

    with (
        mock.patch.multiple(run, _LOOK_EVERY=0.01),
        mock.patch.object(Collector, "_judge", waiting),
    ):
        assert garbage.collect(tell).finished
    assert told[0] == "deleting what nothing needs"
    assert told[2] == "repositories so far: 0; deleted links: 0, blobs: 0 (0 B)"
    assert told[-1] == "repositories so far: 2; deleted links: 2, blobs: 1 (25 B)"
    told.clear()
    garbage.collect(tell, [])
    assert told == ["deleting what the list names"]


def test_content_younger_than_the_grace_stays(
    moorage: Command, registry: RegistryUnderTest, at: str
) -> None:
    """A local registry may have any grace."""
    push(registry, b"of this minute")
    assert "2 links and 1 blob" in moorage(f"gc --dry-run {at}").err
    assert "3 links and 2 blobs" in moorage(f"gc --dry-run --grace 0 {at}").err
    assert "nothing would go" in moorage(f"gc --dry-run --grace 80h {at}").err


def test_a_repository_that_was_left_out_is_reported_with_status_1(
    moorage: Command, registry: RegistryUnderTest, at: str
) -> None:
    """It has an unreadable row; other repositories are collected."""
    key = manifest_key(NAME, Digest.of(b"a row that can't be read"))
    registry.dynamodb.put_item(TableName=registry.registry_table, Item=key_attributes(key))
    listed = moorage(f"gc --dry-run {at}")
    assert f"1 repository is left out, and nothing of it goes:\n  {NAME}: " in listed.err
    done = moorage(f"gc {at}")
    assert (done.status, f"  {NAME}: " in done.err) == (1, True)
    assert json.loads(moorage(f"gc --json {at}").out)["skipped"].keys() == {NAME}


def test_a_lost_blob_is_named_and_makes_the_status_1(
    moorage: Command, registry: RegistryUnderTest, at: str
) -> None:
    """On the day on which its object is looked at."""
    now = time.time()
    numbers = (str(number).encode() for number in range(10_000))
    data = next(each for each in numbers if is_its_turn(Digest.of(each), now))
    push(registry, data)
    record = registry.ports.metadata.get_record(Digest.of(data))
    assert record is not None
    registry.ports.objects.delete([record.key])
    done = moorage(f"gc {at}")
    assert done.status == 1
    assert "1 blob is lost, the bytes or the record, until somebody pushes it again:" in done.err
    assert str(Digest.of(data)) in done.err


def test_a_link_without_its_record_is_removed_and_reported(
    moorage: Command, registry: RegistryUnderTest, at: str
) -> None:
    """It is enough that no manifest names it."""
    delete_row(registry, record_key(Digest.of(UNNEEDED)))
    done = moorage(f"gc {at}")
    assert "mended 1 link that no record counted" in done.err
    key = key_attributes(link_key(NAME, Digest.of(UNNEEDED)))
    answer = registry.dynamodb.get_item(TableName=registry.registry_table, Key=key)
    assert "Item" not in answer


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"findings": [{}]}', '{"findings": [{"kind": "image"}]}']
)
def test_a_wrong_list_is_refused_and_deletes_nothing(
    moorage: Command, registry: RegistryUnderTest, at: str, tmp_path: Path, text: str
) -> None:
    """It is a usage error that names the command for a list."""
    (tmp_path / "list").write_text(text)
    before = rows(registry)
    refused = moorage(f"gc --only {tmp_path / 'list'} {at}")
    assert (refused.status, "`moorage gc --dry-run --json` has printed" in refused.err) == (2, True)
    assert rows(registry) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--grace 23h", "may take 24 hours"),
        ("--dry-run --only list", "'--dry-run' and '--only' don't go together"),
        ("--grace soon", "'soon' is no time"),
    ],
)
def test_a_usage_error_makes_no_call_to_aws(moorage: Command, words: str, said: str) -> None:
    """Without an endpoint it is a deployment, whose grace is at least a day."""
    refused = moorage(f"gc {words}")
    assert (refused.status, said in refused.err) == (2, True)


def test_a_table_that_is_not_there_is_one_line(moorage: Command, backend: Backend) -> None:
    """Each command that reads the table names it, and says how to name another one."""
    missing = "test-000000000000-registry"
    for words in ("gc --dry-run", "rules show", "usage", "retention sources", "retention preview"):
        done = moorage(f"{words} --table {missing} --aws-endpoint {backend.endpoint_url}")
        assert done.status == 1
        named = f"there is no table {missing}: name it by --table or $MOORAGE_REGISTRY_TABLE, "
        assert named in done.err
