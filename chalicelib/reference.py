"""The grammar of repository names, tags and references.

This module must never normalise: a name is taken as it is or refused.
Source: OCI distribution spec, "Pulling manifests".
"""

import re

from chalicelib.dataclass import dataclass
from chalicelib.digest import Digest, InvalidDigestError
from chalicelib.errors import DigestInvalidError, NameInvalidError, TagInvalidError, quoted

MAX_NAME_LENGTH = 255
"""Longest repository name in characters, slashes included: what clients take."""

MAX_TAG_LENGTH = 128

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(rf"[a-zA-Z0-9_][a-zA-Z0-9._-]{{0,{MAX_TAG_LENGTH - 1}}}")


@dataclass(frozen=True)
class Tag:
    """A tag that fits the grammar."""

    name: str

    def __str__(self) -> str:
        return self.name


Reference = Tag | Digest
"""What names a manifest in a URL."""


def parse_name(text: str) -> str:
    """Return a repository name unchanged; raises NameInvalidError, saying what is allowed."""
    if not is_name(text):
        raise NameInvalidError(
            f"{quoted(text)} is not a repository name: lower-case letters and digits, separated by"
            f" '.', '_', '__', '-' or '/', at most {MAX_NAME_LENGTH} characters"
        )
    return text


def is_name(text: str) -> bool:
    """Whether a text is a repository name; there need not be such a repository."""
    return len(text) <= MAX_NAME_LENGTH and _NAME.fullmatch(text) is not None


def parse_tag(text: str) -> Tag:
    """Return a tag; raises TagInvalidError, saying what is allowed."""
    if not _TAG.fullmatch(text):
        raise TagInvalidError(
            f"{quoted(text)} is not a tag: letters, digits, '_', '.' and '-', not beginning with"
            f" '.' or '-', at most {MAX_TAG_LENGTH} characters"
        )
    return Tag(text)


def parse_digest(text: str) -> Digest:
    """Return a digest; raises DigestInvalidError, saying what is wrong with it."""
    try:
        return Digest.parse(text)
    except InvalidDigestError as error:
        raise DigestInvalidError(str(error)) from None


def parse_reference(text: str) -> Reference:
    """Return a Digest for a text with a colon, else a Tag.

    Raises DigestInvalidError or TagInvalidError. A tag can't hold a colon, so there is no doubt.
    """
    if ":" in text:
        return parse_digest(text)
    return parse_tag(text)
