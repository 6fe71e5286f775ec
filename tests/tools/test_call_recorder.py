"""Counting calls: what clients ask is recorded, once each, and nothing after the block."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from tests.emulators.backends import Backend, moto_backend
from tests.support.calls import record_calls
from tests.support.fake_http import run_fake

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    """One moto for this file."""
    with moto_backend() as started:
        yield started


def test_calls_are_counted_by_service_and_operation(backend: Backend) -> None:
    """Each call of the clients given is recorded with what it asked for."""
    s3, dynamodb, other = backend.s3(), backend.dynamodb(), backend.s3()
    with record_calls(s3, dynamodb) as calls:
        s3.put_object(Bucket=backend.bucket, Key="k", Body=b"abc")
        s3.get_object(Bucket=backend.bucket, Key="k")
        s3.get_object(Bucket=backend.bucket, Key="k")
        dynamodb.scan(TableName=backend.uploads_table)
        other.get_object(Bucket=backend.bucket, Key="k")
    s3.get_object(Bucket=backend.bucket, Key="k")
    assert calls.count() == 4
    assert (calls.count("s3"), calls.count("dynamodb")) == (3, 1)
    assert calls.operations("s3") == Counter(PutObject=1, GetObject=2)
    assert calls.attempts == Counter(s3=3, dynamodb=1)
    put = calls.of("s3", "PutObject")[0]
    assert put.params == {"Bucket": backend.bucket, "Key": "k"}
    assert put.body_bytes == 3


def test_repeats_are_attempts_of_one_call(backend: Backend) -> None:
    """What botocore sends again is the same call, and another attempt."""
    statuses = iter([503])
    with run_fake(lambda asked: asked.answer(next(statuses, 200))) as url:
        flaky = replace(backend, endpoint_url=url)
        s3 = flaky.s3(retries={"total_max_attempts": 3, "mode": "standard"})
        with record_calls(s3) as calls:
            s3.head_bucket(Bucket="any")
    assert calls.operations() == Counter(HeadBucket=1)
    assert calls.attempts == Counter(s3=2)


@pytest.mark.parametrize("made", ["before", "inside"])
def test_every_client_can_be_recorded(backend: Backend, made: str) -> None:
    """Without clients given, all are recorded, whenever they were made."""
    s3 = backend.s3()
    with record_calls() as calls:
        client = s3 if made == "before" else backend.s3()
        client.head_bucket(Bucket=backend.bucket)
        client.head_bucket(Bucket=backend.bucket)
    s3.head_bucket(Bucket=backend.bucket)
    assert calls.operations("s3") == Counter(HeadBucket=2)
    assert calls.attempts["s3"] == 2


def test_threads_lose_no_call(backend: Backend) -> None:
    """Calls from many threads are all recorded."""
    s3 = backend.s3()
    with record_calls(s3) as calls, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: s3.head_bucket(Bucket=backend.bucket), range(64)))
    assert calls.operations() == Counter(HeadBucket=64)


def test_a_refused_call_counts_until_clear(backend: Backend) -> None:
    """A call that fails was made; after clear only what follows is counted."""
    s3 = backend.s3()
    with record_calls(s3) as calls:
        with pytest.raises(ClientError):
            s3.get_object(Bucket=backend.bucket, Key="missing")
        assert calls.operations() == Counter(GetObject=1)
        calls.clear()
        s3.list_objects_v2(Bucket=backend.bucket)
    assert calls.operations() == Counter(ListObjectsV2=1)
    assert calls.attempts == Counter(s3=1)
