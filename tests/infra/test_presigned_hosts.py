"""A presigned URL has the host at which its region's S3 accepts the signature.

An emulator has one host, so no other test covers this.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.infra.runtime import function_environment, run_bare

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
    """Return the URLs that a packaged function presigns in a region; `changes` are variables."""
    environment = {
        "AWS_LAMBDA_FUNCTION_NAME": "a-function",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_SESSION_TOKEN": "a-token",
    }
    done = run_bare(PROGRAM, function_environment((task,), **environment, **changes), cwd=task)
    made: dict[str, str] = json.loads(done.stdout)
    return made


# fmt: off
HOSTS = [
    ("us-east-1", "s3.us-east-1.amazonaws.com"),
    ("eu-west-1", "s3.eu-west-1.amazonaws.com"),
    # younger regions, which the global host does not serve
    ("eu-south-1", "s3.eu-south-1.amazonaws.com"),
    ("ap-southeast-7", "s3.ap-southeast-7.amazonaws.com"),
    ("us-gov-west-1", "s3.us-gov-west-1.amazonaws.com"),
    ("cn-north-1", "s3.cn-north-1.amazonaws.com.cn"),
]
# fmt: on


@pytest.mark.parametrize(("region", "host"), HOSTS)
def test_a_url_names_the_regions_own_host(task: Path, region: str, host: str) -> None:
    """And the region's signature."""
    for url in urls(task, region).values():
        parts = urlsplit(url)
        assert parts.netloc == f"moorage-x-data-123456789012.{host}"
        assert parts.path == "/blobs/sha256/ab/x"
        (scope,) = parse_qs(parts.query)["X-Amz-Credential"]
        assert scope.split("/")[2:] == [region, "s3", "aws4_request"]


def test_a_bucket_with_dots_in_its_name_is_in_the_path(task: Path) -> None:
    """No certificate covers a host with more dots."""
    for url in urls(task, "eu-south-1", MOORAGE_BUCKET="images.example.com").values():
        parts = urlsplit(url)
        assert parts.netloc == "s3.eu-south-1.amazonaws.com"
        assert parts.path == "/images.example.com/blobs/sha256/ab/x"


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_a_url_of_an_emulator_has_the_emulators_host(task: Path, variable: str) -> None:
    """Not every machine resolves `bucket.localhost`."""
    for url in urls(task, "eu-south-1", **{variable: "http://localhost:4566"}).values():
        parts = urlsplit(url)
        assert parts.netloc == "localhost:4566"
        assert parts.path.startswith("/moorage-x-data-123456789012/")
