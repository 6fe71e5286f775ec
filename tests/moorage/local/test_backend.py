"""The data that a local registry stands on: made from the template, on each emulator."""

from __future__ import annotations

import http.client
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from moorage.common.data import DataNames
from moorage.local import LocalError, children
from moorage.local import backend as local_backend
from tests.emulators.backends import Backend, ministack_backend
from tests.infra.templates import DATA
from tests.moorage.local.driver import alive
from tests.support.servers import request
from tests.support.waiting import until

PROC = Path("/proc")
_LISTENING = "0A"
needs_proc = pytest.mark.skipif(not (PROC / "net" / "tcp").exists(), reason="reads Linux's /proc")


@pytest.fixture(params=["moto", "strict_moto", "ministack"])
def emulator(request: pytest.FixtureRequest) -> Backend:
    """Each emulator in turn."""
    started: Backend = request.getfixturevalue(request.param)
    return started


@pytest.mark.parametrize("resource", ["RegistryTable", "UploadsTable", "AccessTable"])
def test_tables_are_as_the_template_says(emulator: Backend, resource: str) -> None:
    """Keys, indexes and lifetime on the emulator are those of infra/data.yaml."""
    wanted = DATA["Resources"][resource]["Properties"]
    table = getattr(emulator, resource.replace("Table", "_table").lower())
    found: Any = emulator.dynamodb().describe_table(TableName=table)["Table"]
    assert found["TableStatus"] == "ACTIVE"
    assert found["KeySchema"] == wanted["KeySchema"]
    assert found["BillingModeSummary"]["BillingMode"] == wanted["BillingMode"]
    indexes = [
        {name: index[name] for name in ("IndexName", "KeySchema", "Projection")}
        for index in found.get("GlobalSecondaryIndexes", [])
    ]
    assert indexes == wanted.get("GlobalSecondaryIndexes", [])
    lifetime = emulator.dynamodb().describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    expected = wanted.get("TimeToLiveSpecification", {}).get("AttributeName")
    assert lifetime.get("AttributeName") == expected


def test_create_data_twice_changes_nothing(emulator: Backend) -> None:
    """Objects and items stay."""
    fresh = emulator.fresh()
    names = DataNames(fresh.bucket, fresh.registry_table, fresh.uploads_table, fresh.access_table)
    fresh.s3().put_object(Bucket=fresh.bucket, Key="kept", Body=b"kept")
    fresh.dynamodb().put_item(
        TableName=fresh.registry_table, Item={"pk": {"S": "kept"}, "sk": {"S": "kept"}}
    )
    local_backend.create_data(fresh.endpoint_url, names, fresh.environment)
    assert fresh.s3().list_objects_v2(Bucket=fresh.bucket)["KeyCount"] == 1
    assert fresh.dynamodb().scan(TableName=fresh.registry_table)["Count"] == 1


@pytest.mark.parametrize("cors", [False, True])
def test_pages_of_other_sites_read_objects_where_they_are_let(moto: Backend, *, cors: bool) -> None:
    """As the data stack's rule has it: no other method, and no list of what there is."""
    names = DataNames(moto.fresh().bucket)
    local_backend.create_data(moto.endpoint_url, names, moto.environment, cors=cors)
    moto.s3().put_object(Bucket=names.bucket, Key="blobs/a", Body=b"abc")
    place, allowed = {"Bucket": names.bucket, "Key": "blobs/a"}, {}
    for operation in ("get_object", "head_object", "list_objects_v2"):
        wanted = {"Bucket": names.bucket} if operation == "list_objects_v2" else place
        url = urlsplit(moto.s3().generate_presigned_url(operation, Params=wanted))
        method = "HEAD" if operation == "head_object" else "GET"
        target = f"{url.path}?{url.query}"
        status, headers, _ = request(moto.endpoint_url, method, target, b"", {"Origin": "null"})
        assert status == 200
        allowed[operation] = headers.get("Access-Control-Allow-Origin")
    said = "null" if cors else None
    assert allowed == {"get_object": said, "head_object": said, "list_objects_v2": None}


def test_names_are_never_shared(emulator: Backend) -> None:
    """Two uses of one emulator see nothing of each other."""
    first, second = emulator.fresh(), emulator.fresh()
    names = [
        {each.bucket, each.registry_table, each.uploads_table, each.access_table}
        for each in (first, second, emulator)
    ]
    assert len(set.union(*names)) == 12
    assert first.environment["MOORAGE_BUCKET"] == first.bucket
    assert first.environment["MOORAGE_ACCESS_TABLE"] == first.access_table
    assert first.environment["AWS_ENDPOINT_URL"] == emulator.endpoint_url


