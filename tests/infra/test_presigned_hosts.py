"""The host that a presigned URL names: where S3 takes the signature, in every region from day one.

An emulator has one host, so no other test can see this.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.infra.runtime import bare_environment

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import json, types
from chalicelib.wiring import registry as wiring
link = types.SimpleNamespace(key="blobs/sha256/ab/x")
made = {method: wiring.registry().blobs.url(link, method=method) for method in ("GET", "HEAD")}
print(json.dumps(made))
"""


def urls(task: Path, region: str, **changes: str) -> dict[str, str]:
    """Return what a function of the package presigns in a region, with the environment changed."""
    environment = {
        "MOORAGE_BUCKET": "moorage-x-data-123456789012",
        "MOORAGE_REGISTRY_TABLE": "registry",
        "MOORAGE_UPLOADS_TABLE": "uploads",
        "AWS_LAMBDA_FUNCTION_NAME": "a-function",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_SESSION_TOKEN": "a-token",
    }
    done = subprocess.run(
        [sys.executable, "-S", "-c", PROGRAM],
        env=bare_environment((task,)) | environment | changes,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    made: dict[str, str] = json.loads(done.stdout)
    return made


# fmt: off
HOSTS = [
    ("us-east-1", "s3.us-east-1.amazonaws.com"),
    ("eu-west-1", "s3.eu-west-1.amazonaws.com"),
    # younger than the host that all regions share, which knows nothing of them
    ("eu-south-1", "s3.eu-south-1.amazonaws.com"),
    ("ap-southeast-7", "s3.ap-southeast-7.amazonaws.com"),
    ("us-gov-west-1", "s3.us-gov-west-1.amazonaws.com"),
    ("cn-north-1", "s3.cn-north-1.amazonaws.com.cn"),
]
# fmt: on


@pytest.mark.parametrize(("region", "host"), HOSTS)
def test_a_url_names_the_regions_own_host(task: Path, region: str, host: str) -> None:
    """The host and the signature are the region's: a client is sent nowhere else."""
    for url in urls(task, region).values():
        parts = urlsplit(url)
        assert parts.netloc == f"moorage-x-data-123456789012.{host}"
        assert parts.path == "/blobs/sha256/ab/x"
        (scope,) = parse_qs(parts.query)["X-Amz-Credential"]
        assert scope.split("/")[2:] == [region, "s3", "aws4_request"]


def test_a_bucket_whose_name_has_dots(task: Path) -> None:
    """No certificate covers its host: it is in the path of the region's."""
    for url in urls(task, "eu-south-1", MOORAGE_BUCKET="images.example.com").values():
        parts = urlsplit(url)
        assert parts.netloc == "s3.eu-south-1.amazonaws.com"
        assert parts.path == "/images.example.com/blobs/sha256/ab/x"


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_emulator_is_asked_at_its_own_host(task: Path, variable: str) -> None:
    """Its buckets have no hosts: `bucket.localhost` is nothing that every machine finds."""
    for url in urls(task, "eu-south-1", **{variable: "http://localhost:4566"}).values():
        parts = urlsplit(url)
        assert parts.netloc == "localhost:4566"
        assert parts.path.startswith("/moorage-x-data-123456789012/")
