"""What a local registry's moto holds in memory grows by what is stored, and by nothing else."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

from chalicelib.digest import Digest
from tests.support.servers import request

if TYPE_CHECKING:
    from tests.emulators.backends import Backend
    from tests.support.registries import RegistryUnderTest


def held(backend: Backend) -> int:
    """Return how many bytes of memory moto's process has."""
    asked = ["ps", "-o", "rss=", "-p", str(backend.pid)]
    return int(subprocess.run(asked, check=True, capture_output=True).stdout) * 1024


def push(registry: RegistryUnderTest, blobs: int) -> None:
    """Push blobs of 1 KiB, half of them by an upload in three requests."""
    for number in range(blobs):
        data = os.urandom(1024)
        closing = f"digest={Digest.of(data)}"
        if number % 2:
            answer = registry.ask("POST", f"load/blobs/uploads/?{closing}", data)
        else:
            opened = registry.ask("POST", "load/blobs/uploads/").headers["Location"]
            sent = registry.ask("PATCH", str(opened), data).headers["Location"]
            answer = registry.ask("PUT", f"{sent}&{closing}")
        assert answer.status == 201


def test_a_push_takes_the_memory_of_what_it_stores(
    registry: RegistryUnderTest, strict_moto: Backend
) -> None:
    """Blobs of 1 KiB and their items: not a copy of the tables for each transaction."""
    push(registry, 20)
    before, blobs = held(strict_moto), 40
    push(registry, blobs)
    assert (held(strict_moto) - before) / blobs < 100 * 1024


def test_what_was_deleted_is_kept_nowhere(strict_moto: Backend) -> None:
    """The data of moto's dashboard, which shows all instances of its models, has none of these."""
    backend = strict_moto.fresh()
    backend.s3().put_object(Bucket=backend.bucket, Key="key", Body=b"bytes")
    backend.s3().delete_object(Bucket=backend.bucket, Key="key")
    services = json.loads(request(backend.endpoint_url, "GET", "/moto-api/data.json")[2])
    assert services["s3"]["FakeKey"] == services["dynamodb"]["Table"] == []
