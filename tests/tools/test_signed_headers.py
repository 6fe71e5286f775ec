"""S3's rule for headers beside a signed URL; both emulators have it.

test_objects_presigned_puts.py sends such requests to each.
"""

from __future__ import annotations

import pytest

from tests.emulators.signed_headers import unsigned

SIGNED = "X-Amz-SignedHeaders=host%3Bx-amz-checksum-sha256&X-Amz-Signature=0"


@pytest.mark.parametrize(
    ("query", "headers", "refused"),
    [
        (SIGNED, ["Host", "X-Amz-Checksum-Sha256"], []),
        (SIGNED, ["x-amz-copy-source", "X-Amz-Acl"], ["x-amz-acl", "x-amz-copy-source"]),
        (SIGNED.lower(), ["x-amz-acl"], ["x-amz-acl"]),
        (SIGNED, ["cache-control", "x-amz-content-sha256", "x-amzn-trace-id"], []),
        # Signed in its headers, or not at all: that is another rule's.
        ("uploads", ["x-amz-acl"], []),
    ],
    ids=["signed", "not signed", "lower case", "not for S3", "no signed URL"],
)
def test_a_header_for_s3_must_be_signed(query: str, headers: list[str], refused: list[str]) -> None:
    """Case is all the same; other headers may be added, as on S3."""
    assert unsigned(query, headers) == refused
