"""The two registries on one backend: Moorage as ``make run`` starts it, Debian's docker-registry.

Each has a bucket of its own. Neither is tuned: Moorage runs with its defaults, the peer with the
storage cache that Debian's own configuration has.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from bench.backends import CREDENTIALS, answers, free_port
from tests.clients.daemons import NotStartedError, running, start_moorage
from tests.clients.tools import program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.backends import Backend

PEER = "docker-registry"
PEER_BUCKET = "peer-registry"
_START_TIMEOUT = 60


@dataclass(frozen=True)
class RunningRegistry:
    """A registry under measurement and ``host:port`` where a client pushes."""

    name: str
    host: str


@contextmanager
def moorage(backend: Backend) -> Iterator[RunningRegistry]:
    """Run Moorage's gateway and proxy on a backend; clients push through the proxy."""
    with start_moorage("--aws-endpoint", backend.url) as started:
        yield RunningRegistry("moorage", started.proxy_host)


@contextmanager
def peer(
    backend: Backend, storage: Mapping[str, object] | None = None
) -> Iterator[RunningRegistry]:
    """Run docker-registry with its s3 driver on a backend; clients push straight to it.

    `storage` is added to its configuration's part of that name.
    """
    path = program(PEER)
    if path is None:
        raise NotStartedError(f"{PEER} is not installed")
    s3 = boto3.client(
        "s3",
        endpoint_url=backend.url,
        region_name="us-east-1",
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )
    s3.create_bucket(Bucket=PEER_BUCKET)
    host = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="moorage-bench-") as folder:
        settings = Path(folder) / "config.json"
        settings.write_text(json.dumps(_peer_settings(backend, host, storage or {})))
        command = [path, "serve", str(settings)]
        # An AWS_CA_BUNDLE in the environment would stop it: its S3 client can't take one.
        bare = {"PATH": os.environ["PATH"], "HOME": folder}
        ready = partial(answers, f"http://{host}/v2/")
        with running(command, ready, _START_TIMEOUT, env=bare):
            yield RunningRegistry(PEER, host)


def _peer_settings(backend: Backend, host: str, storage: Mapping[str, object]) -> dict[str, object]:
    """Configuration of the peer; it reads YAML, of which JSON is a part."""
    return {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            **storage,
            "cache": {"blobdescriptor": "inmemory"},
            "s3": {
                "accesskey": CREDENTIALS["AWS_ACCESS_KEY_ID"],
                "secretkey": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
                "region": "us-east-1",
                "regionendpoint": backend.url,
                "forcepathstyle": True,
                "secure": urlsplit(backend.url).scheme == "https",
                "bucket": PEER_BUCKET,
            },
        },
        "http": {"addr": host},
    }


REGISTRIES = {"moorage": moorage, PEER: peer}
