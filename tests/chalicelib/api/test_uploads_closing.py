"""A closing PUT that brings bytes to an upload that another one has closed already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chalicelib.digest import Algorithm, Digest

if TYPE_CHECKING:
    from tests.support.registries import RegistryUnderTest

FIRST, LAST = b"twelve bytes", b", and a few"
WRONG = b"something else"


def begun(registry: RegistryUnderTest, algorithm: Algorithm) -> str:
    """Send a chunk, then the last one with a wrong digest; returns where the chunk left off."""
    opened = registry.ask("POST", "team/app/blobs/uploads")
    at = str(registry.ask("PATCH", str(opened.headers["Location"]), FIRST).headers["Location"])
    refused = registry.ask("PUT", f"{at}&digest={Digest.of(WRONG, algorithm)}", LAST)
    assert (refused.status, b"DIGEST_INVALID" in refused.body) == (400, True)
    return at


def test_an_upload_that_was_verified_in_vain_says_how_far_it_is(
    registry: RegistryUnderTest,
) -> None:
    """Its last chunk is in it already: the right digest is told so, and commits without a body."""
    at, right = begun(registry, Algorithm.SHA512), Digest.of(FIRST + LAST, Algorithm.SHA512)
    told = registry.ask("PUT", f"{at}&digest={right}", LAST)
    assert (told.status, told.headers["Range"]) == (416, f"0-{len(FIRST + LAST) - 1}")
    here = str(told.headers["Location"])
    more = registry.ask("PUT", f"{here}&digest={right}", LAST)
    assert (more.status, b"takes no more bytes" in more.body) == (400, True)
    assert registry.ask("PUT", f"{here}&digest={right}").status == 201
    assert registry.ask("GET", f"team/app/blobs/{right}").body == FIRST + LAST


def test_an_upload_that_was_hashed_keeps_nothing_of_a_wrong_put(
    registry: RegistryUnderTest,
) -> None:
    """The same bytes with the right digest are what it lacks."""
    at, right = begun(registry, Algorithm.SHA256), Digest.of(FIRST + LAST)
    assert registry.ask("PUT", f"{at}&digest={right}", LAST).status == 201


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("body", [b"", LAST])
def test_a_wrong_digest_after_the_commit(
    registry: RegistryUnderTest, algorithm: Algorithm, body: bytes
) -> None:
    """It is the digest that is wrong, with a body or without: the upload is there."""
    opened = registry.ask("POST", "team/app/blobs/uploads")
    at = str(registry.ask("PATCH", str(opened.headers["Location"]), FIRST).headers["Location"])
    right = Digest.of(FIRST + LAST, algorithm)
    assert registry.ask("PUT", f"{at}&digest={right}", LAST).status == 201
    refused = registry.ask("PUT", f"{at}&digest={Digest.of(WRONG, algorithm)}", body)
    assert (refused.status, b"DIGEST_INVALID" in refused.body) == (400, True)
    assert registry.ask("PUT", f"{at}&digest={right}", LAST).status == 201
