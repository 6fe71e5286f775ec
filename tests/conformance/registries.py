"""The registries under test, each started empty: Moorage with its two doors, and a peer's one.

Everything is on loopback and in memory, and stops when the block ends.
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

import boto3
from botocore.config import Config

from bench.backends import CREDENTIALS, answers, free_port, moto
from tests.clients import tools
from tests.clients.daemons import NotStartedError, running, start_moorage
from tests.conformance.suites import MOORAGE_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

PEER = "docker-registry"
_PEER_BUCKET = "peer-registry"
_START_TIMEOUT = 60


@dataclass(frozen=True)
class Door:
    """One way in to a registry: what it is called, and its ``host:port``."""

    name: str
    host: str


@contextmanager
def moorage() -> Iterator[tuple[Door, ...]]:
    """Run Moorage over moto with the settings that the suites test."""
    with start_moorage(env=MOORAGE_SETTINGS) as started:
        yield Door("gateway", started.gateway_host), Door("proxy", started.proxy_host)


@contextmanager
def peer() -> Iterator[tuple[Door, ...]]:
    """Run Debian's docker-registry over moto, with two settings that raise its score.

    Deletes are on. It hands out blobs itself: an S3 URL could not give the digest header that the
    suite of `dev` asks for.
    """
    path = tools.program(PEER)
    if path is None:
        raise NotStartedError(f"{PEER} is not installed")
    host = f"127.0.0.1:{free_port()}"
    with moto() as backend, tempfile.TemporaryDirectory(prefix="moorage-peer-") as folder:
        _make_bucket(backend.url)
        settings = Path(folder) / "config.json"
        settings.write_text(json.dumps(_peer_settings(backend.url, host)))
        # An AWS_CA_BUNDLE in the environment would stop it: its S3 client can't take one.
        bare = {"PATH": os.environ["PATH"], "HOME": folder}
        ready = partial(answers, f"http://{host}/v2/")
        with running([path, "serve", str(settings)], ready, _START_TIMEOUT, env=bare):
            yield (Door(PEER, host),)


def peer_version() -> str:
    """Return the peer's name and version, as it tells them itself."""
    # It prints: program, import path, version.
    return f"{PEER} {tools.run(PEER, '--version').split()[-1].lstrip('v')}"


def _make_bucket(url: str) -> None:
    s3 = boto3.client(
        "s3",
        endpoint_url=url,
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )
    s3.create_bucket(Bucket=_PEER_BUCKET)


def _peer_settings(url: str, host: str) -> dict[str, object]:
    """Configuration of the peer; it reads YAML, of which JSON is a part."""
    return {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "delete": {"enabled": True},
            "redirect": {"disable": True},
            "cache": {"blobdescriptor": "inmemory"},
            "s3": {
                "accesskey": CREDENTIALS["AWS_ACCESS_KEY_ID"],
                "secretkey": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
                "region": CREDENTIALS["AWS_DEFAULT_REGION"],
                "regionendpoint": url,
                "forcepathstyle": True,
                "secure": False,
                "bucket": _PEER_BUCKET,
            },
        },
        "http": {"addr": host},
    }
