"""What the API can be told by settings. This module must never read the environment."""

import enum
from typing import NamedTuple


class HeadStrategy(enum.StrEnum):
    """How a blob's HEAD tells its length."""

    BODY = "body"
    """The gateway computes it from the body returned: right where it does so."""
    REDIRECT = "redirect"
    """A URL presigned for HEAD: right whatever the gateway does."""


class ApiOptions(NamedTuple):
    """Sizes in bytes."""

    inline_limit: int
    """Blobs up to this size are answered by us, larger ones by a redirect."""
    head_strategy: HeadStrategy
    manifest_limit: int
    realm: str = ""
    """The token endpoint's URL, which challenges name; empty: they are the gateway's."""
    service: str = ""
