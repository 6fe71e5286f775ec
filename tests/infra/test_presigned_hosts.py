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
from chalicelib.digest import Digest
from chalicelib.wiring import registry as wiring
link = types.SimpleNamespace(key="blobs/sha256/ab/x")
made = {method: wiring.registry().blobs.url(link, method=method) for method in ("GET", "HEAD")}
objects, digest = wiring.registry()._ports.objects, Digest.of(b"x")
made["PUT"] = objects.presign_put(link.key, digest, 1, seconds=60).url
print(json.dumps(made))
"""


BUCKET, KEY = "moorage-x-data-123456789012", "blobs/sha256/ab/x"
REGIONS = ("us-east-1", "eu-west-1", "eu-south-1", "ap-southeast-7", "us-gov-west-1")
"""Among them younger ones, which the global host does not serve."""

ROWS: list[tuple[str, dict[str, str], str]] = [
    *[(region, {}, f"{BUCKET}.s3.{region}.amazonaws.com/{KEY}") for region in REGIONS],
    ("cn-north-1", {}, f"{BUCKET}.s3.cn-north-1.amazonaws.com.cn/{KEY}"),
    # No certificate covers a host with more dots.
    ("eu-south-1", {"MOORAGE_BUCKET": "a.b.c"}, f"s3.eu-south-1.amazonaws.com/a.b.c/{KEY}"),
    # Not every machine resolves `bucket.localhost`.
    *[
        ("eu-south-1", {variable: "http://localhost:4566"}, f"localhost:4566/{BUCKET}/{KEY}")
        for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
    ],
]


@pytest.mark.parametrize(("region", "variables", "place"), ROWS)
def test_a_url_names_the_regions_own_host(
    task: Path, region: str, variables: dict[str, str], place: str
) -> None:
    """It has the region's signature; an emulator's URL has the emulator's host."""
    given = {
        "AWS_LAMBDA_FUNCTION_NAME": "a-function",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_SESSION_TOKEN": "a-token",
        **variables,
    }
    done = run_bare(PROGRAM, function_environment((task,), **given), cwd=task)
    made: dict[str, str] = json.loads(done.stdout)
    assert set(made) == {"GET", "HEAD", "PUT"}
    (bound,) = parse_qs(urlsplit(made["PUT"]).query)["X-Amz-SignedHeaders"]
    signed = {"content-length", "content-type", "if-none-match", "x-amz-checksum-sha256"}
    assert set(bound.split(";")) == {"host"} | signed
    for url in made.values():
        parts = urlsplit(url)
        assert parts.netloc + parts.path == place
        (scope,) = parse_qs(parts.query)["X-Amz-Credential"]
        assert scope.split("/")[2:] == [region, "s3", "aws4_request"]
