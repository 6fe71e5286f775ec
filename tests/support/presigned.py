"""Presigned requests for tests: URLs in the form of a good one, with a made-up signature."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

from tests.chalicelib.access.values import NOW

SIGNED_AT = int(NOW) - 7


def stamp(at: float) -> str:
    """Return a time as AWS writes it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")


def parameters(region: str = "eu-central-1", **changes: str) -> dict[str, str]:
    """Return the parameters of a good request, with changes; `_` stands for a hyphen."""
    date = stamp(SIGNED_AT)
    return {
        "Action": "GetCallerIdentity",
        "Version": "2011-06-15",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"AKIAIOSFODNN7EXAMPLE/{date[:8]}/{region}/sts/aws4_request",
        "X-Amz-Date": date,
        "X-Amz-Expires": "60",
        "X-Amz-SignedHeaders": "host;x-moorage-registry",
        "X-Amz-Signature": "0123456789abcdef" * 4,
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }


def query(region: str = "eu-central-1", **changes: str) -> str:
    """Return them as they stand in a URL."""
    pairs = parameters(region, **changes).items()
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)


def presigned(host: str = "sts.eu-central-1.amazonaws.com", **changes: str) -> str:
    """Return the URL of a good request, with `changes`."""
    return f"https://{host}/?{query('eu-central-1', **changes)}"
