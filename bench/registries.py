"""The two registries on one backend: Moorage as ``make run`` starts it, Debian's docker-registry.

Each has a bucket of its own. Neither is tuned: Moorage runs with its defaults, the peer with the
storage cache that Debian's own configuration has.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from bench.backends import CREDENTIALS, answers, free_port, relay
from moorage.common.data import DataNames
from moorage.local.options import LocalOptions, gateway_environment
from tests.clients.daemons import NotStartedError, running, start_moorage
from tests.clients.tools import program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

    from bench.backends import Counted

MOORAGE = "moorage"
PEER = "docker-registry"
PEER_BUCKET = "peer-registry"
_START_TIMEOUT = 60


@dataclass(frozen=True)
class RunningRegistry:
    """A registry under measurement, and ``host:port`` where any client pushes."""

    name: str
    host: str
    gateway_host: str | None = None
    """Of Moorage: where `moorage push` and clients that need no proxy push."""
    edge_host: str | None = None
    """Of Moorage: where clients push that PUT a blob whole."""
    gateway: Counted | None = None
    """What passes the gateway, where that is counted."""
    edge: Counted | None = None
    """What passes the edge, likewise."""
    pids: Mapping[str, int] = field(default_factory=dict)
    """The ids of its processes, where they are known."""


@contextmanager
def moorage(aws: str) -> Iterator[RunningRegistry]:
    """Run Moorage's gateway, proxy and edge on an S3 and DynamoDB."""
    with start_moorage("--aws-endpoint", aws, env=CREDENTIALS) as started:
        hosts = (started.proxy_host, started.gateway_host, started.edge_host)
        pids = {name: pid for name, pid in started.pids.items() if pid}
        yield RunningRegistry(MOORAGE, *hosts, pids=pids)


@contextmanager
def _beside(command: str, upstream: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Run one of `moorage`'s servers before a gateway; gives its ``host:port``."""
    port = free_port()
    program = str(Path(sys.executable).with_name("moorage"))
    words = [program, command, "--upstream", upstream, "--port", str(port)]
    ready = partial(answers, f"http://127.0.0.1:{port}/v2/")
    with running(words, ready, _START_TIMEOUT, env=environment):
        yield f"127.0.0.1:{port}"


@contextmanager
def counted_moorage(aws: str) -> Iterator[RunningRegistry]:
    """Run Moorage with relays before gateway and edge, that count what passes them."""
    options = LocalOptions(aws_endpoint=aws)
    environment = gateway_environment({**os.environ, **CREDENTIALS}, options, DataNames(), aws)
    with (
        start_moorage("--aws-endpoint", aws, env=CREDENTIALS) as behind,
        relay(behind.gateway, slowed=False) as gateway,
        _beside("proxy", gateway.url, os.environ) as proxy,
        _beside("edge", gateway.url, environment) as behind_edge,
        relay(f"http://{behind_edge}", slowed=False) as edge,
    ):
        hosts = (proxy, urlsplit(gateway.url).netloc, urlsplit(edge.url).netloc)
        yield RunningRegistry(MOORAGE, *hosts, gateway=gateway, edge=edge)


@contextmanager
def peer(aws: str, storage: Mapping[str, object] | None = None) -> Iterator[RunningRegistry]:
    """Run docker-registry with its s3 driver on an S3; clients push straight to it.

    `storage` is added to its configuration's part of that name.
    """
    path = program(PEER)
    if path is None:
        raise NotStartedError(f"{PEER} is not installed")
    s3_client(aws).create_bucket(Bucket=PEER_BUCKET)
    host = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="moorage-bench-") as folder:
        settings = Path(folder) / "config.json"
        settings.write_text(json.dumps(_peer_settings(aws, host, storage or {})))
        command = [path, "serve", str(settings)]
        # An AWS_CA_BUNDLE in the environment would stop it: its S3 client can't take one.
        bare = {"PATH": os.environ["PATH"], "HOME": folder}
        ready = partial(answers, f"http://{host}/v2/")
        with running(command, ready, _START_TIMEOUT, env=bare) as process:
            yield RunningRegistry(PEER, host, pids={PEER: process.pid})


def s3_client(aws: str) -> S3Client:
    """Return a client of an emulated S3."""
    config = Config(s3={"addressing_style": "path"})
    return _session().client("s3", endpoint_url=aws, config=config)


def dynamodb_client(aws: str) -> DynamoDBClient:
    """Return a client of an emulated DynamoDB."""
    return _session().client("dynamodb", endpoint_url=aws)


def _session() -> boto3.Session:
    return boto3.Session(
        CREDENTIALS["AWS_ACCESS_KEY_ID"],
        CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
    )


def _peer_settings(aws: str, host: str, storage: Mapping[str, object]) -> dict[str, object]:
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
                "regionendpoint": aws,
                "forcepathstyle": True,
                "secure": urlsplit(aws).scheme == "https",
                "bucket": PEER_BUCKET,
            },
        },
        "http": {"addr": host},
    }