@needs_proc
def test_an_emulator_listens_on_loopback_only(emulator: Backend) -> None:
    """On one port."""
    assert listeners(emulator.pid) == {f"127.0.0.1:{urlsplit(emulator.endpoint_url).port}"}


def test_one_connection_serves_many_requests(moto: Backend) -> None:
    """Connections to moto stay open; a chunked body, of unknown length, arrives whole."""
    connection = http.client.HTTPConnection(urlsplit(moto.endpoint_url).netloc, timeout=10)
    connection.connect()
    before, pieces = connection.sock, [b"a" * 70_000, b"b", b"c" * 3]
    usual = {"Authorization": "none"}
    chunked = {"Transfer-Encoding": "chunked", "Content-Type": "application/octet-stream"}
    for method, key, body, headers in (
        ("PUT", "a", b"abc", usual),
        ("HEAD", "a", None, usual),
        ("PUT", "chunked", iter(pieces), chunked),
        ("GET", "missing", None, usual),
        ("DELETE", "a", None, usual),
    ):
        connection.request(method, f"/{moto.bucket}/{key}", body, headers, encode_chunked=True)
        connection.getresponse().read()
        assert connection.sock is before, method
    connection.close()
    stored = moto.s3().get_object(Bucket=moto.bucket, Key="chunked")["Body"].read()
    assert stored == b"".join(pieces)


def test_a_failing_transaction_erases_nothing(moto: Backend) -> None:
    """Writes beside failing transactions are all there afterwards."""
    dynamodb = moto.dynamodb()
    table = moto.fresh().registry_table
    with ThreadPoolExecutor(8) as threads:

        def key(name: str) -> dict[str, Any]:
            return {"pk": {"S": name}, "sk": {"S": "x"}}

        dynamodb.put_item(TableName=table, Item=key("taken"))

        def write(number: int) -> None:
            dynamodb.put_item(TableName=table, Item=key(f"item-{number}"))

        def fail(number: int) -> None:
            absent = {"TableName": table, "ConditionExpression": "attribute_not_exists(pk)"}
            items: Any = [
                {"Put": absent | {"Item": key(f"never-{number}")}},
                {"Put": absent | {"Item": key("taken")}},
            ]
            with pytest.raises(ClientError):
                dynamodb.transact_write_items(TransactItems=items)

        jobs = [threads.submit(job, n) for n in range(50) for job in (write, fail)]
        for job in jobs:
            job.result()
        assert dynamodb.scan(TableName=table)["Count"] == 51


def test_moto_does_not_start_with_another_part_minimum() -> None:
    """A test environment could weaken S3's 5 MiB."""
    environment = os.environ | {"S3_UPLOAD_PART_MIN_SIZE": "1"}
    moto, url = local_backend.start_moto(environment)
    with pytest.raises(LocalError, match="S3_UPLOAD_PART_MIN_SIZE"):
        children.wait_until_answers(moto, url, statuses=frozenset({200}))
    moto.stop()


def test_a_child_that_never_answers_is_an_error() -> None:
    """It names the child and shows its output."""
    script = "import time; print('thinking', flush=True); time.sleep(60)"
    said: list[str] = []
    child = children.start("thinker", [sys.executable, "-c", script], os.environ, echo=said.append)
    until(lambda: said, "the child says something")
    url = "http://127.0.0.1:1/"
    with pytest.raises(LocalError, match=r"(?s)thinker did not answer.*thinking"):
        children.wait_until_answers(child, url, statuses=frozenset({200}), timeout_seconds=1.0)
    child.stop()


@needs_proc
def test_ministack_leaves_nothing_behind() -> None:
    """Its process and its files are gone after the block."""
    with ministack_backend() as ministack:
        variables = (PROC / str(ministack.pid) / "environ").read_text().split("\0")
        folder = Path(dict(item.split("=", 1) for item in variables if item)["TMPDIR"])
        assert folder.exists()
    assert not alive(ministack.pid)
    assert not folder.exists()


def listeners(pid: int) -> set[str]:
    """Return the addresses a process listens on, as `host:port`, from Linux's /proc."""
    process = PROC / str(pid)
    inodes, found = set(), set()
    for entry in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            inodes.add(str(entry.readlink()))
    for table in ("tcp", "tcp6"):
        for line in (process / "net" / table).read_text().splitlines()[1:]:
            row = line.split()
            if row[3] == _LISTENING and f"socket:[{row[9]}]" in inodes:
                address, port = row[1].split(":")
                raw = bytes.fromhex(address)
                host = socket.inet_ntoa(raw[::-1]) if table == "tcp" else raw.hex()
                found.add(f"{host}:{int(port, 16)}")
    return found
